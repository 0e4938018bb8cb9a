"""How it was made: steps and their parameters, models, versions, time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imagecurate.explore.html import Html, joined, tag
from imagecurate.explore.report.charts import folded, table
from imagecurate.explore.report.material import Material
from imagecurate.explore.wording import as_duration, number

__all__ = ["run_record"]

#: Characters of a value, and entries of a list, that are shown.
_LONGEST = 2_000
_MOST = 200


def run_record(material: Material) -> Html | None:
    """Show the record of the run."""
    record = material.record
    timed = [
        (each.name, as_duration(each.seconds), "" if each.images_per_s is None else number(round(each.images_per_s)))
        for each in material.timings
    ]
    models = [(step.get("stage", ""), weights) for step in record["plan"] for weights in _weights(step)]
    versions = list(record.get("versions", {}).items())
    others = {name: record[name] for name in ("fingerprint", "decode_policy", "export") if name in record}
    reading = record.get("inputs", {}).get("reading")
    return joined(
        joined(tag("h3", "Models"), table(["stage", "digest of the weights"], models)) if models else None,
        tag("h3", "Steps"),
        tag("ol", *(tag("li", _step(step)) for step in record["plan"]), class_="steps")
        if record["plan"]
        else tag("p", "None.", class_="quiet"),
        tag(
            "div",
            tag("article", tag("h3", "Time"), table(["what", "time", "images/s"], timed, numbers=2)) if timed else None,
            tag("article", tag("h3", "Versions"), table(["package", "version"], versions)) if versions else None,
            class_="columns",
        ),
        folded("Everything else that decides the result", _tree(others | ({"reading": reading} if reading else {}))),
    )


def _weights(value: Any) -> Iterator[str]:
    """Digests of weights, wherever a stage says them."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            if name == "weights" and isinstance(each, str):
                yield each
            else:
                yield from _weights(each)


def _step(step: Mapping[str, Any]) -> Html:
    kind = next(
        (name for name in ("stage", "filter", "mask", "join", "column", "exclude", "include") if name in step), "step"
    )
    value = step.get(kind, "")
    title = ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    rest = {name: each for name, each in step.items() if name != kind and each not in (None, "", [], {})}
    expression = rest.pop("expression", None)
    return joined(
        tag("span", kind, class_="kind"),
        tag("code", title) if kind == "stage" else tag("b", title, dir="auto"),
        tag("code", expression) if expression and expression != title else None,
        folded("Parameters", _tree(rest)) if rest else None,
    )


def _tree(value: Any, depth: int = 0) -> Html:
    """Show a value of JSON."""
    if depth < 8 and isinstance(value, Mapping) and value:
        pairs = list(value.items())[:_MOST]
        return tag(
            "dl", *(tag("div", tag("dt", key), tag("dd", _tree(each, depth + 1))) for key, each in pairs), class_="tree"
        )
    if depth < 8 and isinstance(value, list | tuple) and any(isinstance(each, Mapping | list) for each in value):
        return tag("ul", *(tag("li", _tree(each, depth + 1)) for each in value[:_MOST]), class_="tree")
    if isinstance(value, list | tuple):
        written = ", ".join(map(str, value[:_MOST]))
    else:
        written = "" if value is None else str(value)
    return tag("span", written if len(written) <= _LONGEST else written[:_LONGEST] + "…", dir="auto")
