"""What came in and what went out."""

from __future__ import annotations

from imagecurate.explore.html import Html, joined, tag
from imagecurate.explore.report.charts import table
from imagecurate.explore.report.material import Material
from imagecurate.explore.wording import as_bytes, count, plural, share

__all__ = ["header", "overview"]

#: Sources that are listed.
_SOURCES = 100


def header(material: Material) -> Html:
    """Make the head of the page: what it is about, and the four numbers that matter most."""
    samples, kept, failed = material.samples, material.kept, material.failed
    numbers = [
        ("came in", samples, "in", None),
        ("kept", kept, "kept", share(kept, samples)),
        ("dropped by filters", samples - kept - failed, "dropped", share(samples - kept - failed, samples)),
        ("failed", failed, "failed", share(failed, samples)),
    ]
    return tag(
        "header",
        tag("p", "imagecurate report", class_="eyebrow"),
        tag("h1", material.title, dir="auto"),
        tag("p", material.place, class_="place", dir="auto"),
        tag(
            "dl",
            *(
                tag("div", tag("dt", name), tag("dd", count(n), tag("small", part) if part else None), class_=kind)
                for name, n, kind, part in numbers
            ),
            class_="sums",
        ),
        *(tag("p", note, class_="remark") for note in material.notes),
    )


def overview(material: Material) -> Html | None:
    """List what came in, by source."""
    inputs = material.record.get("inputs", {})
    sources = inputs.get("sources", {})
    rows = [
        (
            name,
            count(each["shards"]),
            as_bytes(each["bytes"]),
            count(each.get("samples", 0)),
            count(each.get("kept", 0)),
            share(each.get("kept", 0), each.get("samples", 0)),
            count(each.get("failed", 0)),
        )
        for name, each in list(sources.items())[:_SOURCES]
    ]
    noticed = [
        f"{name.replace('_', ' ')}: {count(n)}"
        for name, n in sorted(inputs.get("noticed", {}).items())
        if n and name not in ("samples", "parquet_rows")
    ]
    remarks = [*inputs.get("differences", []), *noticed]
    if not rows:
        return None
    more = len(sources) - len(rows)
    shards, size = (sum(each[name] for each in sources.values()) for name in ("shards", "bytes"))
    head = ["source", "shards", "size", "samples", "kept", "share", "failed"]
    return joined(
        tag("p", f"{plural(material.samples, 'sample')} in {plural(shards, 'shard')}, {as_bytes(size)} together."),
        table(head, rows, numbers=6),
        tag("p", f"and {plural(more, 'source')} more", class_="quiet") if more > 0 else None,
        tag("h3", "Noticed while reading") if remarks else None,
        tag("ul", *(tag("li", each) for each in remarks[:50]), class_="plain") if remarks else None,
    )
