"""NeMo Curator's ImageReaderStage and ImageWriterStage, keeping every second picture, without Ray around them.

The stages are called as its executors call them, in as many processes as there are threads, each with its part of the
shards: so nothing of Ray's start or of its object store counts.  They decode each JPEG, keep neither key nor caption,
and encode again with quality 92.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from protocol import serve


def reshard(source: str, out: str, shards: int, threads: int, kept_bytes: int) -> Callable[[], int]:
    """Read some of the shards and write every second picture of them; tells the bytes that the kept samples had."""
    paths = [str(path) for path in sorted(Path(source).glob("*.tar"))[:shards]]
    pool = multiprocessing.get_context("spawn").Pool(threads, initializer=import_stages)
    parts = [paths[number::threads] for number in range(threads)]

    def run() -> int:
        pool.starmap(reshard_part, [(part, f"{out}/{number}") for number, part in enumerate(parts)])
        return kept_bytes

    return run


def import_stages() -> None:
    """Import what takes seconds to import."""
    import logging  # noqa: F401

    from loguru import logger

    logger.remove()
    import nemo_curator.stages.image.io.image_reader
    import nemo_curator.stages.image.io.image_writer  # noqa: F401
    import nvidia.dali  # noqa: F401


def reshard_part(paths: list[str], out: str) -> None:
    """Read and write shard by shard, in one process."""
    from nemo_curator.stages.image.io.image_reader import ImageReaderStage
    from nemo_curator.stages.image.io.image_writer import ImageWriterStage
    from nemo_curator.tasks import FileGroupTask

    class CpuReader(ImageReaderStage):
        """The stage with the one change that a machine without a GPU needs: ``device_id=None``."""

        def _create_dali_pipeline(self, tar_paths: list[str]) -> Any:
            from nvidia.dali import fn, pipeline_def, types

            @pipeline_def(batch_size=self.dali_batch_size, num_threads=self.num_threads, device_id=None)
            def pipeline() -> Any:
                files = fn.readers.webdataset(paths=tar_paths, ext=["jpg"], missing_component_behavior="skip")
                return fn.decoders.image(files, device="cpu", output_type=types.RGB)

            built = pipeline()
            built.build()
            return built

    reader = CpuReader(num_threads=1, verbose=False)
    writer = ImageWriterStage(output_dir=out, images_per_tar=1000)
    for path in paths:
        for batch in reader.process(FileGroupTask(dataset_name="shards", data=[path])):
            batch.data = batch.data[::2]
            writer.process(batch)


if __name__ == "__main__":
    serve(reshard, packages=("nemo-curator", "nvidia-dali-cuda130", "Pillow"))
