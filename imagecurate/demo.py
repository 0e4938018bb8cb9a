"""A small dataset made from photographs that ship inside scikit-learn and scikit-image, and a pipeline over it."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from imagecurate.errors import MissingDependencyError

__all__ = ["make_demo"]

_SHARDS = 3

#: File inside the package, and what it shows.
_SKLEARN = {"china.jpg": "a temple in China", "flower.jpg": "a flower"}
_SKIMAGE = {
    "astronaut.png": "an astronaut in front of a flag",
    "brick.png": "a brick wall",
    "camera.png": "a man with a camera",
    "chelsea.png": "a tabby cat",
    "coffee.png": "a cup of coffee",
    "coins.png": "Greek coins from Pompeii",
    "grass.png": "grass",
    "gravel.png": "gravel",
    "hubble_deep_field.jpg": "the Hubble deep field",
    "ihc.png": "stained tissue",
    "moon.png": "the surface of the moon",
    "motorcycle_left.png": "a motorcycle in a workshop",
    "retina.jpg": "a retina",
    "rocket.jpg": "a rocket at its launch",
}

_PIPELINE = """\
# Made by `imagecurate demo`; to run it again, give this file to `imagecurate run` in the folder where you made it.
input: {shards}
output: {output}
workdir: {workdir}
stages:
  - Filter: {{expr: caption is not null, name: caption}}
  - ThumbnailEmbedder            # needs no weights; a real run would use TimmImageEmbedder
  - Filter: {{expr: "min(width, height) >= 128", name: size}}
  - Deduplicate: {{keep_by: image_width}}
  - WithColumn: {{name: megapixels, expr: "image_width * image_height / 1e6"}}
export: {{samples_per_shard: 20}}
"""


def make_demo(folder: Path) -> Path:
    """Write shards and a pipeline.

    The shards hold whole photographs, cuttings and copies of them, and what people meet in real data: a truncated
    file, a page of text named ``.jpg``, a sample without a caption, a thumbnail.

    Parameters
    ----------
    folder : Path
        Gets ``shards/`` and ``curate.yaml``.

    Returns
    -------
    Path
        The pipeline file.

    Raises
    ------
    MissingDependencyError
        scikit-image is not installed.
    """
    folder = Path(os.path.expanduser(folder))  # noqa: PTH111  # a ~ that is no user's home stays as it is
    shards = folder / "shards"
    shards.mkdir(parents=True, exist_ok=True)
    samples = list(_samples())
    for number in range(_SHARDS):
        path = shards / f"{number:05d}.tar"
        if path.exists():  # a second demo finds its shards unchanged, and so computes nothing
            continue
        unfinished = path.with_suffix(".part")
        with tarfile.open(unfinished, "w") as tar:
            for key, members in enumerate(samples):
                if key % _SHARDS == number:
                    for extension, data in members.items():
                        entry = tarfile.TarInfo(f"{key:06d}.{extension}")
                        entry.size = len(data)
                        tar.addfile(entry, io.BytesIO(data))
        unfinished.replace(path)
    pipeline = folder / "curate.yaml"
    paths = {"shards": shards, "output": folder / "curated", "workdir": folder / "work"}
    pipeline.write_text(_PIPELINE.format_map({name: _as_yaml(path) for name, path in paths.items()}), encoding="utf-8")
    return pipeline


def _as_yaml(path: Path) -> str:
    """A path in quotes: it may hold what means something to YAML."""
    text: str = yaml.safe_dump(path.as_posix(), default_style='"', width=sys.maxsize)
    return text.strip()


def _samples() -> Iterator[dict[str, bytes]]:
    """Members of each sample."""
    from PIL import Image

    for number, (name, data, caption) in enumerate(_photographs()):
        whole = Image.open(io.BytesIO(data)).convert("RGB")
        yield _sample(Path(name).suffix[1:], data, caption, "original")
        wide, high = whole.size
        left = whole.crop((0, 0, wide * 2 // 3, high * 2 // 3))
        right = whole.crop((wide // 3, high // 3, wide, high))
        yield _sample("jpg", _encoded(left, "JPEG", quality=90), f"{caption}, upper left", "cutting")
        yield _sample("webp", _encoded(right, "WEBP", quality=85), f"{caption}, lower right", "cutting")
        if number % 4 == 0:
            yield _sample(Path(name).suffix[1:], data, caption, "copy")
            half = whole.resize((wide // 2, high // 2))
            yield _sample("jpg", _encoded(half, "JPEG", quality=75), caption, "half size")
        if number == 0:
            yield _sample("jpg", _encoded(whole, "JPEG")[:20_000], caption, "truncated")
            yield _sample("jpg", b"<html><body>404 not found</body></html>", caption, "web page")
            yield {"jpg": _encoded(left.rotate(90, expand=True), "JPEG")}
            yield _sample("png", _encoded(whole.resize((64, 48)), "PNG"), caption, "thumbnail")


def _photographs() -> Iterator[tuple[str, bytes, str]]:
    if importlib.util.find_spec("skimage") is None:
        raise MissingDependencyError.for_feature("the demo", "scikit-image", "demo")
    import skimage
    import sklearn

    for package, folder, names in ((sklearn, "datasets/images", _SKLEARN), (skimage, "data", _SKIMAGE)):
        for name, caption in names.items():
            path = Path(package.__path__[0]) / folder / name
            yield name, path.read_bytes(), f"a photograph of {caption}"


def _sample(extension: str, image: bytes, caption: str, kind: str) -> dict[str, bytes]:
    return {extension: image, "txt": caption.encode(), "json": json.dumps({"kind": kind}).encode()}


def _encoded(image: Any, image_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()
