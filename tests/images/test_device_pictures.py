"""Pictures prepared by nvImageCodec and DALI, here on their CPU operators, against the CPU path."""

from __future__ import annotations

import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imagecurate.backend import gpu_pixels
from imagecurate.errors import MissingDependencyError, ParameterError
from imagecurate.images import DecodePolicy, Preprocessing
from imagecurate.images.device_pictures import DevicePictures
from imagecurate.images.header import jpeg_header

SQUARE = Preprocessing((64, 64))
POLICY = DecodePolicy()
#: Pillow rounds to 8 bits between its two passes, DALI does not.
GREY_LEVELS = 0.2


@pytest.fixture(scope="module")
def prepared():
    """Make the pictures of some files with a preprocessing; skipped where the libraries are not installed."""
    pytest.importorskip("nvidia.dali", reason="DALI is not installed: the extras cuda12 and cuda13 have it")
    made = {}

    def prepare(files, preprocessing=SQUARE):
        if preprocessing not in made:
            made[preprocessing] = DevicePictures(preprocessing, POLICY, device="cpu", threads=2)
        headers = [jpeg_header(data) for data in files]
        assert all(made[preprocessing].takes(data, header) for data, header in zip(files, headers, strict=True))
        pictures, decoded = made[preprocessing].prepare(files, headers)
        assert pictures.shape == (len(files), *preprocessing.input_size, 3)
        return pictures.numpy(), decoded

    return prepare


@pytest.fixture(scope="module")
def takes(prepared):
    """Whether a file is taken, by a policy."""
    made = {}

    def asked(data, policy=POLICY):
        if policy not in made:
            made[policy] = DevicePictures(SQUARE, policy, device="cpu", threads=1)
        return made[policy].takes(data, jpeg_header(data))

    return asked


def apart(decoder, files, pictures, preprocessing=SQUARE):
    """Mean grey levels between pictures and the CPU path's, for each."""
    expected = np.stack([preprocessing.prepare(decoder.decode(data).pixels) for data in files])
    return np.abs(pictures.astype(int) - expected).mean(axis=(1, 2, 3))


def textured(height, width, seed=0, grain=4):
    """Noise of a grain, smoothed."""
    noise = np.random.default_rng(seed).integers(0, 256, (-(-height // grain), -(-width // grain), 3), dtype=np.uint8)
    return np.array(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"subsampling": 0},
        {"subsampling": 1},
        {"optimize": True},
        {"quality": 10},
        {"restart_marker_blocks": 3},
        {"icc_profile": b"a profile, which is not applied"},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_kind_of_plain_jpeg(prepared, decoder, encode, options, mode):
    """In colour and in grey, the CPU path's picture."""
    files = [encode(Image.fromarray(textured(150, 201)).convert(mode), "JPEG", **options)]
    pictures, decoded = prepared(files)
    assert decoded.all()
    assert apart(decoder, files, pictures).max() <= GREY_LEVELS


@pytest.mark.parametrize(
    "preprocessing",
    [
        SQUARE,
        Preprocessing((48, 80)),
        Preprocessing((64, 64), crop_pct=0.875, interpolation="bilinear"),
        Preprocessing((50, 40), crop_mode="squash"),
        Preprocessing((64, 96), crop_mode="border"),
        Preprocessing((64, 64), crop_pct=1.3),
    ],
    ids=lambda preprocessing: f"{preprocessing.input_size} {preprocessing.crop_mode} {preprocessing.crop_pct}",
)
def test_all_orientations(prepared, decoder, make_picture, encode, preprocessing):
    """Upright, in every crop mode, with a border where there is one."""
    files = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files.append(encode(make_picture(151, 232), "JPEG", exif=exif, quality=95))
    pictures, decoded = prepared(files, preprocessing)
    assert decoded.all()
    assert apart(decoder, files, pictures, preprocessing).max() <= GREY_LEVELS
    assert len({picture.tobytes() for picture in pictures}) == 8


def test_orientation_in_xmp(prepared, decoder, make_picture, encode):
    """As the header has it, which nvImageCodec would not read."""
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation='1' tiff:Orientation=\"8\"/>"
    data = encode(make_picture(90, 120), "JPEG")
    files = [data[:2] + b"\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp + data[2:]]
    assert apart(decoder, files, prepared(files)[0]).max() <= GREY_LEVELS


@settings(max_examples=60)
@given(
    size=st.one_of(
        st.tuples(st.integers(1, 400), st.integers(1, 400)),
        st.sampled_from([(1, 1), (1, 900), (900, 1), (2, 3000), (3000, 2), (64, 64)]),
    ),
    grain=st.sampled_from([1, 4, 16]),
    preprocessing=st.sampled_from(
        [
            SQUARE,
            Preprocessing((48, 80), crop_pct=0.9),
            Preprocessing((64, 64), interpolation="bilinear"),
            Preprocessing((33, 81), crop_mode="squash"),
            Preprocessing((64, 64), crop_mode="border"),
        ]
    ),
)
def test_any_size(prepared, decoder, encode, size, grain, preprocessing):
    """Noise, too: within 0.3 grey levels on average where it is shrunk; enlarged, every rounding of Pillow's shows."""
    files = [encode(textured(*size, grain=grain), "JPEG", quality=95)]
    pictures, decoded = prepared(files, preprocessing)
    assert decoded.all()
    placement = preprocessing.placement(size)
    is_shrunk = min(placement.rows.scale, placement.columns.scale) >= 1 and preprocessing.crop_mode != "squash"
    assert apart(decoder, files, pictures, preprocessing)[0] <= (0.3 if is_shrunk else 0.7)


@pytest.mark.parametrize("size", [(65_000, 3), (3, 65_000)])
def test_the_longest_pictures(prepared, decoder, encode, size):
    """Cost what is kept of them; DALI takes positions in single precision, which shows in noise enlarged 20 times."""
    files = [encode(textured(*size, grain=1), "JPEG", quality=95)]
    assert apart(decoder, files, prepared(files)[0])[0] <= 1.5


def test_what_is_not_taken(takes, make_picture, encode):
    """Other formats, other kinds of JPEG, and files that end early or late are the CPU decoder's."""
    pixels = make_picture(40, 60)
    image = Image.fromarray(pixels)
    whole = encode(pixels, "JPEG")
    assert takes(whole)
    assert not takes(b"")
    assert not takes(encode(pixels, "PNG"))
    assert not takes(encode(image.convert("CMYK"), "JPEG"))
    assert not takes(encode(image, "JPEG", keep_rgb=True))
    assert not takes(whole[:-2])
    assert not takes(whole[: len(whole) // 2])
    assert not takes(whole + b"more")
    assert not takes(encode(image, "MPO", save_all=True, append_images=[image]))


def test_colours_that_decoders_read_differently(takes, make_picture, encode):
    """A file that says both JFIF, so YCbCr, and Adobe's RGB; one where they agree is plain."""
    data = encode(make_picture(40, 60), "JPEG")
    grey = encode(Image.fromarray(make_picture(40, 60)).convert("L"), "JPEG")
    rgb, ycc = (b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([transform]) for transform in (0, 1))
    assert not takes(data[:20] + rgb + data[20:])
    assert takes(data[:20] + ycc + data[20:])
    assert takes(grey[:20] + rgb + grey[20:])


def test_limits(takes, make_picture, encode):
    """As many pixels as the policy has, and no bomb of scans."""
    data = encode(make_picture(40, 60), "JPEG")
    assert takes(data, DecodePolicy(max_pixels=2400))
    assert not takes(data, DecodePolicy(max_pixels=2399))
    bomb = bytearray(encode(make_picture(40, 60), "JPEG", progressive=True))
    frame = bomb.index(b"\xff\xc2")
    bomb[frame + 5 : frame + 9] = (9000).to_bytes(2, "big") * 2
    assert jpeg_header(bytes(bomb)).scans > 4
    assert not takes(bytes(bomb))


def test_a_marker_in_the_coded_data(takes, make_picture, encode):
    """Tells damage that decoders keep to themselves; restarts are none."""
    data = encode(make_picture(100, 100), "JPEG")
    middle = len(data) - 40
    assert not takes(data[:middle] + b"\xff\xc4" + data[middle + 2 :])
    assert not takes(data[:middle] + b"\xff\xd9" + data[middle:])
    assert takes(encode(make_picture(100, 100), "JPEG", restart_marker_blocks=1))


def test_bad_files_among_good_ones(prepared, encode):
    """Are told, their pictures are zero, and their neighbours' pictures are what they are alone."""
    good = [encode(textured(80, 90, seed), "JPEG") for seed in range(4)]
    tables = good[0].index(b"\xff\xdb"), good[0].index(b"\xff\xc0")
    bad = good[0][: tables[0]] + good[0][tables[1] :]  # says nothing of how it is quantised
    alone, _ = prepared(good)
    pictures, decoded = prepared([good[0], bad, good[1], bad, bad, good[2], good[3]])
    assert decoded.tolist() == [True, False, True, False, False, True, True]
    np.testing.assert_array_equal(pictures[decoded], alone)
    assert not pictures[~decoded].any()
    bordered, decoded = prepared([bad, good[0]], Preprocessing((64, 64), crop_mode="border"))
    assert decoded.tolist() == [False, True]
    assert not bordered[0].any()


def test_an_error_of_dali_costs_no_picture(prepared, encode, monkeypatch, caplog):
    """As for want of memory: the CPU decoder gets the files, the log says why, and what follows is done again."""
    files = [encode(textured(80, 90, seed), "JPEG") for seed in range(3)]
    alone, _ = prepared(files)
    resize = gpu_pixels.JpegResizer._resize
    monkeypatch.setattr(gpu_pixels.JpegResizer, "_resize", lambda self, *_: self._pipeline.feed_input("pixels", [None]))
    pictures, decoded = prepared(files)
    assert not decoded.any()
    assert not pictures.any()
    assert caplog.records[0].getMessage().startswith("3 files are left to the CPU decoder: ")
    monkeypatch.setattr(gpu_pixels.JpegResizer, "_resize", resize)
    again, decoded = prepared(files)
    assert decoded.all()
    np.testing.assert_array_equal(again, alone)


def test_a_file_that_is_not_what_its_header_says(prepared, encode):
    """Another shape than announced, or no picture at all, is told by ``decoded``, never raised."""
    prepared([])
    pictures = DevicePictures(SQUARE, POLICY, device="cpu", threads=1)
    good = encode(textured(80, 90), "JPEG")
    header = jpeg_header(good)
    alone, _ = pictures.prepare([good], [header])
    files = [encode(textured(90, 80), "JPEG"), b"", b"\xff\xd8\xff\xd9", b"text", good]
    result, decoded = pictures.prepare(files, [header] * 5)
    assert decoded.tolist() == [False] * 4 + [True]
    np.testing.assert_array_equal(result[4], alone[0])


def test_no_files(prepared):
    """Give no pictures."""
    pictures, decoded = prepared([])
    assert pictures.shape == (0, 64, 64, 3)
    assert decoded.shape == (0,)


def test_more_than_fits_in_one_step(prepared, encode, monkeypatch):
    """Many files, and files with many pixels, are decoded in several steps to the same pictures."""
    files = [encode(textured(20 + number % 7, 30, number), "JPEG") for number in range(300)]
    pictures, decoded = prepared(files)
    assert decoded.all()
    monkeypatch.setattr(gpu_pixels, "_MOST_PIXELS", 1000)
    np.testing.assert_array_equal(prepared(files[:20])[0], pictures[:20])


def test_many_threads(prepared, encode):
    """Each gets its own pictures."""
    batches = [[encode(textured(60 + turn, 70, turn), "JPEG")] * 3 for turn in range(12)]
    alone = [prepared(batch)[0] for batch in batches]
    with ThreadPoolExecutor(6) as pool:
        for (pictures, decoded), expected in zip(pool.map(prepared, batches * 3), alone * 3, strict=True):
            assert decoded.all()
            np.testing.assert_array_equal(pictures, expected)


def test_filters_that_are_not_pillows():
    """Are refused when the object is made."""
    with pytest.raises(ParameterError, match="expects bicubic or bilinear interpolation, found 'lanczos'"):
        DevicePictures(Preprocessing((8, 8), interpolation="lanczos"), POLICY, device="cpu")


def test_libraries_that_are_not_installed(monkeypatch):
    """Are named, with the command that installs them."""
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    monkeypatch.setenv("PYNVIMGCODEC_VERBOSITY", "0")
    with pytest.raises(MissingDependencyError, match=r"nvImageCodec with DALI, which .*\n\nHint: pip install"):
        DevicePictures(SQUARE, POLICY, device="cpu")


@pytest.mark.shared
def test_odd_files(prepared, takes, decoder, shared):
    """What is taken of the odd corpus and decodes is the CPU path's picture; the rest goes there."""
    with tarfile.open(shared / "data/odd/00000.tar") as tar:
        files = [tar.extractfile(member).read() for member in tar]
    files = [data for data in files if takes(data)]
    assert len(files) >= 18
    pictures, decoded = prepared(files)
    same = [data for data, is_decoded in zip(files, decoded, strict=True) if is_decoded]
    assert len(same) >= 0.95 * len(files)
    assert apart(decoder, same, pictures[decoded]).max() <= 0.5


@pytest.mark.shared
def test_photos(prepared, takes, decoder, shared):
    """Nearly every photograph is taken, and within 0.25 grey levels, 0.2 on average."""
    with tarfile.open(shared / "data/photos/00000.tar") as tar:
        files = [tar.extractfile(member).read() for member in tar if member.name.endswith(".jpg")]
    taken = [data for data in files if takes(data)]
    assert len(taken) >= 0.95 * len(files)
    clip = Preprocessing((224, 224))
    pictures, decoded = prepared(taken, clip)
    assert decoded.all()
    differences = apart(decoder, taken, pictures, clip)
    assert differences.mean() <= GREY_LEVELS
    assert differences.max() <= 0.25
