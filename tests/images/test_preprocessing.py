"""Preprocessing against timm's own evaluation transform on Pillow."""

from __future__ import annotations

import io
import pickle
import tarfile

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform, resolve_data_config

from imagecurate.errors import ParameterError
from imagecurate.images import Preprocessing

CLIP = {
    "input_size": (3, 224, 224),
    "interpolation": "bicubic",
    "crop_pct": 1.0,
    "crop_mode": "center",
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}


def by_timm(config: dict, pixels: np.ndarray) -> np.ndarray:
    """What timm's transform gives before it becomes a tensor."""
    transform = create_transform(**config, is_training=False)
    transform.transforms = [
        step for step in transform.transforms if "Tensor" not in str(step) and "Norm" not in str(step)
    ]
    return np.asarray(transform(Image.fromarray(pixels)))


def difference(config: dict, pixels: np.ndarray) -> np.ndarray:
    ours = Preprocessing.from_timm(config).prepare(pixels)
    theirs = by_timm(config, pixels)
    assert ours.shape == theirs.shape
    assert ours.flags.c_contiguous
    return np.abs(ours.astype(int) - theirs)


@st.composite
def pictures(draw):
    """Noise, smooth or rough, of any shape; panoramas and one-pixel edges included."""
    height, width = draw(
        st.one_of(
            st.tuples(st.integers(1, 300), st.integers(1, 300)),
            st.sampled_from([(1, 1), (1, 300), (300, 1), (30, 600), (600, 30), (20, 900), (224, 224), (448, 224)]),
        )
    )
    grain = draw(st.sampled_from([1, 4, 16]))
    noise = np.random.default_rng(draw(st.integers(0, 99))).integers(
        0, 256, (-(-height // grain), -(-width // grain), 3), dtype=np.uint8
    )
    return np.array(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


@settings(max_examples=150, deadline=None)
@given(
    pixels=pictures(),
    size=st.sampled_from([(224, 224), (64, 64), (48, 80), (81, 33), (7, 7)]),
    interpolation=st.sampled_from(["bicubic", "bilinear"]),
    crop_pct=st.sampled_from([1.0, 0.95, 0.875, 0.5, 1.1]),
    crop_mode=st.sampled_from(["center", "squash", "border"]),
)
def test_smooth_filters_are_within_a_grey_level(pixels, size, interpolation, crop_pct, crop_mode):
    """Torch's whole-number arithmetic is not Pillow's to the last bit, but never more than one level off."""
    config = CLIP | {"input_size": (3, *size), "interpolation": interpolation, "crop_pct": crop_pct}
    config["crop_mode"] = crop_mode
    if crop_mode == "border" and max(pixels.shape[:2]) > 2 * min(size) * min(pixels.shape[:2]):
        return  # an edge vanishes, and timm raises
    apart = difference(config, pixels)
    assert apart.max() <= 2
    assert apart.mean() <= 0.5


@settings(max_examples=60, deadline=None)
@given(
    pixels=pictures(),
    size=st.sampled_from([(64, 64), (48, 80), (7, 7)]),
    interpolation=st.sampled_from(["nearest", "lanczos", "box", "hamming"]),
    crop_pct=st.sampled_from([1.0, 0.875]),
    crop_mode=st.sampled_from(["center", "squash", "border"]),
)
def test_other_filters_are_pillows(pixels, size, interpolation, crop_pct, crop_mode):
    """Bit for bit."""
    config = CLIP | {"input_size": (3, *size), "interpolation": interpolation, "crop_pct": crop_pct}
    config["crop_mode"] = crop_mode
    if crop_mode == "border" and max(pixels.shape[:2]) > 2 * min(size) * min(pixels.shape[:2]):
        return  # an edge vanishes, and timm raises
    assert difference(config, pixels).max() == 0


@pytest.mark.parametrize("width", range(298 - 4, 298 + 5))
@pytest.mark.parametrize("height", [222, 223, 224, 225, 448])
def test_edges_that_need_next_to_no_resizing(make_picture, height, width):
    """Where one edge keeps its length, or what is needed has the length of what is kept, nothing goes missing."""
    assert difference(CLIP, make_picture(height, width)).max() <= 2
    assert difference(CLIP, make_picture(width, height)).max() <= 2


@pytest.mark.parametrize("size", [(1, 5_000_000), (5_000_000, 1), (3, 1_000_000)])
@pytest.mark.parametrize("interpolation", ["bicubic", "nearest", "lanczos"])
def test_the_longest_panorama_costs_what_is_kept(size, interpolation):
    """Timm would resize it to a thousand million pixels first."""
    pixels = np.zeros((*size, 3), np.uint8)
    middle = slice(max(size) // 2 - 1000, max(size) // 2 + 1000)
    pixels[(middle, slice(None)) if size[0] > size[1] else (slice(None), middle)] = 200
    prepared = Preprocessing((224, 224), interpolation).prepare(pixels)
    assert prepared.shape == (224, 224, 3)
    assert (prepared == 200).all()


def test_a_border_of_a_vanishing_edge():
    """Where timm raises, because an edge would have no pixel, one is kept."""
    prepared = Preprocessing((64, 64), crop_mode="border").prepare(np.full((1, 9000, 3), 9, np.uint8))
    assert (prepared == 9).all(axis=(1, 2)).sum() == 1


def test_read_only_pixels(make_picture):
    """Other stages may lock the array that they share."""
    pixels = make_picture(300, 400)
    expected = Preprocessing((32, 32)).prepare(pixels)
    pixels.flags.writeable = False
    np.testing.assert_array_equal(Preprocessing((32, 32)).prepare(pixels), expected)


def test_rows_that_are_not_contiguous(make_picture):
    """A view of a larger picture is a picture."""
    large = make_picture(300, 400)
    view = large[10:200, 20:300]
    np.testing.assert_array_equal(
        Preprocessing((32, 32)).prepare(view), Preprocessing((32, 32)).prepare(np.ascontiguousarray(view))
    )


def test_threads_do_not_change_the_result(make_picture):
    """With any number of torch's threads, the same bytes."""
    pixels = make_picture(600, 800)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(Preprocessing((224, 224)).prepare(pixels))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*results)


def test_normalise_is_timms(make_picture):
    """As ToTensor and Normalize do."""
    preprocessing = Preprocessing.from_timm(CLIP)
    pixels = make_picture(240, 300)
    expected = create_transform(**CLIP, is_training=False)(Image.fromarray(by_timm(CLIP, pixels)))
    batch = np.stack([by_timm(CLIP, pixels)] * 2)
    values = preprocessing.normalise(batch)
    assert values.shape == (2, 3, 224, 224)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values[1], expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(preprocessing.normalise(torch.from_numpy(batch)), values, rtol=0, atol=0)
    assert (batch == np.stack([by_timm(CLIP, pixels)] * 2)).all()  # untouched
    batch.flags.writeable = False
    torch.testing.assert_close(preprocessing.normalise(batch), values, rtol=0, atol=0)
    assert values.is_contiguous(memory_format=torch.channels_last)
    assert preprocessing.normalise(batch[:0]).shape == (0, 3, 224, 224)


@pytest.mark.parametrize(
    "name",
    ["vit_base_patch32_clip_224.openai", "resnet50.a1_in1k", "efficientnet_b0.ra_in1k", "fastvit_mci0.apple_mclip"],
)
def test_from_timm_takes_what_timm_resolves(make_picture, name):
    """For real models' configurations."""
    config = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    assert difference(config, make_picture(301, 404)).max() <= 2


def test_is_a_value():
    """Comparable, hashable, picklable, with all that decides the result in its identity."""
    preprocessing = Preprocessing.from_timm(CLIP)
    assert pickle.loads(pickle.dumps(preprocessing)) == preprocessing
    assert hash(preprocessing) == hash(Preprocessing.from_timm(CLIP))
    for name, other in [("crop_pct", 0.9), ("crop_mode", "squash"), ("interpolation", "box"), ("std", (1, 1, 1))]:
        assert Preprocessing.from_timm(CLIP | {name: other}).identity() != preprocessing.identity()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"input_size": (0, 5)}, "input_size of at least 1 x 1"),
        ({"input_size": (5,)}, "2 numbers in input_size"),
        ({"interpolation": "random"}, "an interpolation out of bicubic, bilinear"),
        ({"crop_mode": "centre"}, "a crop_mode out of center, squash, border"),
        ({"crop_pct": 0}, "crop_pct, found 0"),
        ({"crop_pct": 9.0}, "crop_pct, found 9.0"),
        ({"mean": (0.5,)}, "3 numbers in mean"),
        ({"std": (1, 0, 1)}, "positive std"),
    ],
)
def test_impossible_parameters(wrong, sentence):
    """Raise where they are set, not at the first picture."""
    with pytest.raises(ParameterError, match=sentence):
        Preprocessing(**({"input_size": (5, 5)} | wrong))


def test_models_that_do_not_take_rgb():
    """Are refused by name."""
    with pytest.raises(ParameterError, match="3 channels, RGB, but this one takes 1"):
        Preprocessing.from_timm(CLIP | {"input_size": (1, 224, 224)})


@pytest.mark.shared
def test_photos(decoder, shared):
    """Decode, resize and crop together: each within 0.5 grey levels of timm on Pillow, all within 0.05."""
    apart = []
    for path in sorted((shared / "data/photos").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                if not member.name.endswith(".jpg"):
                    continue
                data = tar.extractfile(member).read()
                ours = Preprocessing.from_timm(CLIP).prepare(decoder.decode(data).pixels)
                theirs = by_timm(CLIP, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
                apart.append(np.abs(ours.astype(int) - theirs).mean())
    assert len(apart) == 460
    assert max(apart) <= 0.5
    assert np.mean(apart) <= 0.05
