"""timm's evaluation transform on Pillow, in a torch DataLoader over webdataset's reader."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import torch
import webdataset
from PIL import Image
from protocol import serve
from timm.data import create_transform
from torch.utils.data import DataLoader

CONFIG = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "crop_mode": "center",
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}
TRANSFORM = create_transform(**CONFIG, is_training=False)


def pixels(source: str, extension: str, threads: int, batch: int) -> Callable[[], int]:
    """From shards to normalised batches in the main process; the workers live from round to round."""
    torch.set_num_threads(1)
    paths = [str(path) for path in sorted(Path(source).glob("*.tar"))]
    samples = webdataset.WebDataset(paths, shardshuffle=False, nodesplitter=None, empty_check=False)
    pictures = samples.map(lambda sample: TRANSFORM(Image.open(io.BytesIO(sample[extension])).convert("RGB")))
    loader = DataLoader(pictures, batch_size=batch, num_workers=threads, persistent_workers=True)
    return lambda: sum(len(each) for each in loader)


if __name__ == "__main__":
    serve(pixels, packages=("torch", "timm", "webdataset", "Pillow"))
