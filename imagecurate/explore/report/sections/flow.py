"""What became of the samples: the ledger as a flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imagecurate.explore.html import Html, tag
from imagecurate.explore.report.charts import ribbon
from imagecurate.explore.report.material import Material
from imagecurate.explore.report.sections.gallery import groups_of, link_to
from imagecurate.explore.wording import count, share

__all__ = ["flow"]

#: Kinds of steps that take nothing out as a rule: they are shown where they did.
_QUIET = frozenset({"index", "pixels", "stage", "column", "join"})


def flow(material: Material) -> Html | None:
    """Draw the flow from step to step; the table beside it says the same in numbers."""
    samples = material.samples
    left = samples
    groups = groups_of(material)
    expressions = {step["filter"]: step["expression"] for step in material.record["plan"] if "filter" in step}
    rows = [_row(("", ""), samples, samples, samples, "came in", None, [])]
    for step in material.record["counts"]:
        out = step["dropped"] + step["failed"]
        if step["kind"] not in _QUIET or out:
            name = step["step"]
            link = link_to(groups, ("dropped", name) if step["dropped"] else ("failed", "")) if out else None
            rows.append(_row(_step(step), left, left - out, samples, name, link, _out(step), expressions.get(name, "")))
        left -= out
    rows.append(_row(("", ""), left, left, samples, "kept", link_to(groups, ("kept", "")), []))
    head = tag("tr", tag("td"), *(tag("th", title, scope="col", class_=kind) for title, kind in _HEAD))
    return tag(
        "div",
        tag("table", tag("thead", head), tag("tbody", *rows), class_="flow"),
        class_="scroll",
    )


_HEAD = (("step", None), ("taken out", "number"), ("left", "number"), ("share", "number"))


def _step(step: Mapping[str, Any]) -> tuple[str, str]:
    return step["kind"], "failed" if step["failed"] > step["dropped"] else "dropped"


def _out(step: Mapping[str, Any]) -> list[str]:
    """What is said below the number of samples that a step took out, where it needs saying."""
    said = [f"{count(step[name])} {words}" for name, words in _ALSO.items() if step.get(name)]
    if step["failed"] and not step["dropped"]:
        return ["failed"]
    return said if len(said) > 1 else []


_ALSO = {"dropped": "dropped", "null": "of them without a value", "failed": "failed"}


def _row(
    step: tuple[str, str],
    before: int,
    after: int,
    samples: int,
    name: str,
    link: str | None,
    out: Sequence[str],
    expression: str = "",
) -> Html:
    whole = max(samples, 1)
    kind, how = step
    title = f"{name}: {count(before - after)} of {count(before)} taken out" if kind else f"{count(after)} {name}"
    return tag(
        "tr",
        tag("td", ribbon(before / whole, after / whole, how, title), class_="band"),
        tag(
            "th",
            tag("a", name, href=f"#{link}") if link else name,
            tag("code", expression) if expression and expression != name else None,
            scope="row",
            dir="auto",
        ),
        tag(
            "td",
            count(before - after) if kind else "",
            *(tag("small", each) for each in out),
            class_=f"number {how}" if before > after else "number quiet",
        ),
        tag("td", count(after), class_="number"),
        tag("td", share(after, samples), class_="number quiet"),
        class_=None if kind else "end",
    )
