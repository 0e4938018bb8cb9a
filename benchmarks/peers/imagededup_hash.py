"""imagededup's perceptual hash of a folder of images."""

from __future__ import annotations

from collections.abc import Callable

from imagededup.methods import PHash
from protocol import serve


def hashes(folder: str, threads: int) -> Callable[[], int]:
    """Hash every file."""
    hasher = PHash(verbose=False)
    return lambda: len(hasher.encode_images(image_dir=folder, num_enc_workers=threads))


if __name__ == "__main__":
    serve(hashes, packages=("imagededup", "Pillow"))
