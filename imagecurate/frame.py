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
from dask.base import tokenize
from dask.dataframe.dask_expr import new_collection
from dask.dataframe.dask_expr._expr import (
    Blockwise,
    Expr,
    Head,
    Index,
    MaybeAlignPartitions,
    Projection,
    ResetIndex,
    determine_column_projection,
)
from dask.dataframe.dask_expr._reductions import Len
from dask.dataframe.dask_expr._shuffle import SetIndexBlockwise
from dask.dataframe.dask_expr.io.io import BlockwiseIO, FromMapProjectable
from dask.utils import is_dataframe_like

from imagecurate.backend import backend_named, backend_of
from imagecurate.columns import Frame
from imagecurate.plan.ledger import LEDGER_SCHEMA, ledger_of
from imagecurate.plan.outcome import Positions
from imagecurate.plan.shard_pass import ShardPass
from imagecurate.plan.shard_state import Work
from imagecurate.shards import Shard
from imagecurate.shards.shard import identities
from imagecurate.store import Store, digest, write_atomically

__all__ = [
    "ShardList",
    "belongs_to",
    "ledger_frame",
    "mask_token",
    "metadata_frame",
    "settle_mask",
    "survivors_frame",
]

#: Internal column of one category: the shard that the rows belong to.  Dask prunes partitions, so the number of a
#: partition says nothing; a category is there even where no row is, as long as nothing replaces empty partitions.
SHARD_RECORD = "_shard"


#: Added to the index of rows that only a parquet tells of: pandas refuses to align them with others.
_PROVISIONAL = 1 << 40


class ShardList(Sequence[Shard]):
    """Shards with a token that is computed once and a repr that is short: Dask asks for both often."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = tuple(shards)

    @functools.cached_property
    def token(self) -> str:
        """Changes when any shard does, but not when all are moved."""
        return digest(identities(self._shards))

    @functools.cached_property
    def _place(self) -> str:
        return digest([shard.url for shard in self._shards])

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, item: Any) -> Any:
        return self._shards[item]

    def __iter__(self) -> Iterator[Shard]:
        return iter(self._shards)

    def __dask_tokenize__(self) -> tuple[str, str]:
        # Dask takes expressions of one token for one and the same, so the place belongs to it.
        return self.token, self._place

    def __repr__(self) -> str:
        return f"<{len(self)} shards>"


@dataclasses.dataclass(frozen=True)
class ReadRows:
    """Reader of one partition: the rows of a shard that survive the plan, the columns that were asked for.

    Unless ``exact``, a remote shard that nobody has read yet is seen through the parquet beside it, where that is
    enough.
    """

    work: Work
    exact: bool = False

    def __call__(self, shard: Shard, columns: list[str], limit: int | None = None) -> Frame:
        if not self.exact:
            shard = self.work.view(shard, self.work.plan.steps, columns)
        with ShardPass(self.work, shard, self.work.plan.needed(columns)) as shard_pass:
            if limit is None:
                outcome = shard_pass.run()
                return self._frame(shard_pass, shard, columns, outcome.positions[outcome.alive])
            return self._frame(shard_pass, shard, columns, shard_pass.first(limit))

    def of_rows(self, rows: Frame, columns: list[str], passed: int) -> Frame:
        """The same, of rows that are known to have passed the steps before ``passed``."""
        shard = _shard_of(rows)
        with ShardPass(self.work, shard, self.work.plan.needed(columns)) as shard_pass:
            outcome = shard_pass.run(rows.index.to_numpy(), passed)
            return self._frame(shard_pass, shard, columns, outcome.positions[outcome.alive])

    def meta(self) -> Frame:
        """An empty partition with every column."""
        backend = backend_named(self.work.backend)
        return backend.with_category(backend.meta_frame(self.work.plan.schema), SHARD_RECORD, "")

    def _frame(self, shard_pass: ShardPass, shard: Shard, columns: list[str], positions: Positions) -> Frame:
        values = shard_pass.columns([name for name in columns if name != SHARD_RECORD], positions)
        # Rows that a parquet tells of may stand elsewhere in the tar: they must never be taken for those.
        shift = _PROVISIONAL if shard_pass.state.shard.provisional else 0
        backend = backend_named(self.work.backend)
        frame = backend.to_frame(values, positions + shift)
        if SHARD_RECORD in columns:
            frame = backend.with_category(frame, SHARD_RECORD, json.dumps(dataclasses.asdict(shard)))
        return frame[columns]


def _shard_of(rows: Frame) -> Shard:
    return Shard(**json.loads(rows[SHARD_RECORD].cat.categories[0]))


def _read_rows(rows: Frame, reader: ReadRows, columns: list[str], passed: int) -> Frame:
    return reader.of_rows(rows, columns, passed)


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
        if type(parent) is Head and "limit" not in self.operand("kwargs") and parent.n >= 0:
            limited = self.substitute_parameters({"kwargs": self.operand("kwargs") | {"limit": parent.n}})
            return ShardHead(limited, parent.n, parent.operand("npartitions"))
        return super()._simplify_up(parent, dependents)


class ShardHead(Head):  # type: ignore[misc]
    """The first rows, of the columns that are asked for: Dask's own would read them all."""

    def _simplify_up(self, parent: Expr, dependents: Any) -> Expr | None:
        if isinstance(parent, Projection):
            asked = determine_column_projection(self, parent, dependents)
            columns = [name for name in self.frame.columns if name in ([asked] if isinstance(asked, str) else asked)]
            if columns != self.frame.columns:
                frame = self.frame.substitute_parameters({"columns": columns})
                head = type(self)(frame, self.n, self.operand("npartitions"))
                return type(parent)(head, *parent.operands[1:])
        return super()._simplify_up(parent, dependents)


class RowsFrame(Blockwise):  # type: ignore[misc]
    """The rows that a raw mask left, with the columns that are asked for."""

    _parameters = ["rows", "reader", "columns", "passed"]  # noqa: RUF012 - the form Dask's expressions have
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
        if type(parent) is Head:
            return ShardHead(self, parent.n, parent.operand("npartitions"))
        if isinstance(parent, Projection):
            asked = determine_column_projection(self, parent, dependents)
            columns = [name for name in self.columns if name in ([asked] if isinstance(asked, str) else asked)]
            if columns != self.columns:
                return type(parent)(self.substitute_parameters({"columns": columns}), *parent.operands[1:])
        return None


def metadata_frame(work: Work, shards: ShardList, survivors: Frame | None, passed: int) -> Frame:
    """The rows that survive a plan, as a Dask dataframe with one partition a shard.

    Parameters
    ----------
    work : Work
    shards : ShardList
    survivors : Dask dataframe or None
        Rows that the last raw mask of the plan left; see ``survivors_frame``.
    passed : int
        Number of the step behind that mask.
    """
    reader = ReadRows(work)
    columns = [*work.plan.schema, SHARD_RECORD]
    if survivors is not None:
        return new_collection(RowsFrame(survivors.expr, reader, columns, passed))
    meta = reader.meta()
    return new_collection(
        ShardFrame(reader, [shards], columns, [], {}, columns_arg_required=True, user_meta=meta, label="shards")
    )


def survivors_frame(rows: Frame, mask: Frame) -> Frame:
    """The rows of a metadata frame that a mask keeps; rows that the mask lacks are dropped."""
    rows, mask = (new_collection(_exactly(each.expr)) for each in (rows, mask))
    rows = rows[[SHARD_RECORD]]
    # enforce_metadata would put the meta, which knows no shard, in the place of empty partitions
    return rows.map_partitions(_keep, mask, meta=rows._meta, align_dataframes=False, enforce_metadata=False)


def _exactly(expression: Expr) -> Expr:
    """The same of the tars themselves, so that a mask speaks of the positions at which its rows lie."""
    for frame in list(expression.find_operations(ShardFrame)):
        reader = frame.operand("func")
        if isinstance(reader, ReadRows) and not reader.exact:
            exact = frame.substitute_parameters({"func": dataclasses.replace(reader, exact=True)})
            expression = expression.substitute(frame, exact)
    return expression


def _keep(rows: Frame, mask: Frame) -> Frame:
    return backend_of(rows).kept(rows, mask)


def belongs_to(mask: Frame, shards: ShardList) -> bool:
    """True if every row that a mask speaks of comes from these shards and is where it was read.

    So it must be made of frames over the shards, by operations that keep rows in their partitions under their index;
    what is reduced to one number may be anything.
    """
    expressions = list(_of_rows(mask.expr, set()))
    frames = [each for each in expressions if isinstance(each, ShardFrame)]
    others = [each for each in expressions if not isinstance(each, ShardFrame)]
    return (
        bool(frames)
        and mask.npartitions == len(shards)
        and all(frame.operand("iterables")[0].token == shards.token for frame in frames)
        and all(isinstance(each, _KEEPING) and not isinstance(each, _MOVING) for each in others)
    )


#: Expressions that leave rows in their partitions, and those among them that give rows another index or other rows.
_KEEPING = (Blockwise, MaybeAlignPartitions)
_MOVING = (ResetIndex, SetIndexBlockwise, BlockwiseIO)


def _of_rows(expression: Expr, seen: set[str]) -> Iterator[Expr]:
    """All expressions below one that have rows, each once; not what is reduced to a number."""
    if expression.ndim > 0 and expression._name not in seen:
        seen.add(expression._name)
        yield expression
        for part in expression.dependencies():
            yield from _of_rows(part, seen)


def mask_token(mask: Frame) -> str:
    """Name what a mask selects: the same for moved data, another store or other credentials."""
    return _structure(mask.expr, {})


def _structure(value: Any, known: dict[str, str]) -> str:
    if isinstance(value, ReadRows):
        return value.work.plan.fingerprint
    if isinstance(value, ShardList):
        return value.token
    if isinstance(value, list | tuple):
        return digest([_structure(each, known) for each in value])
    if not isinstance(value, Expr):
        is_meta = is_dataframe_like(value) and not len(value)
        # The same rows may be shown by another library, with another meta.
        return digest(["meta", list(value.columns)]) if is_meta else str(tokenize(value))
    if value._name not in known:  # masks upon masks share their frames
        operands = [_structure(operand, known) for operand in value.operands]
        known[value._name] = digest([type(value).__name__, operands])
    return known[value._name]


def settle_mask(store: Store, token: str, survivors: Frame, shards: ShardList) -> None:
    """Compute the rows that a raw mask keeps and put their positions into the store, unless they are there."""
    missing = [number for number, shard in enumerate(shards) if not store.mask(token, shard).exists()]
    if not missing:
        return
    settled = new_collection(_with_numbers(survivors.expr, {}))
    for start in range(0, len(missing), _MASK_WINDOW):
        window = settled.partitions[missing[start : start + _MASK_WINDOW]]
        meta = pd.Series([], name="kept", dtype="int64")
        window.map_partitions(_write_mask, store, token, meta=meta, enforce_metadata=False).compute()


def _with_numbers(expression: Expr, known: dict[str, Any]) -> Any:
    """Put the values of reductions, as a mean, in their place: computed once and not with every window of shards."""
    if expression._name not in known:
        if expression.ndim > 0:
            operands = [_with_numbers(each, known) if isinstance(each, Expr) else each for each in expression.operands]
            known[expression._name] = type(expression)(*operands)
        else:
            known[expression._name] = new_collection(expression).compute()
    return known[expression._name]


#: Shards whose mask is computed by one Dask graph; a single graph of all would grow with their number.
_MASK_WINDOW = 1000


def _write_mask(rows: Frame, store: Store, token: str) -> Frame:
    path = store.mask(token, _shard_of(rows))
    write_atomically(path, lambda temporary: _save(temporary, rows.index.to_numpy()), durable=True)
    return pd.Series([len(rows)], name="kept")


def _save(path: Path, positions: Positions) -> None:
    with path.open("wb") as file:  # np.save would append .npy to a bare path
        np.save(file, positions)


@dataclasses.dataclass(frozen=True)
class ReadLedger:
    """Reader of one partition of the ledger."""

    work: Work

    def __call__(self, shard: Shard, columns: list[str], limit: int | None = None) -> Frame:
        with ShardPass(self.work, shard, self.work.plan.needed((), everything=True)) as shard_pass:
            rows = np.arange(shard_pass.state.count)[:limit]
            ledger = ledger_of(shard_pass.state, shard_pass.run(rows))
        chosen = {name: ledger[name].combine_chunks() for name in columns}
        return backend_named(self.work.backend).to_frame(chosen, np.arange(len(ledger)))


def ledger_frame(work: Work, shards: ShardList) -> Frame:
    """One row for each input sample, as a Dask dataframe with one partition a shard."""
    meta = backend_named(work.backend).meta_frame({field.name: field.type for field in LEDGER_SCHEMA})
    columns = LEDGER_SCHEMA.names
    return new_collection(
        ShardFrame(
            ReadLedger(work), [shards], columns, [], {}, columns_arg_required=True, user_meta=meta, label="ledger"
        )
    )
