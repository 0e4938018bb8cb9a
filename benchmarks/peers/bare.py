"""What nothing can be faster than: the JPEG decode alone, the model alone, the copy of bytes alone, a digest alone."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from protocol import serve


def decode(source: str, threads: int) -> Callable[[], int]:
    """Decode files in memory by simplejpeg."""
    import simplejpeg

    files = loaded(source)

    def some(batch: list[bytes]) -> int:
        return len([simplejpeg.decode_jpeg(data).shape for data in batch])

    return lambda: shared_out(some, [files[start : start + 16] for start in range(0, len(files), 16)], threads)


def model(source: str, model: str, threads: int, of_torch: int, batch: int) -> Callable[[], int]:
    """A timm model with random weights, in float32, on batches in memory that are ready for it."""
    import numpy as np
    import timm
    import torch

    from imagecurate.images import Decoder, Preprocessing

    torch.set_num_threads(of_torch)
    network = timm.create_model(model, pretrained=False).eval()
    config = timm.data.resolve_model_data_config(network)
    decoder, preprocessing = Decoder(), Preprocessing.from_timm(config)
    pictures = [preprocessing.prepare(decoder.decode(data).pixels) for data in loaded(source)]
    batches = [
        preprocessing.normalise(np.stack(pictures[start : start + batch])) for start in range(0, len(pictures), batch)
    ]

    def embedded(inputs: torch.Tensor) -> int:
        torch.set_num_threads(of_torch)
        with torch.inference_mode():
            return len(network(inputs))

    return lambda: shared_out(embedded, batches, threads)


def copy(source: str, out: str, most: int) -> Callable[[], int]:
    """One process that copies whole files, until it has copied so many bytes; sendfile on Linux, never a reflink."""

    def run() -> int:
        Path(out).mkdir()
        copied = 0
        for path in sorted(Path(source).glob("*.tar")):
            if copied >= most:
                break
            copied += Path(shutil.copyfile(path, Path(out) / path.name)).stat().st_size
        return copied

    return run


def digest(source: str, name: str, most: int) -> Callable[[], int]:
    """A digest of bytes in memory, in pieces as the export hands them over, on one core."""
    import xxhash

    new = {"xxh3_128": xxhash.xxh3_128, "sha256": hashlib.sha256}[name]
    pieces = [
        memoryview(data)[start : start + (128 << 10)]
        for data in loaded(source)
        for start in range(0, len(data), 128 << 10)
    ]

    def run() -> int:
        done, found = 0, new()
        while done < most:
            for piece in pieces:
                found.update(piece)
                done += len(piece)
        return done

    return run


def shared_out(task: Callable, items: list, threads: int) -> int:
    """Run a task on all items in threads and sum up."""
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(task, items))


def loaded(source: str) -> list[bytes]:
    """The JPEG files of all shards of a folder."""
    files = []
    for path in sorted(Path(source).glob("*.tar")):
        with tarfile.open(path) as tar:
            files += [tar.extractfile(member).read() for member in tar if member.name.endswith(".jpg")]
    return files


if __name__ == "__main__":
    serve(decode, model, copy, digest, packages=("simplejpeg", "timm", "torch", "xxhash"))
