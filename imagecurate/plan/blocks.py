"""A block of rows whose pictures are decoded once, for all image stages that may want them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.images import Decoded, DecodePolicy, Decoder, ImageInfo
from imagecurate.plan.compute import run_image_stage
from imagecurate.plan.facts import PixelFacts
from imagecurate.plan.outcome import Flags, Positions
from imagecurate.plan.shard_state import BlockState
from imagecurate.plan.stage import ImageStage
from imagecurate.plan.steps import StageStep
from imagecurate.plan.threads import one_torch_thread

__all__ = ["Block"]

#: Bytes of encoded images held at a time.  One request serves many small images; a few large ones do not pile up.
_READ_BYTES = 16 << 20


_NOT_DECODED = Decoded(None, ImageInfo())


@functools.cache
def _decoder(policy: DecodePolicy) -> Decoder:
    return Decoder(policy)


class Block:
    """Prepared pictures of some rows.

    Each picture is decoded, handed to ``prepare`` of every stage that may want it, and let go.

    Parameters
    ----------
    state : BlockState
    positions : array of int
        Rows whose pictures are needed.
    wanted : mapping of int to array of bool
        For each image stage, by its step, which of the rows it may want.
    """

    def __init__(self, state: BlockState, positions: Positions, wanted: dict[int, Flags]) -> None:
        self.decoded = 0
        self._infos: list[ImageInfo] = []
        self._prepared = {number: _Prepared(_image_stage(state, number), flags) for number, flags in wanted.items()}
        self._place = {int(position): place for place, position in enumerate(positions)}
        decoder = _decoder(state.plan.policy)
        by_bytes, by_pixels = (
            [each for each in self._prepared.values() if each.stage.looks_at == what] for what in ("bytes", "pixels")
        )
        for place, data in enumerate(_read(state, positions)):
            for prepared in by_bytes:
                prepared.prepare(place, data)
            image = _NOT_DECODED
            if any(prepared.wants(place) for prepared in by_pixels):
                image = decoder.decode(data)
                self.decoded += 1
            self._infos.append(image.info)
            for prepared in by_pixels:
                prepared.take(place, image)
        one_torch_thread()

    def compute(self, number: int, positions: Positions) -> pa.Table:
        """Run the image stage at a step on some of the rows."""
        places = np.array([self._place[int(position)] for position in positions])
        return self._prepared[number].run(places, positions, self._infos)


class _Prepared:
    """What one stage keeps of each picture."""

    def __init__(self, stage: ImageStage, wanted: Flags) -> None:
        self.stage = stage
        self._slot = np.where(wanted, np.cumsum(wanted) - 1, -1)
        self._errors: dict[int, str] = {}
        shape = None if isinstance(stage, PixelFacts) else stage.input_shape
        count = int(wanted.sum())
        self._batch: Any = [None] * count if shape is None else np.zeros((count, *shape), np.uint8)

    def wants(self, place: int) -> bool:
        """True for a picture that the stage may want."""
        return bool(self._slot[place] >= 0)

    def take(self, place: int, image: Decoded) -> None:
        """Prepare a decoded picture, if it is wanted."""
        if not self.wants(place) or isinstance(self.stage, PixelFacts):
            return
        if image.pixels is None:  # though an earlier run may have decoded it
            self._errors[place] = image.info.error or "not decoded"
        else:
            self.prepare(place, image.pixels)

    def prepare(self, place: int, given: Any) -> None:
        """Prepare what the stage looks at, if it is wanted."""
        if not self.wants(place):
            return
        try:
            self._batch[self._slot[place]] = self.stage.prepare(given)
        except MemoryError:
            raise
        except Exception as error:
            self._errors[place] = f"{type(self.stage).__name__}: {type(error).__name__}: {error}"

    def run(self, places: NDArray[np.int64], positions: Positions, infos: list[ImageInfo]) -> pa.Table:
        if isinstance(self.stage, PixelFacts):
            return run_image_stage(self.stage, [infos[place] for place in places], positions)
        good = np.array([place not in self._errors for place in places], np.bool_)
        slots = self._slot[places[good]]
        batch: Any
        if isinstance(self._batch, np.ndarray):
            everything = len(slots) == len(self._batch) and np.array_equal(slots, np.arange(len(slots)))
            batch = self._batch if everything else self._batch[slots]
        else:
            batch = [self._batch[slot] for slot in slots]
        reasons = [self._errors[place] for place in places[~good].tolist()]
        return run_image_stage(self.stage, batch, positions[good], positions[~good], reasons)


def _image_stage(state: BlockState, number: int) -> ImageStage:
    step = state.plan.steps[number]
    if not isinstance(step, StageStep) or not isinstance(step.stage, ImageStage):
        raise TypeError(f"step {number} of the plan is no image stage")
    return step.stage


def _read(state: BlockState, positions: Positions) -> Iterator[bytes]:
    """Give the encoded images of some rows, a few at a time."""
    offsets = state.column("_image_offset", positions).to_pylist()
    sizes = state.column("_image_size", positions).to_pylist()
    ranges: list[tuple[int, int]] = []
    for offset, size in zip(offsets, sizes, strict=True):
        if ranges and sum(length for _, length in ranges) + size > _READ_BYTES:
            yield from state.bytes().read_many(ranges)
            ranges = []
        ranges.append((offset, size))
    if ranges:
        yield from state.bytes().read_many(ranges)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_decoder.cache_clear)  # its processes belong to the parent
