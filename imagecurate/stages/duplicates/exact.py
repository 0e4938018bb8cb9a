"""Duplicates with equal bytes, or equal pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from imagecurate.plan.alive_rows import AliveRows
from imagecurate.plan.stage import Computed, DatasetStage, Stage
from imagecurate.stages.duplicates.preference import columns_of, ranks_by
from imagecurate.stages.duplicates.stars import star_columns, star_types
from imagecurate.stages.image_digest import ImageDigest, PixelDigest

__all__ = ["ExactDeduplicator"]

_REQUIRED: dict[str, Stage] = {"image_digest": ImageDigest(), "pixel_digest": PixelDigest()}


class ExactDeduplicator(DatasetStage):
    """Mark images that are equal, byte for byte or pixel for pixel; of each group the preferred one stays unmarked.

    The client holds 16 bytes a row for the digests, and some 50 while it sorts.

    Parameters
    ----------
    by : {"bytes", "pixels"}, default="bytes"
        Equal files, for which nothing is decoded; or equal pixels, whatever the format and metadata of the file.
    keep_by : str or list of str, optional
        Columns that say which one stays: the largest value, or the smallest where the name begins with ``-``; nulls
        last.  Ties, and everything by default, go by source, shard and position.
    digest_column : str, optional
        A column that tells equal images, as the ``sha256`` that came with the data; by default it is computed.

    Adds
    ----
    exact_duplicate_of : str
        ``sample_id`` of the sample that stays; null for that one, and where there is no other.
    exact_duplicate_group : str
        The same for all of a group, the one that stays included; null where there is no group.
    """

    by: Literal["bytes", "pixels"] = "bytes"
    keep_by: str | tuple[str, ...] | None = None
    digest_column: str | None = None

    def adds(self) -> dict[str, pa.DataType]:
        """The sample that stays, and the group."""
        return star_types("exact")

    def reads(self) -> tuple[str, ...]:
        """The digest, and the columns of the preference."""
        return self._digest, *(name for name, _ in columns_of(self.keep_by))

    def requires(self) -> tuple[Stage, ...]:
        """The stage that digests, unless the digest came with the data."""
        return (_REQUIRED[self._digest],) if self.digest_column is None else ()

    @property
    def _digest(self) -> str:
        return self.digest_column or ("image_digest" if self.by == "bytes" else "pixel_digest")

    def process(self, rows: AliveRows) -> Iterator[Computed]:
        """Group equal digests."""
        digests = rows.column(self._digest).cast(pa.string())
        keeper = first_of_equal(digests, ranks_by(rows, self.keep_by))
        return star_columns("exact", keeper, rows.sample_ids())


def first_of_equal(values: pa.ChunkedArray, ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give for each row the best-ranked one with the same value, -1 where that is the row itself, or it has none.

    >>> first_of_equal(pa.chunked_array([["a", "b", "a", None, None]]), np.array([3, 2, 0, 1, 4])).tolist()
    [2, -1, -1, -1, -1]
    """
    codes = pc.fill_null(values.dictionary_encode().combine_chunks().indices, -1).to_numpy()
    order = np.argsort(ranks)
    first = np.full(int(codes.max(initial=-1)) + 1, -1, np.int64)
    coded = order[codes[order] >= 0]
    first[codes[coded][::-1]] = coded[::-1]  # of equal codes the last to be written stays: the best-ranked
    keeper = np.where(codes >= 0, first[codes], -1) if len(first) else np.full(len(codes), -1, np.int64)
    keeper[keeper == np.arange(len(codes))] = -1
    return keeper
