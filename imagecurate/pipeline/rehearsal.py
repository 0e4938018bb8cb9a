"""A plan made to its end before any of it runs: a slip in the last filter must not cost the days before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from imagecurate.dataset import ImageTextPairDataset
from imagecurate.errors import ColumnNotFoundError
from imagecurate.pipeline.steps import WithColumn
from imagecurate.plan.plan import Plan
from imagecurate.plan.stage import CompositeStage, DatasetStage, Stage
from imagecurate.plan.steps import StageStep
from imagecurate.plan.steps import Step as PlanStep
from imagecurate.store import digest

__all__ = ["Rehearsal", "rehearsed"]

#: What names the rows of a dataset stage as long as nobody asks which they are.
_UNKNOWN = "rehearsed"


class _Planned(ImageTextPairDataset):
    """A dataset to which steps are added, and of which nothing runs."""

    def _piped(self, stage: Stage) -> Self:
        if isinstance(stage, DatasetStage) and not isinstance(stage, CompositeStage):
            return self._with(plan=self._plan.with_stage(stage, _UNKNOWN))
        return super()._piped(stage)


@dataclass(frozen=True)
class Rehearsal:
    """What the steps of a pipeline come to, none of them run.

    Attributes
    ----------
    opened : ImageTextPairDataset
        The dataset without a step.
    added : tuple
        For each step of the pipeline, the steps that it adds to the plan.
    """

    opened: ImageTextPairDataset
    added: tuple[tuple[PlanStep, ...], ...]

    @property
    def plan(self) -> Plan:
        """The whole plan; which rows a dataset stage sees is not in it."""
        return self._plan(len(self.added))

    def dataset(
        self, steps: Sequence[Callable[[ImageTextPairDataset], ImageTextPairDataset]], naming: Callable[[int], Any]
    ) -> ImageTextPairDataset:
        """Add the steps for good: dataset stages run, one after the other.

        Parameters
        ----------
        steps : sequence of callable
            Those that were rehearsed, or the first of them.
        naming : callable
            Gives for the number of a step a context manager that names it in errors.
        """
        dataset = self.opened
        for number, step in enumerate(steps):
            added = self.added[number]
            with naming(number):
                if any(_runs(each) for each in added):
                    dataset = step(dataset)
                else:  # what was warned of in the rehearsal is not warned of again
                    dataset = dataset._with(plan=_extended(dataset._plan, added))
        return dataset

    def planned(self, steps: int | None = None) -> ImageTextPairDataset:
        """The dataset with its first steps as they will be named in the store; looks at weights, runs nothing."""
        plan = self._plan(0)
        for step in self._plan(len(self.added) if steps is None else steps).steps:
            if _runs(step):
                rows = digest([plan.fingerprint, self.opened._shards.token])
                step = dataclasses.replace(step, rows=rows)  # type: ignore[call-arg]  # it is a StageStep
            plan = _extended(plan, (step,))
        return self.opened._with(plan=plan)

    def unsettled(self) -> Rehearsal:
        """The same, whose stages have not yet asked what hardware they are for."""
        added = tuple(tuple(dataclasses.replace(step) for step in steps) for steps in self.added)
        return dataclasses.replace(self, added=added)

    def _plan(self, steps: int) -> Plan:
        plan = self.opened._plan
        for added in self.added[:steps]:
            plan = _extended(plan, added)
        return plan


def rehearsed(
    opened: ImageTextPairDataset,
    steps: Sequence[Callable[[ImageTextPairDataset], ImageTextPairDataset]],
    naming: Callable[[int], Any],
) -> Rehearsal:
    """Add steps to a dataset without running any.

    Raises
    ------
    ImageCurateError
        As the step does; ``naming`` may put a place in front.
    """
    dataset: ImageTextPairDataset = _Planned(opened.path, opened.id_col, opened._shards, opened._work)
    added = []
    for number, step in enumerate(steps):
        before = len(dataset._plan.steps)
        with naming(number), _naming_later(steps[number + 1 :]):
            dataset = step(dataset)
        added.append(dataset._plan.steps[before:])
    return Rehearsal(opened, tuple(added))


@contextmanager
def _naming_later(steps: Sequence[Any]) -> Iterator[None]:
    """Say of a column that is not there yet which later step adds it."""
    try:
        yield
    except ColumnNotFoundError as error:
        sentence = str(error).partition("\n\nHint:")[0]
        for step in steps:
            added = step.adds() if isinstance(step, Stage) else [step.name] if isinstance(step, WithColumn) else []
            for column in added:
                if sentence.startswith(f"column {column!r} not found"):
                    what = f"{type(step).__name__}, which stands behind, adds it: put that in front"
                    raise ColumnNotFoundError.because(sentence, what) from error
        raise


def _runs(step: PlanStep) -> bool:
    return isinstance(step, StageStep) and isinstance(step.stage, DatasetStage)


def _extended(plan: Plan, steps: tuple[PlanStep, ...]) -> Plan:
    return dataclasses.replace(plan, steps=(*plan.steps, *steps))
