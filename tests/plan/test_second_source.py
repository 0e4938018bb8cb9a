"""Stages that prepare some pictures straight from their files, beside the decoder."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from making import picture, write_tar
from opening import statuses
from PIL import Image, ImageOps
from toys import Brightness

import imagecurate as ic
from imagecurate import ImageStage
from imagecurate.images import DecodePolicy, Preprocessing
from imagecurate.images.header import JpegHeader

SIZE = (6, 6)
#: Files given to the second source, a number a call.
GIVEN: list[int] = []


class Files:
    """Prepares wide JPEG files by Pillow, marked in one corner; fails on those that end early without a reason."""

    at_once = 32

    def takes(self, data: bytes, header: JpegHeader | None) -> bool:
        return header is not None and header.is_plain and header.width > 60

    def prepare(self, files: Sequence[bytes], headers: Sequence[JpegHeader]) -> tuple[Any, np.ndarray]:
        GIVEN.append(len(files))
        pictures = np.zeros((len(files), *SIZE, 3), np.uint8)
        decoded = np.array([data.endswith(b"\xff\xd9") for data in files])
        for place in np.flatnonzero(decoded):
            pictures[place] = Preprocessing(SIZE).prepare(upright(files[place]))
            pictures[place, 0, 0] = 7
        return pictures, decoded


def upright(data: bytes) -> np.ndarray:
    return np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


class Marked(ImageStage):
    """First pixel, 7 where the second source made it, and the mean of the others."""

    rows: int | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (*SIZE, 3)

    @property
    def batch_rows(self) -> int | None:
        return self.rows

    def from_files(self, policy: DecodePolicy) -> Files:
        return Files()

    def adds(self) -> dict[str, pa.DataType]:
        return {"first": pa.int64(), "rest": pa.float64()}

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        return Preprocessing(SIZE).prepare(pixels)

    def process(self, batch: np.ndarray) -> dict[str, Any]:
        return {"first": batch[:, 0, 0, 0], "rest": batch.reshape(len(batch), -1)[:, 3:].mean(axis=1)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Wide and narrow JPEG, a wide one that ends early, a PNG and no picture at all."""
    GIVEN.clear()
    turned = Image.Exif()
    turned[0x0112] = 6
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture(9, (80, 40)))).save(buffer, "JPEG", exif=turned)
    members = [
        ("0.jpg", picture(0, (80, 60))),
        ("1.jpg", picture(1, (40, 30))),
        ("2.jpg", picture(2, (80, 60))[:-200]),
        ("3.png", picture(3, (80, 60), "PNG")),
        ("4.jpg", b"none"),
        ("5.jpg", buffer.getvalue()),
        ("6.jpg", picture(6, (90, 60), mode="L")),
    ]
    write_tar(tmp_path / "data/0.tar", members)
    return tmp_path / "data"


@pytest.mark.parametrize("rows", [None, 64])
def test_who_prepares_what(rows: int | None, data: Path, decodes: list[int]) -> None:
    """The second source what it takes; the decoder all else, and what the source could not decode, with its reason."""
    ds = Marked(rows=rows)(ic.read_webdataset(str(data), workdir=None))
    frame = ds.metadata.compute().set_index("key")
    marked = frame["first"].dropna()
    assert marked.index[marked == 7].tolist() == ["0", "5", "6"]
    assert marked.index[marked != 7].tolist() == ["1", "3"]
    assert GIVEN == [4]
    assert len(decodes) == 4  # 1, 3, 4, and 2 after the source had failed on it
    failed = {key: reason for key, (status, reason) in statuses(ds).items() if status == "failed"}
    assert failed.keys() == {"2", "4"}
    assert failed["4"] == "not an image"
    assert ds.last_run is None or ds.last_run.decoded == 7


def test_facts_are_those_of_the_decoder(data: Path) -> None:
    """Size after orientation, mode, format: the header tells what decoding would."""
    apart, decoded = (
        stage(ic.read_webdataset(str(data), workdir=None)).metadata.compute().set_index("key")
        for stage in (Marked(), Brightness())
    )
    columns = [name for name in apart if name.startswith("image_")]
    assert len(columns) == 10
    assert apart[columns].equals(decoded[columns])
    assert (apart.image_width["5"], apart.image_height["5"]) == (40, 80)
    assert apart.image_mode["6"] == "L"


def test_other_stages_get_pixels_all_the_same(data: Path, decodes: list[int]) -> None:
    """A picture that another stage looks at is decoded for it; the first stage's comes from the file none the less."""
    both = Brightness()(Marked()(ic.read_webdataset(str(data), workdir=None))).metadata.compute().set_index("key")
    alone = Marked()(ic.read_webdataset(str(data), workdir=None)).metadata.compute().set_index("key")
    assert both[["first", "rest"]].equals(alone[["first", "rest"]])
    assert both.brightness.notna().tolist() == [True, True, False, True, False, True, True]


def test_files_come_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more are held than the source gets at once."""
    GIVEN.clear()
    monkeypatch.setattr(Files, "at_once", 4)
    write_tar(tmp_path / "data/0.tar", [(f"{n}.jpg", picture(n, (80, 60))) for n in range(10)])
    Marked()(ic.read_webdataset(str(tmp_path / "data"), workdir=None)).compute(progress=False)
    assert GIVEN == [4, 4, 2]
