"""What our machinery adds to the functions that it calls, a shard and a sample, beside what an embedding costs.

Bare is a loop over the same files in as many threads: read the bytes of each image from where they are known to lie,
decode, prepare and embed them by the same functions, keep the vectors.  Ours does the same through a dataset: index,
plan, failures, parts, one finished file a shard.  Two inputs of as many samples, one of large and one of small shards,
tell the cost of a shard from that of a sample.  The embedder needs no weights, so next to nothing is hidden behind it;
the share is that of a ViT-B/32 with random weights, timed in the same run on the same threads.

Then the time to open 1,000 shards of 1,000 samples whose index is stored, process start excluded.

    python -m benchmarks overhead [--samples 8000] [--rounds 3] [--quick] [--folder /scratch]
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import shutil
import statistics
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import imagecurate as ic
from imagecurate.images import Decoder

#: Samples a shard.
LARGE, SMALL = 1000, 10
BATCH = 64
THREADS = len(os.sched_getaffinity(0))


def main(arguments: list[str]) -> None:
    """Time bare and ours in turn on both inputs, and print what is added."""
    from benchmarks.harness.machine import cpu_name

    parser = argparse.ArgumentParser(prog="python -m benchmarks overhead")
    parser.add_argument("--samples", type=int, default=8000, help="of each input")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="2,000 samples, 1 round, 100 shards to open")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; the system's temporary folder")
    options = parser.parse_args(arguments)
    if options.quick:
        options.samples, options.rounds = 2000, 1
    print(f"machine: {THREADS} processors, {cpu_name()}; medians of {options.rounds} rounds, alternating")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="overhead-") as scratch:
        added = {size: measure(Path(scratch), options.samples, size, options.rounds) for size in (LARGE, SMALL)}
        per_shard = (added[SMALL] - added[LARGE]) / (options.samples / SMALL - options.samples / LARGE)
        per_sample = (added[LARGE] - per_shard * options.samples / LARGE) / options.samples
        model = embedding(Path(scratch))
        print(f"added: {per_shard * 1e3:.2f} ms a shard, {per_sample * 1e6:.0f} us a sample, of wall time")
        for size in (LARGE, SMALL):
            share = (per_shard / size + per_sample) / model
            print(f"of a ViT-B/32 pass ({1 / model:,.0f} images/s), shards of {size:,}: {100 * share:.1f} %")
        opening(Path(scratch), 100 if options.quick else 1000)


def measure(scratch: Path, samples: int, size: int, rounds: int) -> float:
    """Seconds that ours takes longer than bare."""
    source = scratch / f"in-{size}"
    places = write_input(source, samples, size)
    bare: list[float] = []
    ours: list[float] = []
    bare_blocks(places[:BATCH])  # what is imported, is imported here
    for _ in range(rounds):
        began = time.perf_counter()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(bare_blocks, blocks(places)))
        bare.append(time.perf_counter() - began)
        began = time.perf_counter()
        ic.ThumbnailEmbedder()(ic.read_webdataset(str(source), workdir=scratch / "work")).compute(progress=False)
        ours.append(time.perf_counter() - began)
        shutil.rmtree(scratch / "work")
    added = statistics.median(ours) - statistics.median(bare)
    print(
        f"{samples // size:,} shards of {size:,}: bare {statistics.median(bare):.2f} s, ours "
        f"{statistics.median(ours):.2f} s ({min(ours):.2f} to {max(ours):.2f})"
    )
    return added


Places = list[tuple[Path, int, int]]


def write_input(folder: Path, samples: int, size: int) -> Places:
    """Write shards of 500 x 375 JPEG; where each image lies."""
    pictures = [picture(number) for number in range(50)]
    folder.mkdir()
    places = []
    for shard in range(samples // size):
        path = folder / f"{shard:05d}.tar"
        with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(size):
                for field, data in (("jpg", pictures[number % len(pictures)]), ("txt", b"a photo")):
                    member = tarfile.TarInfo(f"{shard:05d}{number:04d}.{field}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        with tarfile.open(path) as tar:
            places += [(path, member.offset_data, member.size) for member in tar if member.name.endswith("jpg")]
    return places


def picture(seed: int) -> bytes:
    """A JPEG with detail of every size, as photographs have it."""
    from PIL import Image

    random = np.random.default_rng(seed)
    pixels = np.zeros((375, 500, 3))
    for side in (4, 12, 40, 125):
        coarse = Image.fromarray(random.integers(0, 255, (side * 3 // 4 + 1, side, 3), np.uint8))
        pixels += np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC)) / 4
    written = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(written, "JPEG", quality=90)
    return written.getvalue()


def blocks(places: Places) -> list[Places]:
    """Cut at shards and after so many images."""
    shards = (list(group) for _, group in itertools.groupby(places, key=lambda place: place[0]))
    return [shard[start : start + BATCH] for shard in shards for start in range(0, len(shard), BATCH)]


def bare_blocks(block: Places) -> Any:
    """Read, decode, prepare and embed, without anything around it."""
    stage, decoder = ic.ThumbnailEmbedder(), DECODER
    prepared = []
    with block[0][0].open("rb") as file:
        for _, offset, size in block:
            pixels = decoder.decode(os.pread(file.fileno(), size, offset)).pixels
            prepared.append(stage.prepare(pixels))
    return stage.process(np.stack(prepared))


DECODER = Decoder()


def embedding(scratch: Path) -> float:
    """Seconds an image of decoding and embedding by ViT-B/32, with nothing around it."""
    stage = ic.TimmImageEmbedder("vit_base_patch32_clip_224", pretrained=False)
    source = sorted((scratch / f"in-{LARGE}").glob("*.tar"))[0]
    with tarfile.open(source) as tar:
        places = [(source, member.offset_data, member.size) for member in tar if member.name.endswith("jpg")][:512]

    def run(block: Places) -> Any:
        import torch

        torch.set_num_threads(1)
        with block[0][0].open("rb") as file:
            prepared = [
                stage.prepare(DECODER.decode(os.pread(file.fileno(), size, offset)).pixels) for _, offset, size in block
            ]
        return stage.process(np.stack(prepared))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(run, [places[:16]] * THREADS))  # loads the model
        began = time.perf_counter()
        list(pool.map(run, blocks(places)))
    return (time.perf_counter() - began) / len(places)


def opening(scratch: Path, shards: int) -> None:
    """Time opening and counting a dataset whose index is stored."""
    source = scratch / "many"
    source.mkdir()
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as written:
        for number in range(1000):
            for field, data in (("jpg", b"\xff\xd8 no picture"), ("txt", b"a photo")):
                member = tarfile.TarInfo(f"{number:09d}.{field}")
                member.size = len(data)
                written.addfile(member, io.BytesIO(data))
    for number in range(shards):
        (source / f"{number:05d}.tar").write_bytes(tar.getbuffer())
    len(ic.read_webdataset(str(source), workdir=scratch / "work"))
    began = time.perf_counter()
    samples = len(ic.read_webdataset(str(source), workdir=scratch / "work"))
    print(f"open and count {shards:,} shards, {samples:,} samples, index stored: {time.perf_counter() - began:.2f} s")
