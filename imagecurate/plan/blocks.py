"""A block of rows whose pictures are decoded once, for all image stages that may want them."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from imagecurate.images import Decoded, DecodePolicy, Decoder, ImageInfo
from imagecurate.images.decoder import plain_info
from imagecurate.images.header import JpegHeader, jpeg_header
from imagecurate.plan.facts import PixelFacts
from imagecurate.plan.outcome import Flags, Positions
from imagecurate.plan.plan import Plan
from imagecurate.plan.prepared import Prepared
from imagecurate.plan.shard_state import BlockState
from imagecurate.plan.stage import ImageStage
from imagecurate.plan.steps import StageStep
from imagecurate.plan.threads import one_torch_thread

__all__ = ["Block", "image_stage"]

#: Bytes of encoded images held at a time.  One request serves many small images; a few large ones do not pile up.
_READ_BYTES = 16 << 20


@functools.cache
def _decoder(policy: DecodePolicy) -> Decoder:
    return Decoder(policy)


class Block:
    """Prepared pictures of some rows.

    Each picture is decoded, handed to ``prepare`` of every stage that may want it, and let go.  A stage that prepares
    pictures from their files (``ImageStage.from_files``) gets those that it takes some at a time; they are decoded here
    only for the other stages, or where that failed.

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
        policy = state.plan.policy
        self._decode = _decoder(policy).decode
        self._prepared = {
            number: Prepared(image_stage(state.plan, number), positions, flags, policy)
            for number, flags in wanted.items()
        }
        self._by_bytes = [each for each in self._prepared.values() if each.stage.looks_at == "bytes"]
        self._by_pixels = {number: each for number, each in self._prepared.items() if each.stage.looks_at == "pixels"}
        self._place = {int(position): place for place, position in enumerate(positions)}
        self._aside = {number: _Aside() for number, prepared in self._prepared.items() if prepared.files is not None}
        for place, data in enumerate(_read(state, positions)):
            self._look(place, data)
        for number in self._aside:
            self._prepare_aside(number)
        one_torch_thread()

    def compute(self, number: int, positions: Positions) -> pa.Table:
        """Run the image stage at a step on some of the rows."""
        places = np.array([self._place[int(position)] for position in positions])
        return self._prepared[number].run(places, positions, self._infos)

    def _look(self, place: int, data: bytes) -> None:
        """Have one picture prepared for all stages that want it, or set aside."""
        for prepared in self._by_bytes:
            if prepared.wants(place):
                prepared.prepare(place, data)
        wanting = {number: prepared for number, prepared in self._by_pixels.items() if prepared.wants(place)}
        header = jpeg_header(data) if self._aside else None
        aside = [number for number, prepared in wanting.items() if prepared.takes(data, header)]
        others = [prepared for number, prepared in wanting.items() if number not in aside]
        image = Decoded(None, ImageInfo())
        if header is not None and aside and all(isinstance(prepared.stage, PixelFacts) for prepared in others):
            image.info = plain_info(header)
        elif wanting:
            image = self._decode(data, header)
        self.decoded += bool(wanting)
        self._infos.append(image.info)
        for prepared in others:
            prepared.take(place, image)
        for number in aside:
            if header is not None and self._aside[number].add(place, data, header) >= self._prepared[number].at_once:
                self._prepare_aside(number)

    def _prepare_aside(self, number: int) -> None:
        """Have one stage prepare the pictures that were set aside for it; what it cannot decode is decoded here."""
        waiting, self._aside[number] = self._aside[number], _Aside()
        if not waiting.places:
            return
        prepared = self._prepared[number]
        for index in prepared.prepare_files(waiting.places, waiting.files, waiting.headers):
            image = self._decode(waiting.files[index])
            self._infos[waiting.places[index]] = image.info
            prepared.take(waiting.places[index], image)


class _Aside:
    """Files that wait until there are enough of them."""

    def __init__(self) -> None:
        self.places: list[int] = []
        self.files: list[bytes] = []
        self.headers: list[JpegHeader] = []

    def add(self, place: int, data: bytes, header: JpegHeader) -> int:
        """Add a file; give how many there are."""
        self.places.append(place)
        self.files.append(data)
        self.headers.append(header)
        return len(self.places)


def image_stage(plan: Plan, number: int) -> ImageStage:
    """The image stage at a step of a plan."""
    step = plan.steps[number]
    if not isinstance(step, StageStep) or not isinstance(step.stage, ImageStage):
        raise TypeError(f"step {number} of the plan is no image stage")
    return step.stage


def _read(state: BlockState, positions: Positions) -> Iterator[bytes]:
    """Give the encoded images of some rows, a few at a time."""
    offsets = state.column("_image_offset", positions).to_pylist()
    sizes = state.column("_image_size", positions).to_pylist()
    ranges: list[tuple[int, int]] = []
    held = 0
    for offset, size in zip(offsets, sizes, strict=True):
        if ranges and held + size > _READ_BYTES:
            yield from state.bytes().read_many(ranges)
            ranges, held = [], 0
        ranges.append((offset, size))
        held += size
    if ranges:
        yield from state.bytes().read_many(ranges)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_decoder.cache_clear)  # its processes belong to the parent
