"""The steps that a plan is made of, and what each of them reads, adds and is called."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from imagecurate.expressions import Expression
from imagecurate.plan.facts import PixelFacts
from imagecurate.plan.stage import Stage
from imagecurate.store import ERROR
from imagecurate.tables import IdList, Table

__all__ = [
    "MATCHED",
    "FilterStep",
    "Filtering",
    "JoinStep",
    "ListStep",
    "MaskStep",
    "StageStep",
    "Step",
    "Stored",
    "WithColumnStep",
]

#: Internal column of a join: whether the row's id was found.
MATCHED = "_matched"


@dataclass(frozen=True)
class Step:
    """Base of all steps; this one reads nothing and adds nothing."""

    @property
    def title(self) -> tuple[str, str]:
        """Kind and name, as the waterfall shows them."""
        raise NotImplementedError

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns that it needs."""
        return ()

    def adds(self, schema: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
        """Columns that it makes, with their types; ``schema`` is what there is in front of it."""
        return {}

    def record(self) -> dict[str, Any]:
        """What the run record says of it."""
        return dict([self.title])

    def identity(self) -> Any:
        """All that decides what it does to rows, given those in front of it; JSON-like."""
        return self.record()


@dataclass(frozen=True)
class Stored(Step):
    """A step whose columns the store keeps.

    ``fingerprint`` and ``reads_metadata``, whether what it computes depends on incoming columns, are known once the
    plan is resolved.
    """

    fingerprint: str | None = field(default=None, kw_only=True)
    reads_metadata: bool = field(default=False, kw_only=True)

    def stored(self) -> pa.Schema:
        """What a file of the store holds of each row, beside its position."""
        return pa.schema([pa.field(ERROR, pa.string()), *(pa.field(*each) for each in self.adds({}).items())])

    def identity(self) -> Any:
        """The fingerprint says it all."""
        return ["stored", self.fingerprint]


@dataclass(frozen=True)
class StageStep(Stored):
    """A stage.

    ``rows`` names the rows that a dataset stage saw: its result is theirs alone.
    """

    stage: Stage
    rows: str | None = None

    @functools.cached_property
    def settled(self) -> Stage:
        """The stage as it runs; settled once, so that a dataset means the same when its cluster is gone."""
        return self.stage.settled()

    @property
    def title(self) -> tuple[str, str]:
        is_pixels = isinstance(self.stage, PixelFacts)
        return ("pixels", "decode") if is_pixels else ("stage", type(self.stage).__name__)

    @property
    def reads(self) -> tuple[str, ...]:
        return self.stage.reads()

    def adds(self, schema: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
        return self.stage.adds()

    def record(self) -> dict[str, Any]:
        """What is written beside the stage's columns for people to read, too."""
        return {
            "fingerprint": self.fingerprint,
            "stage": repr(self.stage),
            "adds": {name: str(kind) for name, kind in self.stage.adds().items()},
            "reads": list(self.reads),
            **self.stage.identity(),
        }


@dataclass(frozen=True)
class JoinStep(Stored):
    """Columns that are looked up in a table elsewhere."""

    table: Table
    on: tuple[str, ...]
    name: str

    @property
    def title(self) -> tuple[str, str]:
        return "join", self.name

    @property
    def reads(self) -> tuple[str, ...]:
        return self.on

    def adds(self, schema: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
        return {column: kind for column, (_, kind) in self.table.columns.items()}

    def stored(self) -> pa.Schema:
        """A row that was not found is told from one that was found with nulls."""
        return super().stored().append(pa.field(MATCHED, pa.bool_()))

    def record(self) -> dict[str, Any]:
        adds = {name: str(kind) for name, kind in self.adds({}).items()}
        return {"fingerprint": self.fingerprint, "join": list(self.on), "adds": adds, "table": self.table.identity()}


@dataclass(frozen=True)
class WithColumnStep(Step):
    """A column computed from others whenever it is read."""

    name: str
    expression: Expression

    @property
    def title(self) -> tuple[str, str]:
        return "column", self.name

    @property
    def reads(self) -> tuple[str, ...]:
        return self.expression.columns

    def adds(self, schema: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
        return {self.name: self.expression.check(schema)}

    def record(self) -> dict[str, Any]:
        return {"column": self.name, "expression": str(self.expression)}


@dataclass(frozen=True)
class Filtering(Step):
    """A step that drops rows; the ledger calls it by its name."""

    name: str

    @property
    def title(self) -> tuple[str, str]:
        return "filter", self.name


@dataclass(frozen=True)
class FilterStep(Filtering):
    """Rows where the expression is not true are dropped."""

    expression: Expression

    @property
    def reads(self) -> tuple[str, ...]:
        return self.expression.columns

    def record(self) -> dict[str, Any]:
        return {"filter": self.name, "expression": str(self.expression)}


@dataclass(frozen=True)
class MaskStep(Filtering):
    """A raw mask; its rows lie in the store under ``token``."""

    token: str

    def record(self) -> dict[str, Any]:
        return {"mask": self.name}

    def identity(self) -> Any:
        return ["mask", self.name, self.token]


@dataclass(frozen=True)
class ListStep(Filtering):
    """Rows whose id is on a list are dropped, or, where ``keeps``, all others.

    A row without an id is on no list.
    """

    on: str
    ids: IdList
    keeps: bool

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.on,)

    def record(self) -> dict[str, Any]:
        return {"include" if self.keeps else "exclude": self.name, "on": self.on, "list": self.ids.identity()}
