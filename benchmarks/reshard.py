"""Filter and reshard: ours, webdataset's reader and ``ShardWriter``, and one process that only copies files.

The input is 40 shards of photographs (repeated under new keys; random bytes of like sizes where the photographs are not
beside the checkout), of which every second sample is kept.  All three read from the page cache and leave what they
write there: none calls fsync, none makes reflinks (``shutil.copyfile`` uses sendfile on Linux).  Runs alternate, and
medians are shown.  Ours does more than the others: parquet, index, ledger, a manifest with a digest of every file.

    python -m benchmarks reshard [--gigabytes 4] [--rounds 7] [--quick] [--folder /scratch]
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import random
import shutil
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset
import xxhash

import imagecurate as ic

SHARDS = 40
SAMPLES_PER_SHARD = 1000
PHOTOS = Path(__file__).resolve().parents[2] / "shared/data/photos"


def main(arguments: list[str]) -> None:
    """Make the input, run everything in turn, print figures and ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks reshard")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the input")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="0.4 GB, 3 rounds")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; the system's temporary folder")
    options = parser.parse_args(arguments)
    gigabytes, rounds = (0.4, 3) if options.quick else (options.gigabytes, options.rounds)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="reshard-") as scratch:
        measure(Path(scratch), gigabytes, rounds)


def measure(scratch: Path, gigabytes: float, rounds: int) -> None:
    """Run the three in turn and print."""
    source, out = scratch / "in", scratch / "out"
    write_input(source, gigabytes)
    tars = sorted(source.glob("*.tar"))
    size = sum(path.stat().st_size for path in tars)

    began = time.perf_counter()
    dataset = ic.read_webdataset(str(source), workdir=str(scratch / "work")).filter("keep", name="half")
    samples = len(dataset)
    index_s = time.perf_counter() - began

    def ours(digest: Literal["xxh3_128", "sha256"] = "xxh3_128") -> int:
        dataset.to_webdataset(out, samples_per_shard=SAMPLES_PER_SHARD, digest=digest, progress=False)
        return written(out)

    def peer() -> int:
        reader = webdataset.WebDataset([str(path) for path in tars], shardshuffle=False)
        out.mkdir()
        pattern = str(out / "%05d.tar")
        with webdataset.ShardWriter(pattern, SAMPLES_PER_SHARD, maxsize=1e12, encoder=False, verbose=0) as writer:
            for sample in reader:
                if is_kept(sample["__key__"]):
                    writer.write(sample)
        return written(out)

    def copy() -> int:
        out.mkdir()
        copied = 0
        for path in tars:
            if copied >= size / 2:
                break
            copied += shutil.copyfile(path, out / path.name).stat().st_size
        return copied

    runs: dict[str, Callable[[], int]] = {
        "imagecurate": ours,
        "imagecurate, sha256 in the manifest": lambda: ours("sha256"),
        "webdataset reader + ShardWriter": peer,
        "shutil.copyfile, one process": copy,
    }
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    shuffled = random.Random(0)
    for number in range(rounds + 1):
        for name, run in shuffled.sample(list(runs.items()), len(runs)):
            shutil.rmtree(out, ignore_errors=True)
            os.sync()  # what the last run left to write is not this one's to pay
            time.sleep(1.0)
            began = time.perf_counter()
            count = run()
            if number:  # the first round warms up
                speeds[name].append(count / 1e6 / (time.perf_counter() - began))
    shutil.rmtree(out)
    ours()
    kept = check(tars, out)

    processors = len(os.sched_getaffinity(0))
    print(f"input: {size / 1e9:.2f} GB, {samples:,} samples in {SHARDS} shards; kept: every second one, {kept:,}")
    print(f"machine: {processors} processors, {cpu_name()}; no fsync, no reflinks, files in the page cache")
    print(f"headers read once, before: {index_s:.2f} s")
    medians = {name: statistics.median(each) for name, each in speeds.items()}
    for name, each in speeds.items():
        print(f"{name:<38} {medians[name]:7,.0f} MB/s written  ({min(each):,.0f} to {max(each):,.0f}, {rounds} runs)")
    for digest, seconds in digest_seconds(out).items():
        print(f"{digest} of the same bytes alone {seconds:.2f} s on one core")
    first, _, other, plain = medians.values()
    print(f"ratio to webdataset: {first / other:.1f}   (goal: 5)")
    print(f"ratio to one copying process: {first / plain:.0%}   (goal: 60 %)")


def is_kept(key: str) -> bool:
    """Every second sample of a shard is."""
    return int(key) % 2 == 0


def written(folder: Path) -> int:
    """Bytes of the tars in a folder: what counts for all alike."""
    return sum(path.stat().st_size for path in folder.glob("*.tar"))


def write_input(folder: Path, gigabytes: float) -> None:
    """Write the shards, each with a parquet that says which samples are to be kept."""
    folder.mkdir()
    pictures = list(photographs()) if PHOTOS.is_dir() else list(noise())
    number = 0
    for shard in range(SHARDS):
        keys: list[str] = []
        with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            while tar.offset < gigabytes * 1e9 / SHARDS:
                keys.append(f"{shard:05d}{len(keys):05d}")
                for field, data in pictures[number % len(pictures)].items():
                    info = tarfile.TarInfo(f"{keys[-1]}.{field}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                number += 1
        table = pa.table({"key": keys, "keep": [is_kept(key) for key in keys]})
        pq.write_table(table, folder / f"{shard:05d}.parquet")


def photographs() -> Iterator[dict[str, bytes]]:
    """The samples of the shared photographs."""
    for path in sorted(PHOTOS.glob("*.tar")):
        with path.open("rb") as stream:
            for sample in webdataset.tariterators.group_by_keys(
                webdataset.tariterators.tar_file_expander([{"url": str(path), "stream": stream}])
            ):
                yield {field: data for field, data in sample.items() if not field.startswith("__")}


def noise() -> Iterator[dict[str, bytes]]:
    """Samples of the sizes that photographs have."""
    generator = np.random.default_rng(0)
    for size in generator.lognormal(11.3, 0.6, 460).astype(int):
        yield {"jpg": generator.bytes(size), "txt": b"a caption", "json": b'{"width": 640}'}


def check(tars: list[Path], out: Path) -> int:
    """Compare every exported member with its source; the number of samples."""
    expected = members(tars)
    kept = {name: digest for name, digest in expected.items() if is_kept(name.partition(".")[0])}
    if members(sorted(out.glob("*.tar"))) != kept:
        raise SystemExit("the export does not hold the bytes that went in")
    return len({name.partition(".")[0] for name in kept})


def members(tars: list[Path]) -> dict[str, str]:
    """Digest of each member by its name."""
    found = {}
    for path in tars:
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is not None:
                    found[member.name] = xxhash.xxh3_128_hexdigest(file.read())
    return found


def digest_seconds(folder: Path) -> dict[str, float]:
    """Seconds that each digest takes of the bytes of all tars, in pieces as the export hands them over."""
    seconds = {}
    digests: dict[str, Any] = {"xxh3_128": xxhash.xxh3_128(), "sha256": hashlib.sha256()}
    for name, digest in digests.items():
        seconds[name] = 0.0
        buffer = memoryview(bytearray(128 << 10))
        for path in sorted(folder.glob("*.tar")):
            with path.open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    began = time.perf_counter()
                    digest.update(buffer[:count])
                    seconds[name] += time.perf_counter() - began
    return seconds


def cpu_name() -> str:
    """What the system calls the processor."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
