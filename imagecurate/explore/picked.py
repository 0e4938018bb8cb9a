"""Some rows of a dataset, from anywhere in it, and the bytes of their pictures."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from imagecurate.backend import backend_named
from imagecurate.explore.thumbnails import SIDE, Thumbnail, thumbnail
from imagecurate.images import DecodePolicy, Decoder
from imagecurate.plan.threads import cores
from imagecurate.shards import Shard, open_shard
from imagecurate.store import POSITION

__all__ = ["PLACE", "SHARD_NUMBER", "Picked"]

#: Internal column: the number of the shard among those of the dataset.
SHARD_NUMBER = "_shard_number"
#: Internal columns that say where the picture of a row lies; the last two are null where it has none.
PLACE = (SHARD_NUMBER, POSITION, "_image_offset", "_image_size")

#: Bytes of encoded images held at a time: a gallery of scans must not fill the memory.
_READ_BYTES = 32 << 20


@dataclass(frozen=True)
class Picked:
    """Some rows, in the order in which they are shown.

    Parameters
    ----------
    table : pyarrow.Table
        Columns to show, and those of ``PLACE``.
    shards : sequence of Shard
        All shards of the dataset.
    policy : DecodePolicy
    storage_options : mapping, optional
        For fsspec.
    """

    table: pa.Table
    shards: Sequence[Shard] = field(repr=False)
    policy: DecodePolicy = field(default_factory=DecodePolicy, repr=False)
    storage_options: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def columns(self) -> list[str]:
        """Names of the columns to show."""
        return [name for name in self.table.column_names if name not in PLACE]

    @functools.cached_property
    def frame(self) -> pd.DataFrame:
        """The columns to show, as pandas."""
        columns = {name: self.table[name].combine_chunks() for name in self.columns}
        frame: pd.DataFrame = backend_named("pandas").to_frame(columns, np.arange(len(self)))
        return frame

    def take(self, rows: Sequence[int]) -> Picked:
        """Some of the rows, by their places."""
        table = self.table.take(pa.array(rows, pa.int64()))
        return Picked(table, self.shards, self.policy, self.storage_options)

    def files(self) -> Iterator[tuple[int, bytes | str]]:
        """Give the place of each row, shard by shard, and its image file, or the reason why there is none.

        Reads the image members of these rows and nothing else, in one request where they lie side by side.
        """
        numbers, _, offsets, sizes = (self.table[name].to_pylist() for name in PLACE)
        by_shard: dict[int, list[int]] = {}
        for row in sorted(range(len(self)), key=lambda row: (numbers[row], offsets[row] or 0)):
            by_shard.setdefault(numbers[row], []).append(row)
        for number, rows in by_shard.items():
            with_image = [row for row in rows if offsets[row] is not None]
            yield from ((row, "no image") for row in rows if offsets[row] is None)
            places = [(offsets[row], sizes[row]) for row in with_image]
            yield from zip(with_image, self._read(self.shards[number], places), strict=True)

    def thumbnails(self, side: int = SIDE) -> list[Thumbnail]:
        """A small JPEG of each row; some are decoded at a time, side by side."""
        made = [Thumbnail(None, error="no image")] * len(self)
        with Decoder(self.policy) as decoder, ThreadPoolExecutor(cores(), "imagecurate-thumbnail") as threads:

            def make(item: tuple[int, bytes | str]) -> tuple[int, Thumbnail]:
                row, data = item
                return row, Thumbnail(None, error=data) if isinstance(data, str) else thumbnail(data, side, decoder)

            for chunk in _chunks(self.files()):
                for row, small in threads.map(make, chunk):
                    made[row] = small
        return made

    def _read(self, shard: Shard, places: Sequence[tuple[int, int]]) -> Iterator[bytes | str]:
        """The bytes at some places of a shard; where it cannot be read any more, a sentence that says so for each."""
        if not places:
            return
        given = 0
        try:
            with open_shard(shard, storage_options=self.storage_options) as source:
                while given < len(places):
                    some = _up_to(places[given:], _READ_BYTES)
                    for data in source.read_many(some):
                        given += 1
                        yield data
        except OSError as error:  # a page shows what it can
            yield from [f"shard {shard.name} cannot be read: {error}"] * (len(places) - given)


def _up_to(places: Sequence[tuple[int, int]], most: int) -> Sequence[tuple[int, int]]:
    """As many of some (offset, size) as hold so many bytes together, but one at least."""
    held = np.cumsum([size for _, size in places])
    return places[: max(1, int(np.searchsorted(held, most, side="right")))]


def _chunks(files: Iterator[tuple[int, bytes | str]]) -> Iterator[list[tuple[int, bytes | str]]]:
    """Cut files into lists of some size: a pool takes in everything that it is given at once."""
    chunk: list[tuple[int, bytes | str]] = []
    held = 0
    for item in files:
        chunk.append(item)
        held += len(item[1])
        if held > _READ_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk
