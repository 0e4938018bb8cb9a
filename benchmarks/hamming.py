"""All pairs of correlated binary hashes within a distance: ours beside faiss's binary flat index.

The bits of a hash are the signs of random combinations of 64 normal factors, so they are correlated; each hundredth row
is another one with 1 to 40 bits flipped.  Seeds are drawn at run time.  Each measurement is a process of its own: times
are without imports and reading the input, the peak memory is with them.  Both use all processors.  faiss searches with
all rows or with some (``--peer-queries``), of which the whole is then told.  The pairs of both are compared.

    python -m benchmarks hamming [--rows 1000000] [--bits 256] [--distance 31] [--rounds 3] [--peer-queries N] [--quick]
"""

from __future__ import annotations

import os
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.figures import Case, Line
from benchmarks.harness.machine import processors
from benchmarks.harness.options import options_of, parser_for
from benchmarks.open import in_fresh_process
from benchmarks.peers.protocol import versions

FACTORS = 64
#: Queries given to faiss at a time, so that its answer stays small.
PEER_BLOCK = 10_000


def main(arguments: list[str]) -> list[Case]:
    """Make the input and run both."""
    parser = parser_for("hamming", rounds=3, quick="100,000 rows, 1 round")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--bits", type=int, default=256)
    parser.add_argument("--distance", type=int, default=31)
    parser.add_argument("--peer-queries", type=int, default=None, help="rows that faiss searches with; all by default")
    options = options_of(parser, arguments)
    rows = 100_000 if options.quick else options.rows
    queries = min(rows, options.peer_queries or rows)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="hamming-") as scratch:
        return measure(Path(scratch), rows, options.bits, options.distance, options.rounds, queries)


def measure(scratch: Path, rows: int, bits: int, distance: int, rounds: int, queries: int) -> list[Case]:
    """Run both, each in a fresh process, faiss once."""
    seed = int.from_bytes(os.urandom(4))
    print(f"{rows:,} hashes of {bits} bits, {FACTORS} factors, seed {seed}; pairs within {distance}", flush=True)
    lines = {}
    for size in (rows // 4, rows // 2, rows):
        source, found = scratch / f"{size}.npy", scratch / "ours.npy"
        np.save(source, correlated_hashes(size, bits, seed))
        runs = [in_fresh_process(partial(ours, distance, processors()), source, found) for _ in range(rounds)]
        note = f"{runs[0][1]:,} pairs, {max(peak for *_, peak in runs) / 1e6:,.0f} MB at most"
        lines[size] = Line(f"imagecurate, {size:,} rows", [took for took, *_ in runs], note=note)
    peer, pairs, peak = in_fresh_process(partial(faiss_flat, distance, queries), source, scratch / "peer.npy")
    mine, theirs = (np.load(path) for path in (found, scratch / "peer.npy"))
    mine = mine[mine % rows < queries]  # a pair of which faiss searched with the earlier row
    recall = np.isin(theirs, mine).mean() if len(theirs) else 1.0
    print(
        f"recall {recall:.6f}, pairs that faiss does not have: {np.count_nonzero(~np.isin(mine, theirs))}", flush=True
    )
    note = f"{pairs:,} pairs, {peak / 1e6:,.0f} MB at most" + (f", of {queries:,} queries" if queries < rows else "")
    flat = Line("faiss IndexBinaryFlat", [peer * rows / queries], 20, note=note, versions=versions(["faiss-cpu"]))
    quarter, half, whole = lines.values()
    return [
        Case("hamming", f"{rows:,} hashes of {bits} bits within {distance}", "s", [whole, flat], "less is better"),
        Case("hamming", "growth", "s", [whole, half, quarter], "share"),
    ]


def correlated_hashes(rows: int, bits: int, seed: int) -> NDArray[np.uint8]:
    """Hashes by the factor model, shape (rows, bits / 8), with near copies among them."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(FACTORS, bits)).astype(np.float32)
    blocks = []
    for begin in range(0, rows, 50_000):
        factors = rng.normal(size=(min(50_000, rows - begin), FACTORS)).astype(np.float32)
        blocks.append(np.packbits(factors @ weights > 0, axis=1))
    hashes = np.concatenate(blocks)
    copies = rng.choice(rows, rows // 100, replace=False)
    places = rng.random((len(copies), bits)).argsort(axis=1)
    flipped = places < rng.integers(1, 41, (len(copies), 1))
    hashes[copies] = hashes[rng.integers(0, rows, len(copies))] ^ np.packbits(flipped, axis=1)
    return hashes


def ours(distance: int, threads: int, source: Path, found: Path) -> tuple[float, int]:
    """Find all pairs, and write them as later * n + earlier."""
    from imagecurate.neighbours.hamming import hamming_neighbours

    hashes = np.load(source)
    began = time.perf_counter()
    pairs = hamming_neighbours(hashes, distance, threads=threads)
    took = time.perf_counter() - began
    copies = np.flatnonzero(pairs.copy_of >= 0)
    later, earlier = np.concatenate([pairs.later, copies]), np.concatenate([pairs.earlier, pairs.copy_of[copies]])
    np.save(found, np.sort(later * len(hashes) + earlier))
    return took, len(later)


def faiss_flat(distance: int, queries: int, source: Path, found: Path) -> tuple[float, int]:
    """Search with the first rows for all within the distance; write each pair once, as later * n + earlier."""
    import faiss

    hashes = np.load(source)
    n = len(hashes)
    blocks = []
    began = time.perf_counter()
    index = faiss.IndexBinaryFlat(8 * hashes.shape[1])
    index.add(hashes)
    for begin in range(0, queries, PEER_BLOCK):
        block = hashes[begin : min(begin + PEER_BLOCK, queries)]
        limits, _, other = index.range_search(block, distance + 1)  # it finds what is nearer than that
        row = np.repeat(np.arange(begin, begin + len(block)), np.diff(limits).astype(np.int64))
        blocks.append((np.maximum(row, other) * n + np.minimum(row, other))[row != other])
    took = time.perf_counter() - began
    pairs = np.unique(np.concatenate(blocks))
    np.save(found, pairs)
    return took, len(pairs)
