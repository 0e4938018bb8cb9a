"""img2dataset's resizer: decode, resize and crop with OpenCV, and encode again, in processes."""

from __future__ import annotations

import io
import multiprocessing
import tarfile
from collections.abc import Callable
from pathlib import Path

from img2dataset.resizer import Resizer
from protocol import serve

RESIZER = Resizer(image_size=224, resize_mode="center_crop", resize_only_if_bigger=False)


def resize(source: str, threads: int) -> Callable[[], int]:
    """Files of the shards in memory to JPEG of 224 x 224."""
    files = []
    for path in sorted(Path(source).glob("*.tar")):
        with tarfile.open(path) as tar:
            files += [tar.extractfile(member).read() for member in tar if member.name.endswith(".jpg")]
    pool = multiprocessing.Pool(threads)

    def run() -> int:
        failures = [error for error in pool.imap_unordered(resized, files, chunksize=16) if error]
        if failures:
            raise RuntimeError(failures[0])
        return len(files)

    return run


def resized(data: bytes) -> str | None:
    """Why a picture could not be resized."""
    return RESIZER(io.BytesIO(data))[-1]


if __name__ == "__main__":
    serve(resize, packages=("img2dataset", "opencv-python-headless", "albumentations"))
