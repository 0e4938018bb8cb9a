"""Decode, resize and crop to a model's input: ours, timm's transform on Pillow, and the bare JPEG decode as the limit.

One thread, bytes in memory, the preprocessing of ``vit_base_patch32_clip_224`` (224 x 224, bicubic, centre crop); the
results of both are compared.  The contenders take turns every few pictures, so that what else the machine does meets
all alike; a round goes once over all pictures, and the medians of the rounds are shown.  timm's own last two steps, to
a tensor and normalised, are part of its time and of ours.

    python -m benchmarks pixels [--rounds 7] [--quick] [--photos FOLDER]
"""

from __future__ import annotations

import argparse
import io
import platform
import statistics
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
from PIL import Image
from timm.data import create_transform

from imagecurate.images import Decoder, Preprocessing

PHOTOS = Path(__file__).resolve().parents[2] / "shared/data/photos"
#: Pictures after which the next contender has its turn.
TURN = 10
CONFIG: dict[str, Any] = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "crop_mode": "center",
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}


def main(arguments: list[str]) -> None:
    """Run everything in turn, print figures and ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks pixels")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="100 pictures, 3 rounds")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder of tar shards with JPEG photographs")
    options = parser.parse_args(arguments)
    files, source = read_photos(options.photos)
    measure(files[:100] if options.quick else files, source, 3 if options.quick else options.rounds)


def read_photos(folder: Path) -> tuple[list[bytes], str]:
    """Photographs in a folder of shards; where there are none, those of scikit-image at the size of web pictures."""
    files: list[bytes] = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = [member for member in tar if member.name.endswith((".jpg", ".jpeg"))]
            files += [file.read() for member in members if (file := tar.extractfile(member))]
    if files:
        return files, str(folder)
    from skimage import data

    for photo in (data.astronaut(), data.coffee(), data.chelsea(), data.rocket()):
        for left in range(0, 100, 10):
            picture = Image.fromarray(photo[:, left:]).convert("RGB").resize((500, 375), Image.Resampling.LANCZOS)
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=95)
            files.append(buffer.getvalue())
    return files, "photographs of scikit-image at 500 x 375"


def measure(files: Sequence[bytes], source: str, rounds: int) -> None:
    """Run the contenders and print."""
    torch.set_num_threads(1)
    preprocessing = Preprocessing.from_timm(CONFIG)
    transform = create_transform(**CONFIG, is_training=False)
    with Decoder() as decoder:

        def prepared(data: bytes) -> np.ndarray:
            pixels = decoder.decode(data).pixels
            assert pixels is not None
            return preprocessing.prepare(pixels)

        def ours(turn: Sequence[bytes]) -> None:
            preprocessing.normalise(np.stack([prepared(data) for data in turn]))

        def peer(turn: Sequence[bytes]) -> None:
            torch.stack([transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in turn])

        def ours_without_normalising(turn: Sequence[bytes]) -> None:
            for data in turn:
                prepared(data)

        def limit(turn: Sequence[bytes]) -> None:
            for data in turn:
                simplejpeg.decode_jpeg(data)

        contenders = [ours, peer, ours_without_normalising, limit]
        seconds = alternate(contenders, files, rounds)
        off = [difference(prepared(data), data, transform) for data in files]

    pixels = [np.prod(simplejpeg.decode_jpeg_header(data)[:2]) for data in files]
    print(f"{len(files)} JPEG files, mean {np.mean([len(data) for data in files]) / 1e3:.0f} kB and ", end="")
    print(f"{np.mean(pixels) / 1e3:.0f} kpixel, from {source}; one thread, {rounds} rounds")
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "timm", "Pillow", "simplejpeg", "numpy"))
    print(f"{processor()}; Python {platform.python_version()}, {packages}")
    speeds = {name: [len(files) / each for each in times] for name, times in seconds.items()}
    titles = ("imagecurate, to a normalised tensor", "timm on Pillow, the same", "imagecurate, decode + resize + crop")
    for title, each in zip((*titles, "bare simplejpeg.decode_jpeg"), speeds.values(), strict=True):
        middle = statistics.median(each)
        print(f"{title:<37} {middle:6,.0f} images/s a core  ({min(each):,.0f} to {max(each):,.0f})")
    whole, timm_pillow, ours_alone, bare = (statistics.median(each) for each in speeds.values())
    print(f"ratio to timm on Pillow: {whole / timm_pillow:.2f}   (goal: 2.2)")
    print(f"share of the bare decode: {ours_alone / bare:.0%}   (goal: 74 %)")
    print(f"difference to timm: {np.mean(off):.4f} grey levels on average, {max(off):.3f} in the worst picture")


def alternate(
    contenders: Sequence[Callable[[Sequence[bytes]], None]], files: Sequence[bytes], rounds: int
) -> dict[str, list[float]]:
    """Seconds of each contender for each round, after a round to warm up."""
    turns = [files[start : start + TURN] for start in range(0, len(files), TURN)]
    seconds: dict[str, list[float]] = {run.__name__: [] for run in contenders}
    for number in range(rounds + 1):
        totals = dict.fromkeys(seconds, 0.0)
        for place, turn in enumerate(turns):
            first = place % len(contenders)  # whoever begins a turn finds its files outside of the processor's caches
            for run in (*contenders[first:], *contenders[:first]):
                began = time.perf_counter()
                run(turn)
                totals[run.__name__] += time.perf_counter() - began
        if number:
            for name, total in totals.items():
                seconds[name].append(total)
    return seconds


def difference(ours: np.ndarray, data: bytes, transform: Any) -> float:
    """Mean grey levels between a picture prepared by us and by timm."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    for step in transform.transforms[:-2]:  # all but ToTensor and Normalize
        image = step(image)
    return float(np.abs(ours.astype(int) - np.asarray(image)).mean())


def processor() -> str:
    """Name of the processor, as far as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main(sys.argv[1:])
