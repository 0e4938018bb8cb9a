"""Large JPEG files, decoded smaller for a model that sees far less of them."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import imagecurate as ic
from imagecurate.images import DecodePolicy, Decoder, Preprocessing
from imagecurate.images.header import jpeg_header
from imagecurate.images.reduced import ReducedPictures


def photograph(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Detail of all sizes, like that of photographs: noise of every octave, the coarse ones stronger."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((height, width, 3))
    for octave in range(1, 8):
        grain = 2**octave
        noise = random.integers(0, 256, (-(-height // grain) + 1, -(-width // grain) + 1, 3), dtype=np.uint8)
        fine = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        pixels += np.asarray(fine, np.float64) * octave
    return (pixels / pixels.max() * 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, orientation: int = 1, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92, exif=exif, **options)
    return file.getvalue()


def both_ways(data: bytes, preprocessing: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
    """A file prepared from all its pixels, and reduced."""
    files = ReducedPictures(preprocessing, DecodePolicy())
    header = jpeg_header(data)
    assert header is not None and files.takes(data, header)
    pictures, decoded = files.prepare([data], [header])
    assert decoded.all() and pictures.dtype == np.uint8
    with Decoder() as decoder:
        pixels = decoder.decode(data).pixels
    assert pixels is not None
    return preprocessing.prepare(pixels), pictures[0]


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
@pytest.mark.parametrize(("size", "reduction"), [((403, 541), 2), ((829, 645), 4), ((1541, 2003), 8)])
@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_the_same_picture(size: tuple[int, int], reduction: int, crop_mode: str, subsampling: str) -> None:
    """Within half a grey level on average, whatever the edges: nothing is shifted or stretched by a part of a block."""
    preprocessing = Preprocessing((48, 48), crop_pct=0.9, crop_mode=crop_mode)
    assert preprocessing.reduction(size) == reduction
    whole, reduced = both_ways(jpeg(photograph(*size), subsampling=subsampling), preprocessing)
    apart = np.abs(whole.astype(int) - reduced)
    assert apart.mean() < 0.6
    assert apart[:, -4:].mean() < 1 and apart[-4:].mean() < 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright(orientation: int) -> None:
    """Turned as its EXIF says, with the sizes of the upright picture."""
    preprocessing = Preprocessing((32, 64), crop_mode="center")
    whole, reduced = both_ways(jpeg(photograph(704, 1208), orientation), preprocessing)
    assert np.abs(whole.astype(int) - reduced).mean() < 0.6
    parts = jpeg(photograph(701, 1203), orientation)
    assert ReducedPictures(preprocessing, DecodePolicy()).takes(parts, jpeg_header(parts)) == (orientation == 1)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(150, 900),
    width=st.integers(150, 900),
    size=st.sampled_from([(16, 16), (24, 16), (13, 29)]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    crop_pct=st.sampled_from([1.0, 0.875, 1.1]),
    crop_mode=st.sampled_from(["center", "squash", "border"]),
)
def test_any_geometry(height, width, size, interpolation, crop_pct, crop_mode):
    """A slope from black to white stays where it is, to a level, in any position."""
    preprocessing = Preprocessing(size, interpolation=interpolation, crop_pct=crop_pct, crop_mode=crop_mode)
    if preprocessing.reduction((height, width)) == 1:
        return
    slope = np.add.outer(np.linspace(0, 127, height), np.linspace(0, 127, width)).astype(np.uint8)
    whole, reduced = both_ways(jpeg(np.repeat(slope[..., None], 3, axis=2)), preprocessing)
    assert np.abs(whole.astype(int) - reduced).max() <= 3
    assert np.abs(whole.astype(int) - reduced).mean() <= 0.7


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 640))
def test_what_is_kept(height: int, width: int, edge: int) -> None:
    """A reduced picture has three pixels for each one of the result, along both edges."""
    preprocessing = Preprocessing((edge, edge))
    reduction = preprocessing.reduction((height, width))
    placement = preprocessing.placement((height, width)).reduced(reduction)
    assert reduction == 1 or min(placement.rows.scale, placement.columns.scale) >= 3
    assert placement.rows.decoded == math.ceil(height / reduction)


def test_other_filters_and_files_are_not_reduced() -> None:
    """What torch does not resize is Pillow's, to the bit; only plain JPEG has blocks to reduce."""
    data = jpeg(photograph(600, 600))
    header = jpeg_header(data)
    assert ReducedPictures(Preprocessing((32, 32)), DecodePolicy()).takes(data, header)
    assert not ReducedPictures(Preprocessing((32, 32), interpolation="lanczos"), DecodePolicy()).takes(data, header)
    assert not ReducedPictures(Preprocessing((224, 224)), DecodePolicy()).takes(data, header)
    assert not ReducedPictures(Preprocessing((32, 32)), DecodePolicy()).takes(b"\x89PNG", None)


def test_a_flaw_is_left_to_the_decoder() -> None:
    """Which knows whether it matters, and names it; the bound on pixels holds here, too."""
    data = jpeg(photograph(600, 600))
    files = ReducedPictures(Preprocessing((32, 32)), DecodePolicy())
    header = jpeg_header(data)
    assert header is not None
    cut = data[: len(data) // 2]
    pictures, decoded = files.prepare([cut, data], [header, header])
    assert decoded.tolist() == [False, True] and not pictures[0].any()
    small = ReducedPictures(Preprocessing((32, 32)), DecodePolicy(max_pixels=1000))
    assert not small.prepare([data], [header])[1].any()


def test_a_vector_does_not_depend_on_other_stages(tmp_path) -> None:
    """Alone the embedder has no picture decoded whole; beside a stage that needs all pixels its vectors are equal."""
    from making import write_tar

    class Mean(ic.ImageEmbedder):
        input_size = 16

        def load_model(self, device):
            return lambda pictures: pictures.flatten(1)[:, :32]

    members = [(f"{number}.jpg", jpeg(photograph(420, 640, number))) for number in range(3)]
    members.append(("3.jpg", members[0][1][:4000]))
    write_tar(tmp_path / "in/00000.tar", members)
    alone, beside = (
        ic.read_webdataset(tmp_path / "in", workdir=tmp_path / str(len(stages))).pipe(*stages).metadata.compute()
        for stages in ([Mean()], [ic.PerceptualHash(), Mean()])
    )
    assert alone.image_embedding.tolist()[:3] == beside.image_embedding.tolist()[:3]
    assert alone.image_error.isna().tolist() == [True, True, True, False]
    assert alone.image_error.equals(beside.image_error) and alone.image_width.equals(beside.image_width)
