"""The Dask dataframe over shards.  The one file that knows Dask's private expression classes.

``dd.from_map`` pushes projections into a reader, but not for ``len``, ``.index`` and ``head``: those would read every
column, embeddings too, and decode a whole shard for three rows.  Tested with dask 2026.7; ``tests/test_frame.py``
counts what is asked of the reader.  Expression classes must be importable where the graph is unpickled, so they cannot
live in a notebook.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from dask.dataframe.dask_expr import new_collection
from dask.dataframe.dask_expr._expr import (
    Blockwise,
    Expr,
    Head,
    Index,
    Projection,
    determine_column_projection,
)
from dask.dataframe.dask_expr._reductions import Len
from dask.dataframe.dask_expr.io.io import FromMapProjectable

from imagecurate.backend.cpu import meta_frame, to_frame
from imagecurate.columns import Frame
from imagecurate.plan.ledger import LEDGER_SCHEMA, ledger_of
from imagecurate.plan.outcome import Positions
from imagecurate.plan.shard_pass import ShardPass
from imagecurate.plan.shard_state import Work
from imagecurate.shards import Shard
from imagecurate.store import Store, digest, write_atomically

__all__ = ["ShardList", "belongs_to", "ledger_frame", "metadata_frame", "settle_mask", "survivors_frame"]

#: Internal column of one category: the shard that the rows belong to.  Dask prunes partitions, so the number of a
#: partition says nothing; a category is there even where no row is.
SHARD_RECORD = "_shard"


class ShardList(Sequence[Shard]):
    """Shards with a token that is computed once and a repr that is short: Dask asks for both often."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = tuple(shards)

    @functools.cached_property
    def token(self) -> str:
        """Changes when any shard does."""
        return digest([(shard.source, shard.name, shard.metadata_token) for shard in self._shards])

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, item: Any) -> Any:
        return self._shards[item]

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    def __dask_tokenize__(self) -> str:
        return self.token

    def __repr__(self) -> str:
        return f"<{len(self)} shards>"


@dataclasses.dataclass(frozen=True)
class ReadRows:
    """Reader of one partition: the rows of a shard that survive the plan, the columns that were asked for."""

    work: Work

    def __call__(self, shard: Shard, columns: list[str], limit: int | None = None) -> Frame:
        with ShardPass(self.work, shard, self.work.plan.needed(columns)) as shard_pass:
            if limit is None:
                outcome = shard_pass.run()
                return self._frame(shard_pass, shard, columns, outcome.positions[outcome.alive])
            return self._frame(shard_pass, shard, columns, shard_pass.first(limit))

    def of_rows(self, rows: Frame, columns: list[str], after: int) -> Frame:
        """The same, of rows that are known to have passed the steps before ``after``."""
        shard = _shard_of(rows)
        with ShardPass(self.work, shard, self.work.plan.needed(columns)) as shard_pass:
            outcome = shard_pass.run(rows.index.to_numpy(), after)
            return self._frame(shard_pass, shard, columns, outcome.positions[outcome.alive])

    def meta(self) -> Frame:
        """An empty partition with every column."""
        frame = meta_frame(self.work.plan.schema)
        frame[SHARD_RECORD] = pd.Categorical([], categories=[""])
        return frame

    def _frame(self, shard_pass: ShardPass, shard: Shard, columns: list[str], positions: Positions) -> Frame:
        frame = to_frame(shard_pass.columns([name for name in columns if name != SHARD_RECORD], positions), positions)
        if SHARD_RECORD in columns:
            record = json.dumps(dataclasses.asdict(shard))
            frame[SHARD_RECORD] = pd.Categorical.from_codes(np.zeros(len(frame), np.int8), categories=[record])
        return frame[columns]


def _shard_of(rows: Frame) -> Shard:
    return Shard(**json.loads(rows[SHARD_RECORD].cat.categories[0]))


def _read_rows(rows: Frame, reader: ReadRows, columns: list[str], after: int) -> Frame:
    return reader.of_rows(rows, columns, after)


class ShardFrame(FromMapProjectable):  # type: ignore[misc]
    """One partition a shard; projections, lengths and heads reach the reader."""

    @functools.cached_property
    def kwargs(self) -> dict[str, Any]:
        # The base class passes no columns at all where an empty list was asked for.
        given: dict[str, Any] = self.operand("kwargs")
        return given | {"columns": self.columns}

    def _simplify_up(self, parent: Expr, dependents: Any) -> Expr | None:
        if isinstance(parent, Len | Index) and self.columns and not self._series:
            return type(parent)(self.substitute_parameters({"columns": []}))
        if isinstance(parent, Head) and "limit" not in self.operand("kwargs") and parent.n >= 0:
            limited = self.substitute_parameters({"kwargs": self.operand("kwargs") | {"limit": parent.n}})
            return Head(limited, parent.n, parent.operand("npartitions"))
        return super()._simplify_up(parent, dependents)


class RowsFrame(Blockwise):  # type: ignore[misc]
    """The rows that a raw mask left, with the columns that are asked for."""

    _parameters = ["rows", "reader", "columns", "after"]  # noqa: RUF012 - the form Dask's expressions have
    operation = staticmethod(_read_rows)

    @property
    def columns(self) -> list[str]:
        return list(self.operand("columns"))

    @functools.cached_property
    def _meta(self) -> Frame:
        return self.operand("reader").meta()[self.columns]

    def _simplify_up(self, parent: Expr, dependents: Any) -> Expr | None:
        if isinstance(parent, Len | Index) and self.columns:
            return type(parent)(self.substitute_parameters({"columns": []}))
        if isinstance(parent, Projection):
            asked = determine_column_projection(self, parent, dependents)
            columns = [name for name in self.columns if name in ([asked] if isinstance(asked, str) else asked)]
            if columns != self.columns:
                return type(parent)(self.substitute_parameters({"columns": columns}), *parent.operands[1:])
        return None


def metadata_frame(work: Work, shards: ShardList, survivors: Frame | None, after: int) -> Frame:
    """The rows that survive a plan, as a Dask dataframe with one partition a shard.

    Parameters
    ----------
    work : Work
    shards : ShardList
    survivors : Dask dataframe or None
        Rows that the last raw mask of the plan left; see ``survivors_frame``.
    after : int
        Number of the step behind that mask.
    """
    reader = ReadRows(work)
    columns = [*work.plan.schema, SHARD_RECORD]
    if survivors is not None:
        return new_collection(RowsFrame(survivors.expr, reader, columns, after))
    meta = reader.meta()
    return new_collection(
        ShardFrame(reader, [shards], columns, [], {}, columns_arg_required=True, user_meta=meta, label="shards")
    )


def survivors_frame(rows: Frame, mask: Frame) -> Frame:
    """The rows of a metadata frame that a mask keeps; rows that the mask lacks are dropped."""
    rows = rows[[SHARD_RECORD]]
    return rows.map_partitions(_keep, mask, meta=rows._meta, align_dataframes=False)


def _keep(rows: Frame, mask: Frame) -> Frame:
    aligned = mask.reindex(rows.index)
    return rows[aligned.eq(True).fillna(False).to_numpy(dtype=bool)]


def belongs_to(mask: Frame, shards: ShardList) -> bool:
    """True if every row that a mask speaks of comes from these shards, one partition each."""
    sources = list(mask.expr.find_operations(ShardFrame))
    same = all(frame.operand("iterables")[0].token == shards.token for frame in sources)
    return bool(sources) and same and mask.npartitions == len(shards)


def settle_mask(store: Store, token: str, survivors: Frame, shards: ShardList) -> None:
    """Compute the rows that a raw mask keeps and put their positions into the store, unless they are there."""
    if all(store.mask(token, shard).exists() for shard in shards):
        return
    for start in range(0, len(shards), _MASK_WINDOW):
        window = survivors.partitions[start : start + _MASK_WINDOW]
        window.map_partitions(_write_mask, store, token, meta=("kept", "int64")).compute()


#: Shards whose mask is computed by one Dask graph; a single graph of all would grow with their number.
_MASK_WINDOW = 1000


def _write_mask(rows: Frame, store: Store, token: str) -> Frame:
    path = store.mask(token, _shard_of(rows))
    write_atomically(path, lambda temporary: _save(temporary, rows.index.to_numpy()))
    return pd.Series([len(rows)], name="kept")


def _save(path: Path, positions: Positions) -> None:
    with path.open("wb") as file:  # np.save would append .npy to a bare path
        np.save(file, positions)


@dataclasses.dataclass(frozen=True)
class ReadLedger:
    """Reader of one partition of the ledger."""

    work: Work

    def __call__(self, shard: Shard, columns: list[str]) -> Frame:
        with ShardPass(self.work, shard, self.work.plan.needed((), everything=True)) as shard_pass:
            ledger = ledger_of(shard_pass.state, shard_pass.run())
        return to_frame({name: ledger[name].combine_chunks() for name in columns}, np.arange(len(ledger)))


def ledger_frame(work: Work, shards: ShardList) -> Frame:
    """One row for each input sample, as a Dask dataframe with one partition a shard."""
    meta = meta_frame({field.name: field.type for field in LEDGER_SCHEMA})
    columns = LEDGER_SCHEMA.names
    return new_collection(
        ShardFrame(
            ReadLedger(work), [shards], columns, [], {}, columns_arg_required=True, user_meta=meta, label="ledger"
        )
    )
