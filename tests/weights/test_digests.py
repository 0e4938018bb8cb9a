"""What weights are known by."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.errors import WeightsError
from imagecurate.weights import file_digest, tensor_digest


def state() -> dict[str, torch.Tensor]:
    return {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.5, -2.0]), "steps": torch.tensor(7)}


def test_file_digest_is_sha256_and_follows_the_file(tmp_path: Path) -> None:
    """A file that changed has another digest, also where only its time tells."""
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    assert file_digest(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert file_digest(path) == hashlib.sha256(b"two").hexdigest()


def test_a_file_that_went(tmp_path: Path) -> None:
    """Named, with what to do, in the middle of a run as well."""
    with pytest.raises(WeightsError, match=r"cannot read weights from .*gone.pth': No such file .*\n\nHint: put the"):
        file_digest(tmp_path / "gone.pth")


def test_tensor_digest_ignores_container_order_and_width() -> None:
    """Order, a wider type and the memory layout do not count."""
    first = tensor_digest(state())
    assert tensor_digest(dict(reversed(state().items()))) == first
    assert (
        tensor_digest({name: value.double() if value.is_floating_point() else value for name, value in state().items()})
        == first
    )
    assert tensor_digest(state() | {"a.weight": state()["a.weight"].T.contiguous().T}) == first
    assert tensor_digest(state() | {"steps": torch.tensor(7, dtype=torch.int32)}) == first


@given(st.sampled_from(["a.weight", "a.bias", "steps"]), st.integers(0, 5))
def test_tensor_digest_sees_every_value(name: str, place: int) -> None:
    """Another value anywhere, a name, a shape: another digest."""
    changed = state()
    flat = changed[name].reshape(-1)
    flat[place % len(flat)] += 1
    assert tensor_digest(changed) != tensor_digest(state())
    renamed = state()
    renamed["b"] = renamed.pop(name)
    assert tensor_digest(renamed) != tensor_digest(state())
    assert tensor_digest(state() | {name: state()[name][None]}) != tensor_digest(state())
