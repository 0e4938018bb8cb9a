"""What imagecurate does in each benchmark.

What a process imports when it first needs it is imported when a task sets itself up: by a run over one small shard.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from protocol import serve
from stages import Checks, Normalised, Score, prepared

import imagecurate as ic

PACKAGES = ("imagecurate", "dask", "numpy", "pandas", "pyarrow", "simplejpeg", "timm", "torch")

Steps = dict[str, float]


def checks(source: str, work: str) -> Callable[[], int]:
    """Measures of single pictures by a stage of the user's."""
    return lambda: computed(ic.read_webdataset(source, workdir=new(work)).pipe(Checks()))


def pixels(source: str, work: str) -> Callable[[], int]:
    """From shards to normalised batches, through index, plan and store."""
    return lambda: computed(ic.read_webdataset(source, workdir=new(work)).pipe(Normalised()))


def functions(source: str, extension: str, threads: int, batch: int = 16) -> Callable[[], int]:
    """The same functions on files in memory, without anything around them."""
    import torch

    from imagecurate.images import Decoder

    files, decoder, preprocessing = loaded(source, extension), Decoder(), Normalised().preprocessing

    def normalised(some: list[bytes]) -> int:
        torch.set_num_threads(1)
        return len(preprocessing.normalise(np.stack([prepared(data, preprocessing, decoder) for data in some])))

    def run() -> int:
        with ThreadPoolExecutor(threads) as pool:
            return sum(pool.map(normalised, [files[start : start + batch] for start in range(0, len(files), batch)]))

    return run


def embed(source: str, work: str, model: str) -> Callable[[], int]:
    """From shards to stored vectors, with random weights in float32."""
    stage = ic.TimmImageEmbedder(model, pretrained=False, autocast=False)
    return lambda: computed(ic.read_webdataset(source, workdir=new(work)).pipe(stage))


def hashes(source: str, work: str) -> Callable[[], int]:
    """Hash every picture by pHash."""
    stage = ic.PerceptualHash(hash_size=64, crops=0)
    return lambda: computed(ic.read_webdataset(source, workdir=new(work)).pipe(stage))


def export(source: str, work: str, out: str, digest: str) -> Callable[[], int]:
    """Keep the samples whose column says so and write them as shards."""
    dataset = ic.read_webdataset(source, workdir=work).filter("keep", name="half")
    len(dataset)
    return lambda: written(dataset.to_webdataset(out, samples_per_shard=1000, digest=digest, progress=False), out)


def curate(source: str, work: str, out: str, model: str, threshold: float) -> Callable[[], int]:
    """Embed, score, filter and export: a first run, or one with another threshold."""
    import timm  # noqa: F401 - with torch

    embedder = ic.TimmImageEmbedder(model, pretrained=False, autocast=False)
    rehearse(ic.ThumbnailEmbedder(), Score())

    def run() -> int:
        dataset = ic.read_webdataset(source, workdir=work).pipe(embedder, Score(column="image_embedding"))
        dataset = dataset.filter(f"aesthetic >= {threshold}", name="aesthetic")
        written(dataset.to_webdataset(new(out), samples_per_shard=1000, progress=False), out)
        return len(dataset)

    return run


def store_scores(source: str, work: str) -> Callable[[], int]:
    """Fill a store with scores."""
    return lambda: computed(ic.read_webdataset(source, workdir=work).pipe(Score()))


def filter_scores(source: str, work: str, expression: str) -> Callable[[], dict[str, Any]]:
    """Open the shards, filter by scores in the store and count what is left."""
    rehearse(Score())

    def run() -> dict[str, Any]:
        dataset = ic.read_webdataset(source, workdir=work).pipe(Score()).filter(expression, name="quality")
        counts = dataset.counts()
        return {"count": int(counts.left.iloc[0]), "left": int(counts.left.iloc[-1])}

    return run


def steps(source: str, work: str, out: str) -> Callable[[], dict[str, Any]]:
    """Every step of a curation, one after the other; how long each took."""
    rehearse(Normalised(), ic.PerceptualHash(), ic.ThumbnailEmbedder(image_embedding_column="thumbnail"), Score())

    def run() -> dict[str, Any]:
        times: Steps = {}
        dataset = timed(times, "index", lambda: opened(source, new(work)))
        dataset = timed(times, "pixel pass", lambda: dataset.pipe(Normalised()).compute(progress=False))
        dataset = timed(times, "perceptual hash", lambda: dataset.pipe(ic.PerceptualHash()).compute(progress=False))
        dataset = timed(
            times,
            "thumbnail embedding",
            lambda: dataset.pipe(ic.ThumbnailEmbedder(image_embedding_column="thumbnail")).compute(progress=False),
        )
        dataset = timed(times, "digest of files", lambda: dataset.pipe(ic.ImageDigest()).compute(progress=False))
        dataset = timed(times, "equal files", lambda: ic.ExactDeduplicator()(dataset))
        dataset = timed(times, "column stage", lambda: dataset.pipe(Score()).compute(progress=False))
        dataset = dataset.filter("aesthetic >= 5", name="aesthetic")
        timed(times, "filter, counts", dataset.counts)
        timed(times, "ledger", lambda: dataset.ledger().compute())
        timed(times, "export", lambda: dataset.to_webdataset(new(out), samples_per_shard=1000, progress=False))
        return {"count": len(dataset), "steps": times}

    return run


def rehearse(*stages: ic.Stage) -> None:
    """Import what a run imports, by one over a shard of a single small picture."""
    from PIL import Image

    picture = io.BytesIO()
    Image.linear_gradient("L").save(picture, "JPEG")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(f"{folder}/0.tar", "w") as tar:
            member = tarfile.TarInfo("0.jpg")
            member.size = len(picture.getvalue())
            tar.addfile(member, io.BytesIO(picture.getvalue()))
        dataset = ic.read_webdataset(folder, workdir=f"{folder}/work").pipe(*stages)
        dataset = dataset.filter("aesthetic >= 0", name="all")
        dataset.counts()
        dataset.ledger().compute()
        dataset.to_webdataset(f"{folder}/out", progress=False)


def timed(times: Steps, name: str, step: Callable[[], Any]) -> Any:
    """Run a step and note how long it took."""
    began = time.perf_counter()
    result = step()
    times[name] = time.perf_counter() - began
    return result


def opened(source: str, work: str) -> Any:
    """A dataset with its index."""
    dataset = ic.read_webdataset(source, workdir=work)
    len(dataset)
    return dataset


def computed(dataset: Any) -> int:
    """Compute all columns; a picture that fails is a fault here."""
    dataset.compute(progress=False, strict=True)
    return len(dataset)


def written(summary: Any, out: str) -> int:
    """Bytes of the tars in a folder."""
    return sum(path.stat().st_size for path in Path(out).glob("*.tar"))


def loaded(source: str, extension: str) -> list[bytes]:
    """The files with an extension, of all shards of a folder."""
    files = []
    for path in sorted(Path(source).glob("*.tar")):
        with tarfile.open(path) as tar:
            files += [tar.extractfile(member).read() for member in tar if member.name.endswith(extension)]
    return files


def new(folder: str) -> str:
    """A folder that is not there yet."""
    return f"{folder}/{uuid.uuid4().hex}"


if __name__ == "__main__":
    serve(
        pixels, functions, embed, hashes, checks, export, curate, store_scores, filter_scores, steps, packages=PACKAGES
    )
