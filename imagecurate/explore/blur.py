"""Which pictures stay covered until somebody opens them."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagecurate.errors import ParameterError
from imagecurate.explore.kinds import is_number
from imagecurate.plan.plan import Plan
from imagecurate.plan.steps import StageStep
from imagecurate.stages.laion import NsfwClassifier

__all__ = ["Blur", "blur_of"]

#: NSFW scores that come with the data: ours, and that of LAION-5B.
_NAMES = ("nsfw_score", "punsafe")


@dataclass(frozen=True)
class Blur:
    """Which pictures are covered.

    Parameters
    ----------
    column : str or None
        The NSFW score; None where there is none.
    above : float or None, default=0.2
        Pictures with a greater score are covered; with None no score covers any.  0.2 is where the documented filter
        for safe pictures ends.
    unscored : bool, default=False
        Pictures without a score are covered, too.
    """

    column: str | None = None
    above: float | None = 0.2
    unscored: bool = False

    @property
    def columns(self) -> list[str]:
        """The columns that it needs."""
        return [self.column] if self.column is not None and (self.above is not None or self.unscored) else []

    def covers(self, row: Mapping[str, Any]) -> bool:
        """Whether the picture of a row is covered."""
        score = row.get(self.column) if self.column is not None else None
        if score is None or math.isnan(score):
            return self.unscored
        return self.above is not None and score > self.above


def blur_of(plan: Plan, above: Any, unscored: bool) -> Blur:
    """Find out which column says what is covered: that of ``NsfwClassifier``, or one of numbers that is called so.

    Raises
    ------
    ParameterError
        The bound is no number.
    """
    if above is not None and (isinstance(above, bool) or not isinstance(above, numbers.Real) or math.isnan(above)):
        raise ParameterError.because(
            f"blur is an NSFW score above which pictures are blurred, or None, but got {above!r}", "blur=0.2"
        )
    stages = [step.stage for step in plan.steps if isinstance(step, StageStep)]
    made = [stage.pred_column for stage in stages if isinstance(stage, NsfwClassifier)]
    there = [name for name in _NAMES if name in plan.schema and is_number(plan.schema[name])]
    return Blur(next(iter([*made, *there]), None), None if above is None else float(above), bool(unscored))
