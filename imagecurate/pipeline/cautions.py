"""What is allowed in a pipeline and is yet most likely a mistake."""

from __future__ import annotations

from collections.abc import Iterator

from imagecurate.columns import DUPLICATE_OF
from imagecurate.expressions.syntax import parsed
from imagecurate.expressions.tree import Column, Constant, Node, Operation
from imagecurate.pipeline.rehearsal import Rehearsal
from imagecurate.plan.plan import Plan
from imagecurate.plan.stage import DatasetStage
from imagecurate.plan.steps import FilterStep, StageStep
from imagecurate.stages import AestheticClassifier, NsfwClassifier

__all__ = ["cautions"]

#: In the names of columns that came with the data and say how safe a picture is.
_SAFETY = ("nsfw", "unsafe")

_BEHIND = (
    "stands behind a deduplicator: where it drops the sample that stayed of a group, the whole group is lost; put it "
    "in front"
)
_AESTHETIC = "keeps nearly everything: scores are about 1 to 10, mostly 4 to 7, not 0 to 1"

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def cautions(rehearsal: Rehearsal) -> Iterator[tuple[int, str]]:
    """Give the number of a step of the pipeline, and a sentence about it.

    A filter on safety behind a deduplicator: where the sample that stays is dropped for it, those that it stood for are
    gone already.  An aesthetic threshold of at most 1, an NSFW threshold above 1: most likely meant on another scale.
    """
    plan = rehearsal.plan
    deduplicated = False
    for number, added in enumerate(rehearsal.added):
        for step in added:
            if isinstance(step, StageStep) and isinstance(step.stage, DatasetStage):
                deduplicated |= any(column.endswith(DUPLICATE_OF) for column in step.stage.adds())
            if not isinstance(step, FilterStep):
                continue
            unsafe = [column for column in step.reads if deduplicated and _is_safety(plan, column)]
            for column in unsafe[:1]:
                yield number, f"the filter {step.name!r} on {column} {_BEHIND}"
            for column, operator, value in _comparisons(parsed(str(step.expression))):
                maker = plan.stage_of(column)
                if isinstance(maker, AestheticClassifier) and operator in (">", ">=") and value <= 1:
                    yield number, f"{column} {operator} {value:g} {_AESTHETIC}"
                if isinstance(maker, NsfwClassifier) and operator in ("<", "<=") and value > 1:
                    yield number, f"{column} {operator} {value:g} keeps everything: scores are 0 to 1"


def _is_safety(plan: Plan, column: str) -> bool:
    return isinstance(plan.stage_of(column), NsfwClassifier) or any(word in column.lower() for word in _SAFETY)


def _comparisons(node: Node) -> Iterator[tuple[str, str, float]]:
    """Comparisons of a column with a number, wherever they stand: column, operator, number."""
    if not isinstance(node, Operation):
        return
    for operand in node.operands:
        yield from _comparisons(operand)
    if node.name == "between" and isinstance(node.operands[0], Column):
        column, low, high = node.operands
        pairs: list[tuple[Node, str, Node]] = [(column, ">=", low), (column, "<=", high)]
    else:
        operators = node.operators if node.name == "compare" else ()
        pairs = list(zip(node.operands, operators, node.operands[1:], strict=False))
    for left, operator, right in pairs:
        if isinstance(left, Constant):
            left, operator, right = right, _MIRRORED.get(operator, operator), left
        if isinstance(left, Column) and isinstance(right, Constant) and isinstance(right.value, int | float):
            yield left.name, operator, float(right.value)
