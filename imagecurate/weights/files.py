"""Reading files of weights: tensors only, no code, whole or not at all."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from imagecurate.errors import WeightsError

if TYPE_CHECKING:
    import torch

__all__ = ["check_sums", "existing_file", "read_tensors"]


def existing_file(path: str | Path, what: str) -> Path:
    """Give the path of a file of weights, or say that it is not there.

    Parameters
    ----------
    path : str or Path
        A leading ``~`` is the home folder.
    what : str
        Whose weights they are, for the message.

    Raises
    ------
    WeightsError
        There is no such file.
    """
    real = Path(path).expanduser()
    if real.is_file():
        return real
    found = "it is a folder" if real.is_dir() else "there is no such file"
    raise WeightsError.because(
        f"{what}: cannot read weights from {str(path)!r}: {found}", "name a file of weights that is there"
    )


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the named tensors of a ``.safetensors`` or torch file onto the CPU.

    Raises
    ------
    WeightsError
        The file is damaged, needs code to be read, or holds something else than named tensors.
    """
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            check_sums(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling a damaged file can raise nearly anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise WeightsError.because(
            f"cannot read weights from {str(path)!r}: {reason}",
            "the file must hold tensors alone, as torch.save(model.state_dict(), path) or safetensors write them",
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError.because(
            f"{str(path)!r} holds no mapping from names to tensors", "save model.state_dict() and nothing else"
        )
    return state


def check_sums(path: Path) -> None:
    """Compare a torch file's checksums, which torch writes but does not look at when it reads.

    Raises
    ------
    zipfile.BadZipFile
        Something in it is damaged.
    """
    if not zipfile.is_zipfile(path):  # torch before 1.6 wrote pickles, which hold none
        return
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged!r} in it is damaged")
