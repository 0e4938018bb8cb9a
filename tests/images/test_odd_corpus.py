"""Real odd files against an independent reading of the policy on plain Pillow."""

from __future__ import annotations

import contextlib
import csv
import io
import subprocess
import sys
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from imagecurate.images import DecodePolicy

pytestmark = pytest.mark.shared

#: Files whose pixels may differ from the reference, and why.
DIFFERENT = {"10ct_32bit_128.tiff": "floats have no range of their own: ours is the values' own, the reference clips"}


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as tar:
        for member in tar:
            yield Path(member.name).stem, tar.extractfile(member).read()


def reference(data: bytes) -> np.ndarray:
    """Decode by the policy, said as naively as possible; raises where Pillow does."""
    image = Image.open(io.BytesIO(data))
    if image.width * image.height > DecodePolicy().max_pixels:
        raise ValueError("too many pixels")
    image.load()
    with contextlib.suppress(SyntaxError, ValueError, TypeError):  # damaged EXIF
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return np.repeat((np.asarray(image) // 256).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        return np.repeat(np.asarray(image).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def test_decodes_what_pillow_decodes_to_the_same_pixels(decoder, shared, monkeypatch):
    """Every file that Pillow opens is decoded, to equal pixels; every other one fails with a reason."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with (shared / "data/odd/names.csv").open() as file:
        names = {row["key"]: row["original_name"] for row in csv.DictReader(file)}
    differences = {}
    failed = 0
    for key, data in members(shared / "data/odd/00000.tar"):
        decoded = decoder.decode(data)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = reference(data)
        except Exception as error:
            failed += 1
            if decoded.info.error is None:
                differences[names[key]] = f"decoded, but Pillow says {error}"
            continue
        if decoded.pixels is None:
            differences[names[key]] = decoded.info.error
        elif decoded.pixels.shape != expected.shape or np.abs(decoded.pixels.astype(int) - expected).max() > 1:
            differences[names[key]] = "other pixels"
    assert differences == dict.fromkeys(DIFFERENT, "other pixels")
    assert failed == 22


def test_memory_stays_below_a_gigabyte(shared):
    """Of caller and decoder together, over all odd files, bombs among them."""
    script = f"""
import tarfile
from pathlib import Path
from imagecurate.images import Decoder
def peak(pid):
    status = Path(f"/proc/{{pid}}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])
start = peak("self")
with Decoder() as decoder, tarfile.open({str(shared / "data/odd/00000.tar")!r}) as tar:
    for member in tar:
        decoder.decode(tar.extractfile(member).read())
    print(peak("self") - start + peak(decoder._idle[0]._process.pid))
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=120)
    assert int(done.stdout) < 1_000_000


def test_photos_are_decoded_in_this_process_bit_for_bit(decoder, shared):
    """Photographs take the fast path, and it gives what Pillow gives."""
    for _, data in members(shared / "data/photos/00000.tar"):
        if not data.startswith(b"\xff\xd8"):
            continue
        idle = list(decoder._idle)
        pixels = decoder.decode(data).pixels
        assert [process.served for process in decoder._idle] == [process.served for process in idle]
        expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        np.testing.assert_array_equal(pixels, np.asarray(expected))
