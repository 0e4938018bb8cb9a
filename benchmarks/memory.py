"""Peak memory of client, scheduler and workers as the number of shards grows: it should hardly matter.

The job embeds (without weights), filters, counts and exports, on a Dask cluster of a scheduler and two workers of one
thread, each a process of its own.  The input is many small shards, then a few large ones, of tiny JPEG.  Peaks are
``VmHWM`` of each process; "bare" is the same processes with everything imported and one image embedded.

    python -m benchmarks memory [--sizes 1000x4 10000x4 100000x4 4x100000] [--quick] [--folder /scratch]
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Shards, and samples of each.
SIZES = ["1000x4", "10000x4", "100000x4", "4x100000"]
WORKERS = 2


def main(arguments: list[str]) -> None:
    """Run the job for each size and print the peaks."""
    from benchmarks.harness.machine import cpu_name

    parser = argparse.ArgumentParser(prog="python -m benchmarks memory")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="SHARDSxSAMPLES")
    parser.add_argument("--quick", action="store_true", help="100, 1,000 and 10,000 shards of 4, and one of 10,000")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; the system's temporary folder")
    options = parser.parse_args(arguments)
    sizes = ["100x4", "1000x4", "10000x4", "1x10000"] if options.quick else options.sizes
    print(f"machine: {cpu_name()}; a scheduler and {WORKERS} workers of one thread; peaks in MB")
    print(f"{'shards x samples':>18} {'client':>8} {'scheduler':>10} {'workers':>16} {'seconds':>9}")
    for size in ["1x1", *sizes]:
        shards, samples = map(int, size.split("x"))
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="memory-") as scratch:
            write_input(Path(scratch) / "in", shards, samples)
            peaks, seconds = run(Path(scratch))
        workers = " ".join(f"{peaks[f'worker {number}']:,.0f}" for number in range(WORKERS))
        name = "bare" if size == "1x1" else f"{shards:,} x {samples:,}"
        print(
            f"{name:>18} {peaks['client']:8,.0f} {peaks['scheduler']:10,.0f} {workers:>16} {seconds:9,.1f}", flush=True
        )


def write_input(folder: Path, shards: int, samples: int) -> None:
    """Write shards that all hold the same samples, as the outputs of img2dataset all begin at the same key."""
    from PIL import Image

    picture, content = io.BytesIO(), io.BytesIO()
    Image.linear_gradient("L").resize((32, 32)).convert("RGB").save(picture, "JPEG")
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(samples):
            for field, data in (("jpg", picture.getvalue()), ("txt", b"a photo of thing %d" % number)):
                member = tarfile.TarInfo(f"{number:09d}.{field}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    folder.mkdir()
    for number in range(shards):
        (folder / f"{number:06d}.tar").write_bytes(content.getbuffer())


def run(scratch: Path) -> tuple[dict[str, float], float]:
    """Run the job on a fresh cluster; peaks in MB by process, and how long the job took."""
    os.environ["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] = "False"  # as docs/clusters.md has it for `dask worker`
    address = scratch / "scheduler.json"
    with processes() as start:
        start("scheduler", "-m", "dask", "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(address))
        for number in range(WORKERS):
            options = ["--nthreads", "1", "--no-dashboard", "--scheduler-file", str(address)]
            folder = ["--local-directory", str(scratch / f"worker-{number}")]
            start(f"worker {number}", "-m", "dask", "worker", "--no-nanny", *options, *folder)
        began = time.perf_counter()
        client, running = start("client", "-m", "benchmarks.memory", str(scratch))
        answer = client.stdout.readline().strip()
        seconds = time.perf_counter() - began
        if answer != "done":
            raise SystemExit(f"the job failed; {scratch} has the reason in *.log")
        return {name: peak(process.pid) for name, process in running.items()}, seconds


@contextmanager
def processes() -> Iterator[Any]:
    """Give a function that starts Python processes by name, which all end with the context."""
    running: dict[str, subprocess.Popen[str]] = {}

    def start(name: str, *arguments: str) -> tuple[subprocess.Popen[str], dict[str, subprocess.Popen[str]]]:
        silent = None if name == "client" else subprocess.DEVNULL
        running[name] = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if name == "client" else silent,
            stderr=silent,
            text=True,
        )
        return running[name], running

    try:
        yield start
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


def peak(process: int) -> float:
    """Peak resident memory of a process so far, MB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def job(scratch: Path) -> None:
    """Do what a user would do, as the client; then wait to be measured."""
    from distributed import Client

    import imagecurate as ic

    address = scratch / "scheduler.json"
    while not address.exists():
        time.sleep(0.1)
    with Client(scheduler_file=str(address)) as client:
        client.wait_for_workers(WORKERS)
        ds = ic.read_webdataset(str(scratch / "in"), workdir=scratch / "work")
        ds = ic.ThumbnailEmbedder()(ds.filter("len(caption) > 3", name="captions"))
        ds = ds.filter("image_width >= 16", name="size")
        ds.counts()
        ds.to_webdataset(scratch / "out", samples_per_shard=2_000)  # fewer than the smallest input has: all fill some
        print("done", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    job(Path(sys.argv[1]))
