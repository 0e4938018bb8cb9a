"""What all tests share."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from making import write_folder
from s3 import Requests, server

# No timed assertions, and the same cases in every run: a failure can be repeated.
settings.register_profile("imagecurate", deadline=None, derandomize=True, max_examples=50, database=None)
settings.load_profile("imagecurate")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where torch finds none, and what needs the GPU libraries where they are not installed."""
    reasons = {"gpu": _no_gpu, "contract": _no_gpu_libraries}
    for name, reason in reasons.items():
        marked = [item for item in items if item.get_closest_marker(name)]
        why = reason() if marked else None
        for item in marked if why else ():
            item.add_marker(pytest.mark.skip(reason=why))


def _no_gpu() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "torch finds no CUDA device"


def _no_gpu_libraries() -> str | None:
    missing = [name for name in ("cudf", "cuml", "dask_cuda", "nvidia.dali") if _spec(name) is None]
    return f"not installed: {', '.join(missing)}; make test-contract sets them up" if missing else None


def _spec(name: str) -> object:
    try:
        return importlib.util.find_spec(name)
    except ModuleNotFoundError:  # of a parent package
        return None


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of larger data sets beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the shared data sets are not beside this checkout")
    return folder


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[Any, dict[str, Any], Requests]]:
    """A client for an S3 server with one bucket, storage options for it, and its requests."""
    with server() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two shards of four plain samples, keys 000000000 to 000000007, widths 48 to 80."""
    return write_folder(tmp_path / "data", shards=2, samples_per_shard=4)


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the files given to the decoder so far: its length is the number of decodes."""
    from imagecurate.images import Decoder, reduced

    seen: list[int] = []
    decode, decode_plain = Decoder.decode, reduced.decode_plain

    def counted(self: Decoder, data: bytes, *header: Any) -> object:
        seen.append(len(data))
        return decode(self, data, *header)

    def counted_too(data: bytes, *given: Any) -> object:
        seen.append(len(data))
        return decode_plain(data, *given)

    monkeypatch.setattr(Decoder, "decode", counted)
    monkeypatch.setattr(reduced, "decode_plain", counted_too)
    return seen


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Columns that each call of the reader was asked for."""
    from imagecurate.frame import SHARD_RECORD, ReadRows

    requests: list[list[str]] = []
    for name in ("__call__", "of_rows"):
        read = getattr(ReadRows, name)

        def counted(self: ReadRows, rows: Any, columns: list[str], *rest: Any, _read: Any = read, **named: Any) -> Any:
            requests.append([column for column in columns if column != SHARD_RECORD])
            return _read(self, rows, columns, *rest, **named)

        monkeypatch.setattr(ReadRows, name, counted)
    return requests
