"""The rows of a dataset as exploration sees them: tasks over many shards, and a few rows from anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from imagecurate.explore.look import ALL, FirstOf, Look, OfShard, Seen, Survey, TheseOf
from imagecurate.explore.picked import PLACE, SHARD_NUMBER, Picked
from imagecurate.plan.shard_state import Work
from imagecurate.plan.stage import ImageStage
from imagecurate.plan.steps import StageStep
from imagecurate.shards import Shard
from imagecurate.store import POSITION

__all__ = ["Rows", "Run"]

Result = TypeVar("Result")
Merged = TypeVar("Merged")

#: Shards from which a gallery of drawn rows is taken, if each has enough.
_SHARDS_SHOWN = 8


class Run(Protocol):
    """Runs a task for each item, with progress: what a dataset has of ``in_order``."""

    def __call__(
        self, title: str | None, task: Any, items: Iterable[Any], one_by_one: int | None = None
    ) -> Iterator[Any]:
        """Give the results in the order of the items.

        Parameters
        ----------
        title : str or None
            For the progress; None shows none.
        task : callable
        items : iterable
        one_by_one : int, optional
            Ask for no item before the result of the one before was taken; so many there are at most.
        """


@dataclass(frozen=True)
class Rows:
    """The rows of a dataset, as exploration sees them.

    Parameters
    ----------
    work : Work
        With the fingerprint of every stage.
    shards : sequence of Shard
    run : callable
    prepare : callable
        Called with the number of a shard before its rows are asked for alone.
    """

    work: Work
    shards: Sequence[Shard]
    run: Run = field(repr=False)
    prepare: Callable[[int], None] = field(repr=False)

    def map(
        self, title: str, task: Callable[[Seen], Result], names: Iterable[str], look: Look = ALL
    ) -> Iterator[Result]:
        """Call ``task`` with some columns of the rows that a look takes in, shard by shard, and give the results.

        With a Dask client connected it runs on the workers, and must be picklable, as must its result.  What had to be
        computed stays in the store.
        """
        return (result for result, _, _ in self._map(title, task, names, look))

    def survey(
        self,
        title: str,
        task: Callable[[Seen], Result],
        names: Iterable[str],
        look: Look,
        merge: Callable[[Iterator[Result]], Merged],
    ) -> Survey[Merged]:
        """The same, and what the results come to, with the number of rows that they are of."""
        shards = drawn = unknown = 0

        def results() -> Iterator[Result]:
            nonlocal shards, drawn, unknown
            for result, of_drawn, of_unknown in self._map(title, task, names, look):
                shards, drawn, unknown = shards + 1, drawn + of_drawn, unknown + of_unknown
                yield result

        merged = merge(results())
        complete = shards == len(self.shards) and not unknown and look.share >= 1
        return Survey(merged, look, drawn - unknown, complete)

    def _map(
        self, title: str, task: Callable[[Seen], Result], names: Iterable[str], look: Look
    ) -> Iterator[tuple[Result, int, int]]:
        names = tuple(dict.fromkeys(names))
        items = [(number, self.shards[number], share) for number, share in look.shards(self.shards)]
        if look.known and self._needs_pixels(names):
            # Of a shard that nobody indexed nothing was computed, and to index it might mean to fetch it.
            items = [item for item in items if self.work.index(item[1]).exists()]
        return self.run(title, OfShard(self.work, names, task, look), items)

    def first(self, names: Iterable[str], n: int, numbers: Sequence[int], seed: int | None = None) -> pa.Table:
        """The first surviving rows of some shards, in this order: some columns, and those of ``PLACE``.

        No shard is read behind the one that gives the last row.  With a seed the rows of a shard are drawn at random,
        an eighth of what is wanted from each, and more where that does not suffice.
        """
        names = tuple(dict.fromkeys(names))
        found: dict[int, pa.Table] = {}
        limits = [n] if seed is None else [-(-n // min(_SHARDS_SHOWN, len(numbers))), n]
        for limit, before in zip(limits, [0, *limits], strict=False):
            numbers = [number for number in numbers if len(found.get(number, ())) >= before]  # others have no more

            def items(numbers: Sequence[int] = numbers, limit: int = limit) -> Iterator[tuple[int, Shard, int]]:
                for number in numbers:
                    left = n - sum(map(len, found.values())) + len(found.get(number, ()))
                    if left <= len(found.get(number, ())):
                        return
                    self.prepare(number)
                    yield number, self.shards[number], min(left, limit)

            tables = self.run("showing", FirstOf(self.work, names, seed), items(), len(numbers))
            for number, table in zip(numbers, tables, strict=False):
                found[number] = table
        return pa.concat_tables([self.nothing(names), *found.values()])

    def pick(self, chosen: pa.Table | None, names: Iterable[str]) -> Picked:
        """Read columns of rows that were chosen before, in their order.

        Parameters
        ----------
        chosen : pyarrow.Table or None
            With ``_shard_number`` and ``_position``.
        names : iterable of str
            Columns to read.
        """
        names = tuple(dict.fromkeys(names))
        if chosen is None or not len(chosen):
            return self.picked(self.nothing(names))
        numbers, positions = (chosen[name].to_numpy() for name in (SHARD_NUMBER, POSITION))
        items = [(number, self.shards[number], positions[numbers == number]) for number in np.unique(numbers).tolist()]
        table = pa.concat_tables(self.run(None, TheseOf(self.work, names), items))
        found = zip(table[SHARD_NUMBER].to_pylist(), table[POSITION].to_pylist(), strict=True)
        rows = {place: row for row, place in enumerate(found)}
        order = [rows[place] for place in zip(numbers.tolist(), positions.tolist(), strict=True)]
        return self.picked(table.take(pa.array(order, pa.int64())))

    def picked(self, table: pa.Table) -> Picked:
        """Rows as something to show."""
        return Picked(table, self.shards, self.work.plan.policy, self.work.storage_options)

    def nothing(self, names: Iterable[str]) -> pa.Table:
        """No row, with some columns and those of ``PLACE``."""
        kinds = self.work.plan.schema
        places = dict.fromkeys(PLACE, pa.int64())
        return pa.schema([*((name, kinds[name]) for name in names), *places.items()]).empty_table()

    def _needs_pixels(self, names: Iterable[str]) -> bool:
        steps = self.work.plan.steps
        needed = (steps[number] for number in self.work.plan.needed(names))
        return any(isinstance(step, StageStep) and isinstance(step.stage, ImageStage) for step in needed)
