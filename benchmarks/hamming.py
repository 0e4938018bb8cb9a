"""All pairs of correlated binary hashes within a distance: ours beside faiss's binary flat index.

The bits of a hash are the signs of random combinations of 64 normal factors, so they are correlated; each hundredth row
is another one with 1 to 40 bits flipped.  Seeds are drawn at run time.  Each measurement is a process of its own: times
are without imports and reading the input, the peak memory is with them.  Both use all processors.  faiss searches with
all rows or with some (``--peer-queries``), of which the whole is then told.  The pairs of both are compared.

    python -m benchmarks hamming [--rows 1000000] [--bits 256] [--distance 31] [--rounds 3] [--peer-queries N] [--quick]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FACTORS = 64
#: Queries given to faiss at a time, so that its answer stays small.
PEER_BLOCK = 10_000


def main(arguments: list[str]) -> None:
    """Make the input, run both, print figures and ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks hamming")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--bits", type=int, default=256)
    parser.add_argument("--distance", type=int, default=31)
    parser.add_argument("--rounds", type=int, default=3, help="of ours; faiss has one")
    parser.add_argument("--peer-queries", type=int, default=None, help="rows that faiss searches with; all by default")
    parser.add_argument("--quick", action="store_true", help="100,000 rows, 1 round")
    options = parser.parse_args(arguments)
    rows, rounds = (100_000, 1) if options.quick else (options.rows, options.rounds)
    queries = min(rows, options.peer_queries or rows)
    with tempfile.TemporaryDirectory(prefix="hamming-") as scratch:
        measure(Path(scratch), rows, options.bits, options.distance, rounds, queries)


def measure(scratch: Path, rows: int, bits: int, distance: int, rounds: int, queries: int) -> None:
    """Run both, each in a fresh process, and print."""
    from benchmarks.open import in_fresh_process
    from benchmarks.reshard import cpu_name

    seed = int.from_bytes(os.urandom(4))
    threads = len(os.sched_getaffinity(0))
    packages = ", ".join(f"{name} {version(name)}" for name in ("imagecurate", "numpy", "faiss-cpu"))
    print(f"input: {rows:,} hashes of {bits} bits, {FACTORS} factors, seed {seed}; pairs within {distance}")
    print(f"machine: {threads} processors, {cpu_name()}; Python {platform.python_version()}, {packages}")
    seconds = {}
    for size in (rows // 4, rows // 2, rows):
        source, found = scratch / f"{size}.npy", scratch / "ours.npy"
        np.save(source, correlated_hashes(size, bits, seed))
        runs = [in_fresh_process(partial(ours, distance, threads), source, found) for _ in range(rounds)]
        seconds[size] = statistics.median(took for took, *_ in runs)
        peak = max(peak for *_, peak in runs) / 1e6
        print(f"imagecurate, {size:>9,} rows {seconds[size]:8.2f} s {runs[0][1]:9,} pairs {peak:7,.0f} MB")
    peer, pairs, peak = in_fresh_process(partial(faiss_flat, distance, queries), source, scratch / "peer.npy")
    print(f"faiss IndexBinaryFlat, {queries:,} queries {peer:8.2f} s {pairs:9,} pairs {peak / 1e6:7,.0f} MB")
    whole = peer * rows / queries
    mine, theirs = (np.load(path) for path in (found, scratch / "peer.npy"))
    mine = mine[mine % rows < queries]  # a pair of which faiss searched with the earlier row
    recall = np.isin(theirs, mine).mean() if len(theirs) else 1.0
    print(f"recall {recall:.6f}, pairs that faiss does not have: {np.count_nonzero(~np.isin(mine, theirs))}")
    print(f"ratio to faiss: {whole / seconds[rows]:.1f}   (goal: 20)")


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


if __name__ == "__main__":
    main(sys.argv[1:])
