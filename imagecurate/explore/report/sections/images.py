"""What kinds of image files there are."""

from __future__ import annotations

from imagecurate.explore.html import Html, joined, tag
from imagecurate.explore.report.charts import bars, sizes_chart
from imagecurate.explore.report.material import Material
from imagecurate.explore.report.properties import ODDITIES

__all__ = ["images"]


def images(material: Material) -> Html | None:
    """Show sizes, formats, modes and oddities."""
    found = material.answers.properties
    parts = []
    if found.sizes:
        parts.append(tag("article", tag("h3", "Sizes"), sizes_chart(found)))
    for title, counted in (("Formats", found.formats), ("Modes", found.modes)):
        if counted:
            rows = [(name, n) for name, n in counted.most_common(20)]
            parts.append(
                tag(
                    "article",
                    tag("h3", title),
                    bars(rows, counted.total(), (title.lower().removesuffix("s"), "pictures")),
                )
            )
    odd = [(ODDITIES[name][0], n) for name, n in found.oddities.most_common() if n]
    if odd:
        whole = max(found.looked_at, max(n for _, n in odd))
        parts.append(tag("article", tag("h3", "Out of the ordinary"), bars(odd, whole, ("property", "pictures"))))
    return joined(tag("div", *parts, class_="columns")) if parts else None
