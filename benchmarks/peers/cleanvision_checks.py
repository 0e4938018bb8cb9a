"""cleanvision's checks of single pictures, of a folder of images."""

from __future__ import annotations

from collections.abc import Callable

from cleanvision import Imagelab
from protocol import serve

#: All but those that compare pictures with each other.
CHECKS = ("dark", "light", "odd_aspect_ratio", "low_information", "grayscale", "blurry", "odd_size")


def checks(folder: str, threads: int) -> Callable[[], int]:
    """Check every file."""

    def run() -> int:
        lab = Imagelab(data_path=folder)
        lab.find_issues({name: {} for name in CHECKS}, n_jobs=threads, verbose=False)
        return len(lab.issues)

    return run


if __name__ == "__main__":
    serve(checks, packages=("cleanvision", "Pillow", "numpy"))
