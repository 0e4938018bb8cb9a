"""DALI's pipeline on the CPU: its own reader of tars, decoder, resize, crop and normalisation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nvidia.dali import fn, pipeline_def, types
from protocol import serve

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def pixels(source: str, extension: str, threads: int, batch: int) -> Callable[[], int]:
    """From shards to normalised batches."""
    paths = [str(path) for path in sorted(Path(source).glob("*.tar"))]

    @pipeline_def(batch_size=batch, num_threads=threads, device_id=None)
    def pipeline():
        files = fn.readers.webdataset(paths=paths, ext=[extension], name="shards", pad_last_batch=False)
        pictures = fn.decoders.image(files, device="cpu", output_type=types.RGB)
        pictures = fn.resize(pictures, resize_shorter=224, interp_type=types.INTERP_CUBIC, antialias=True)
        return fn.crop_mirror_normalize(
            pictures,
            crop=(224, 224),
            mean=[255 * each for each in MEAN],
            std=[255 * each for each in STD],
            dtype=types.FLOAT,
            output_layout="CHW",
        )

    running = pipeline()
    running.build()
    size = running.epoch_size("shards")

    def run() -> int:
        done = 0
        while done < size:  # the reader begins anew by itself: a round is as many batches as there are in it
            (pictures,) = running.run()
            done += len(pictures)
        return done

    return run


if __name__ == "__main__":
    serve(pixels, packages=("nvidia-dali-cuda130", "nvidia-nvimgcodec-cu13"))
