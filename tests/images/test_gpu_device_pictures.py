"""The GPU's pictures against those of the same definition on the CPU, and what bad files and long runs do to them."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from imagecurate.images import DecodePolicy, Decoder, Preprocessing
from imagecurate.images.device_pictures import DevicePictures
from imagecurate.images.header import jpeg_header

pytestmark = pytest.mark.gpu

CLIP = Preprocessing((224, 224))
#: Grey levels on average between nvJPEG with libjpeg-turbo's way of upsampling, and libjpeg-turbo.
NVJPEG = 1.0


def saved(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **({"quality": 92} | options))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    """Four photographs, 451 x 300 to 640 x 512 pixels."""
    data = pytest.importorskip("skimage.data", reason="the photographs are scikit-image's")
    return [Image.fromarray(photo()) for photo in (data.astronaut, data.coffee, data.chelsea, data.rocket)]


@pytest.fixture(scope="module")
def on_gpu() -> DevicePictures:
    """The pictures of one model on the GPU."""
    pytest.importorskip("nvidia.dali", reason="DALI is not installed: the extras cuda12 and cuda13 have it")
    return DevicePictures(CLIP, DecodePolicy(), device="cuda")


@pytest.fixture(scope="module")
def on_cpu(on_gpu: DevicePictures) -> DevicePictures:
    """The same on the CPU."""
    return DevicePictures(CLIP, DecodePolicy(), device="cpu")


def prepared(pictures: DevicePictures, files: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    result, decoded = pictures.prepare(files, [jpeg_header(data) for data in files])
    assert result.device.type == pictures.device.type
    return result.cpu().numpy(), decoded


def check(on_gpu: DevicePictures, on_cpu: DevicePictures, files: list[bytes]) -> None:
    assert all(on_gpu.takes(data, jpeg_header(data)) for data in files)
    ours, decoded = prepared(on_gpu, files)
    expected, _ = prepared(on_cpu, files)
    assert decoded.all()
    apart = np.abs(ours.astype(int) - expected).mean(axis=(1, 2, 3))
    assert apart.max() <= NVJPEG, apart


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"progressive": True},
        {"subsampling": 0},
        {"subsampling": 1},
        {"optimize": True},
        {"quality": 30},
        {"restart_marker_blocks": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_kind_of_plain_jpeg(on_gpu, on_cpu, photos, options, mode):
    """Within a grey level of libjpeg-turbo on average, whatever the kind."""
    check(on_gpu, on_cpu, [saved(photo.convert(mode), **options) for photo in photos])


def test_all_orientations(on_gpu, on_cpu, photos):
    """As on the CPU."""
    files = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files.append(saved(photos[1], exif=exif))
    check(on_gpu, on_cpu, files)


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing((48, 80)),
        Preprocessing((64, 64), crop_pct=0.875, interpolation="bilinear"),
        Preprocessing((50, 40), crop_mode="squash"),
        Preprocessing((64, 96), crop_mode="border"),
    ],
    ids=lambda preprocessing: f"{preprocessing.input_size} {preprocessing.crop_mode}",
)
def test_other_preprocessings(on_gpu, photos, preprocessing):
    """As on the CPU, borders and turned pictures among them."""
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [saved(photo) for photo in photos] + [saved(photos[0].crop((0, 0, 300, 500)), exif=exif)]
    pair = [DevicePictures(preprocessing, DecodePolicy(), device=device) for device in ("cuda", "cpu")]
    check(*pair, files)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (1, 300), (300, 1), (17, 2000), (6000, 30), (3000, 4000)])
def test_odd_sizes(on_gpu, on_cpu, photos, size):
    """What the GPU decodes of them is right; what it does not, it says."""
    files = [saved(photos[0].resize(size)), saved(photos[1])]
    ours, decoded = prepared(on_gpu, files)
    expected, _ = prepared(on_cpu, files)
    assert decoded[1]
    apart = np.abs(ours.astype(int) - expected).mean(axis=(1, 2, 3))
    assert apart[decoded].max() <= 2 * NVJPEG, apart
    assert not ours[~decoded].any()


def test_embeddings(on_gpu, photos):
    """Of a small ViT: cosine at least 0.999 to those of the CPU path."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0).eval().cuda()
    files = [saved(photo) for photo in photos] + [saved(photo.convert("L"), progressive=True) for photo in photos]
    ours, decoded = on_gpu.prepare(files, [jpeg_header(data) for data in files])
    assert decoded.all()
    with Decoder() as decoder:
        exact = np.stack([CLIP.prepare(decoder.decode(data).pixels) for data in files])
    with torch.inference_mode():
        vectors = [model(CLIP.normalise(batch)) for batch in (ours, torch.from_numpy(exact).cuda())]
    # Without their mean, which random weights give to every picture alike.
    first, second = (each - vectors[1].mean(dim=0) for each in vectors)
    assert torch.nn.functional.cosine_similarity(*vectors).min() >= 0.999
    assert torch.nn.functional.cosine_similarity(first, second).min() >= 0.99


def broken(data: bytes) -> list[bytes]:
    """The file without its tables, and cut out in the middle of its coded data: the header still promises all."""
    tables, frame, scan = data.index(b"\xff\xdb"), data.index(b"\xff\xc0"), data.index(b"\xff\xda") + 14
    huffman = data.index(b"\xff\xc4")
    return [
        data[:tables] + data[frame:],
        data[:huffman] + data[scan - 14 :],
        data[:scan] + b"\xff\xd9",
        data[: (scan + len(data)) // 2] + b"\xff\xd9",
        data[:scan] + bytes(500) + data[scan + 500 :],
    ]


def test_bad_files_among_good_ones(on_gpu, photos):
    """Their neighbours' pictures are, to the bit, what they are without them, in this batch and the next."""
    good = [saved(photo) for photo in photos]
    alone, decoded = prepared(on_gpu, good)
    assert decoded.all()
    for bad in broken(good[0]):
        files = [good[0], bad, good[1], bad, good[2], good[3]]
        pictures, decoded = prepared(on_gpu, files)
        kept = [0, 2, 4, 5]
        assert decoded[kept].all()
        np.testing.assert_array_equal(pictures[kept], alone)
        assert not pictures[~decoded].any()
        np.testing.assert_array_equal(prepared(on_gpu, good)[0], alone)


def test_a_picture_does_not_depend_on_its_batch(on_gpu, photos):
    """Alone, in any place, and among any others: the same bits."""
    files = [saved(photo.resize((400 + 8 * number, 300))) for number in range(60) for photo in photos]
    together, decoded = prepared(on_gpu, files)
    assert decoded.all()
    np.testing.assert_array_equal(prepared(on_gpu, files[::-1])[0][::-1], together)
    for number in (0, 7, 100, 239):
        np.testing.assert_array_equal(prepared(on_gpu, [files[number]])[0][0], together[number])


def test_many_threads(on_gpu, photos):
    """Each gets its own pictures, also where it works on a stream of its own."""
    batches = [[saved(photo, quality=quality)] * 20 for quality in (50, 70, 90) for photo in photos]
    alone = [prepared(on_gpu, batch)[0] for batch in batches]

    def work(batch: list[bytes]) -> np.ndarray:
        with torch.cuda.stream(torch.cuda.Stream()):
            return prepared(on_gpu, batch)[0]

    with ThreadPoolExecutor(6) as pool:
        for pictures, expected in zip(pool.map(work, batches * 3), alone * 3, strict=True):
            np.testing.assert_array_equal(pictures, expected)


def test_memory_does_not_grow(on_gpu, photos):
    """Over 200 batches of changing sizes, after the first have shown how much is needed."""
    batches = [[saved(photo.resize((300 + 40 * step, 300))) for photo in photos] * 8 for step in range(8)]
    headers = [[jpeg_header(data) for data in batch] for batch in batches]

    def used() -> int:
        torch.cuda.synchronize()
        free, total = torch.cuda.mem_get_info()
        return total - free

    for turn in range(200):
        _, decoded = on_gpu.prepare(batches[turn % 8], headers[turn % 8])
        assert decoded.all()
        if turn == 40:
            before = used()
    assert used() - before <= 64 << 20
