"""What the export needs to know of a dataset, and nothing else of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from imagecurate.shards.samples import SAMPLE

if TYPE_CHECKING:
    from imagecurate.shards.shard import Shard
    from imagecurate.shards.sources import ByteSource
    from imagecurate.store.writing import StorePath

__all__ = ["MEMBERS", "SAMPLE", "SurvivingRows", "Survivors"]

#: Internal column that ``SurvivingRows.read`` gives on request: the tar members of each sample, a list of structs with
#: ``name``, ``start``, ``offset``, ``size``, ``verbatim``.  Header blocks lie at [start, offset), data at
#: [offset, offset + size).  ``verbatim`` says that those blocks mean the same in any tar; else (hard links, global PAX
#: headers) the member gets a new header, for which only the block before ``offset`` counts: that of the data.
MEMBERS = "_members"


class SurvivingRows(Protocol):
    """Gives of any input shard the samples that every filter kept.

    A sample has one row, or, in a ``grouped`` dataset, one for each of its images that was kept; these lie side by side
    and are exported as one sample.  MEMBERS then has in each row its image and all members that are no image.

    Methods may be called from several threads at once, and give the same answer each time.  Where a Dask cluster is
    connected, it can be sent to its workers.
    """

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        """The columns to export, in order, with their types; ``key`` is one of them."""

    @property
    def grouped(self) -> bool:
        """Whether several rows may be one sample; ``read`` then gives SAMPLE on request."""

    def read(self, shard: Shard, columns: Sequence[str]) -> pa.Table:
        """Columns of the kept rows of an input shard, in order of position; MEMBERS on request."""

    def ledger(self, shard: Shard) -> pa.Table:
        """What became of every row of an input shard, with the columns of LEDGER_SCHEMA."""

    def open(self, shard: Shard) -> ByteSource:
        """The bytes of an input shard, as a context manager."""


class Survivors(Protocol):
    """The samples of a dataset that every filter kept."""

    @property
    def shards(self) -> Sequence[Shard]:
        """The input shards; their order is the order of the output."""

    @property
    def rows(self) -> SurvivingRows:
        """What each of them holds."""

    @property
    def fingerprint(self) -> str:
        """Names the rows, their columns and the bytes behind them: equal where an export would give the same."""

    @property
    def store(self) -> StorePath:
        """Folder where several processes that write the same export share out the work."""

    @property
    def scratch(self) -> Path | None:
        """Folder on this machine for what is noted of each sample; None for the system's temporary one."""
