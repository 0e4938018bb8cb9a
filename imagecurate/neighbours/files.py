"""Arrays in files, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imagecurate.store import write_atomically

__all__ = ["save_array", "save_arrays"]


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # given a name, NumPy would put ".npy" behind it
            np.save(file, array)

    write_atomically(path, write)


def save_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write several arrays into one file, atomically."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # which takes no boolean of the same name

    write_atomically(path, write)
