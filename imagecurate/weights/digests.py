"""What weights are known by: the digest of a file, or of the tensors in it."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imagecurate.errors import WeightsError

if TYPE_CHECKING:
    import torch

__all__ = ["file_digest", "tensor_digest"]


def file_digest(path: str | Path) -> str:
    """Give the sha256 of a file; it is read again only when its size or modification time has changed.

    Raises
    ------
    WeightsError
        The file is not there any more, or cannot be read.
    """
    real = Path(path).expanduser().resolve()
    try:
        status = real.stat()
        return _file_digest(real, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise WeightsError.because(
            f"cannot read weights from {str(path)!r}: {error.strerror}",
            "put the file back, or name where it is now, and run the same again; what is finished lies in the store",
        ) from error


@functools.lru_cache(maxsize=64)
def _file_digest(path: Path, size: int, mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensor_digest(state: Mapping[str, torch.Tensor]) -> str:
    """Give the sha256 of the names, shapes and values of tensors.

    It is the same for the same weights in another container (``.pth``, safetensors), in another order or in a wider
    type: floating point values count as float64, all others as int64.

    Examples
    --------
    >>> import torch
    >>> state = {"a": torch.ones(2), "b": torch.zeros(1, 3)}
    >>> tensor_digest(state) == tensor_digest({"b": torch.zeros(1, 3), "a": torch.ones(2, dtype=torch.float64)})
    True
    """
    import torch

    whole = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu()
        kind, wide = ("<f8", torch.float64) if tensor.is_floating_point() else ("<i8", torch.int64)
        values = np.ascontiguousarray(tensor.to(wide).numpy(), dtype=kind)
        whole.update(f"{name!r} {tuple(tensor.shape)} {kind}\n".encode())
        whole.update(values.data)
    return whole.hexdigest()
