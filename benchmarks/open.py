"""Open many small shards, count their samples, filter by a score: ours, beside the loops that people write for it.

The input is local tars of a few kilobytes a sample (image, caption, JSON) with a parquet beside each, all in the page
cache.  Every measurement is a process of its own that imports first: the time is without imports, the peak memory is
with them.  The processes take turns.  Ours uses as many threads as there are processors, the loops use one.  "Again"
has the index in the store, as every look but the first has.

    python -m benchmarks open [--sizes 10000x10 1000x100 100x1000] [--rounds 3] [--quick] [--folder /scratch]
"""

from __future__ import annotations

import io
import json
import multiprocessing
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness.figures import Case, Line
from benchmarks.harness.options import options_of, parser_for
from benchmarks.peers.protocol import peak_memory

#: Shards, and samples of each.
SIZES = ["10000x10", "1000x100", "100x1000"]
#: Bytes of each image; what no loop here looks into.
IMAGE_BYTES = 3000
MINIMUM = 0.5
#: How many times as fast as a listing by tarfile 1,000 shards are to be opened.
GOAL = 5

Contender = Callable[[Path, Path], tuple[float, int]]


def main(arguments: list[str]) -> list[Case]:
    """Make inputs of several sizes and run everything in turn."""
    parser = parser_for("open", rounds=3, quick="the first two sizes, a tenth of the shards, 1 round")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="SHARDSxSAMPLES", help="of each input")
    options = options_of(parser, arguments)
    sizes = [tuple(map(int, size.split("x"))) for size in options.sizes]
    if options.quick:
        sizes = [(-(-shards // 10), samples) for shards, samples in sizes[:2]]
    cases = []
    for shards, samples in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="open-") as scratch:
            cases += measure(Path(scratch), shards, samples, options.rounds)
    return cases


def measure(scratch: Path, shards: int, samples: int, rounds: int) -> list[Case]:
    """Run the contenders in turn, each in a fresh process."""
    source = work = scratch / "in"
    source.mkdir()
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        sizes = list(pool.map(partial(write_shard, source, samples), range(shards), chunksize=-(-shards // 20)))
    seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    memory: dict[str, list[int]] = {name: [] for name in CONTENDERS}
    for number in range(rounds + 1):
        for place, (name, contender) in enumerate(CONTENDERS.items()):
            if not name.endswith("again"):
                # Never one that was emptied: ext4 makes files slowly where many were removed within the last seconds.
                work = scratch / f"work-{number}-{place}"
            took, answer, peak = in_fresh_process(contender, source, work)
            if answer != expected(name, shards, samples):
                raise SystemExit(f"{name}: {answer} is wrong, expected {expected(name, shards, samples)}")
            if number:
                seconds[name].append(took)
                memory[name].append(peak)

    def case(title: str, ours: str, others: Iterable[str], goal: float | None = None) -> Case:
        lines = [
            Line(
                name,
                seconds[name],
                goal if name.startswith("tarfile") else None,
                note=f"{max(memory[name]) / 1e6:,.0f} MB at most",
            )
            for name in (ours, *others)
        ]
        about = f"{shards:,} shards of {samples:,} samples, {sum(sizes) / 1e6:,.0f} MB"
        return Case("open", f"{title}; {about}", "s", lines, "less is better")

    listings = ("tarfile: every member's name", "webdataset: every key")
    return [
        case("find shards", "imagecurate: open", ()),
        case("count, cold", "imagecurate: open, len", listings, GOAL if shards == 1000 else None),
        case("count, again", "imagecurate: open, len, again", listings),
        case("filter, cold", "imagecurate: open, filter, counts", ("pandas: every score, filter",)),
        case("filter, again", "imagecurate: open, filter, counts, again", ("pandas: every score, filter",)),
    ]


def expected(name: str, shards: int, samples: int) -> int:
    """The right answer: shards, samples, or samples with a good score."""
    if name.endswith("open"):
        return shards
    kept = sum(score(number) >= MINIMUM for number in range(samples))
    return shards * (kept if "filter" in name else samples)


def score(number: int) -> float:
    """The score of a sample by its number in the shard."""
    return number % 7 / 7


def write_shard(folder: Path, samples: int, number: int) -> int:
    """Write one shard and the parquet beside it; its size."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[dict[str, Any]] = [
        {
            "key": f"{number:05d}{position:04d}",
            "caption": f"a photo of thing {position}",
            "width": 256 + position,
            "score": score(position),
        }
        for position in range(samples)
    ]
    path = folder / f"{number:05d}.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row in rows:
            image = number.to_bytes(4) * (IMAGE_BYTES // 4)
            for field, data in (("jpg", image), ("txt", row["caption"].encode()), ("json", json.dumps(row).encode())):
                info = tarfile.TarInfo(f"{row['key']}.{field}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    pq.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    return path.stat().st_size


def in_fresh_process(contender: Contender, source: Path, work: Path) -> tuple[float, int, int]:
    """Seconds, answer, and peak memory of the process in bytes."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(with_peak_memory, contender, source, work).result()


def with_peak_memory(contender: Contender, source: Path, work: Path) -> tuple[float, int, int]:
    """Run a contender here."""
    took, answer = contender(source, work)
    return took, answer, peak_memory()


def ours_open(source: Path, work: Path) -> tuple[float, int]:
    """Find the shards and their columns."""
    from imagecurate import read_webdataset

    began = time.perf_counter()
    ds = read_webdataset(str(source), workdir=work)
    return time.perf_counter() - began, len(ds.tar_files)


def ours_count(source: Path, work: Path) -> tuple[float, int]:
    """Open and index every shard."""
    from imagecurate import read_webdataset

    began = time.perf_counter()
    samples = len(read_webdataset(str(source), workdir=work))
    return time.perf_counter() - began, samples


def ours_filter(source: Path, work: Path) -> tuple[float, int]:
    """Open, filter by a column of the parquets, and count what is left."""
    from imagecurate import read_webdataset

    began = time.perf_counter()
    ds = read_webdataset(str(source), workdir=work).filter(f"score >= {MINIMUM}", name="score")
    left = int(ds.counts().left.iloc[-1])
    return time.perf_counter() - began, left


def tarfile_names(source: Path, _: Path) -> tuple[float, int]:
    """List every member with the standard library and count the keys."""
    began = time.perf_counter()
    keys = 0
    for path in sorted(source.glob("*.tar")):
        with tarfile.open(path) as tar:
            keys += len({member.name.partition(".")[0] for member in tar})
    return time.perf_counter() - began, keys


def webdataset_keys(source: Path, _: Path) -> tuple[float, int]:
    """Iterate over every sample with webdataset."""
    import webdataset

    began = time.perf_counter()
    reader = webdataset.WebDataset([str(path) for path in sorted(source.glob("*.tar"))], shardshuffle=False)
    keys = sum(1 for sample in reader if sample["__key__"])
    return time.perf_counter() - began, keys


def pandas_filter(source: Path, _: Path) -> tuple[float, int]:
    """Read the score of every parquet and count the good ones, without a look at the tars."""
    import pandas as pd

    began = time.perf_counter()
    kept = 0
    for path in sorted(source.glob("*.parquet")):
        kept += int((pd.read_parquet(path, columns=["score"]).score >= MINIMUM).sum())
    return time.perf_counter() - began, kept


#: In the order in which they run: what is called "again" has the store of the one before it.
CONTENDERS: dict[str, Contender] = {
    "imagecurate: open": ours_open,
    "imagecurate: open, len": ours_count,
    "imagecurate: open, len, again": ours_count,
    "imagecurate: open, filter, counts": ours_filter,
    "imagecurate: open, filter, counts, again": ours_filter,
    "tarfile: every member's name": tarfile_names,
    "webdataset: every key": webdataset_keys,
    "pandas: every score, filter": pandas_filter,
}
