"""Clusters: the largest, with the pictures nearest to their centres."""

from __future__ import annotations

from imagecurate.explore.html import Html, joined, tag
from imagecurate.explore.report.charts import bars
from imagecurate.explore.report.clusters import Clusters
from imagecurate.explore.report.material import Material
from imagecurate.explore.report.tiles import Tiles
from imagecurate.explore.wording import count, number, plural, share

__all__ = ["CLUSTERS", "cluster_list"]

#: Clusters that are shown with pictures, and those whose sizes are listed.
CLUSTERS = 12
_LISTED = 40


def cluster_list(material: Material, tiles: Tiles) -> Html | None:
    """Show the largest clusters."""
    clusters = material.answers.clusters
    if clusters is None or not clusters.found:
        return None
    samples = sum(cluster.size for cluster in clusters.found.values()) + clusters.dropped
    sizes = [(name, cluster.size) for name, cluster in clusters.largest(_LISTED)]
    shown = []
    for name, cluster in clusters.largest(CLUSTERS):
        items = [
            tag(
                "li", tiles.tile(material.cards[ref], None if clusters.distance is None else f"distance {number(away)}")
            )
            for away, ref in cluster.nearest
            if ref in material.cards
        ]
        title = tag(
            "h4",
            name,
            tag("small", f" {plural(cluster.size, 'sample')}, {share(cluster.size, samples)}"),
        )
        shown.append(tag("div", title, tag("ul", *items, class_="tiles small")))
    rest = f"The {count(_LISTED)} largest clusters" if len(clusters.found) > _LISTED else "Sizes of the clusters"
    return joined(
        tag("p", _about(clusters)),
        tag("div", *shown, class_="clusters"),
        tag("h4", rest),
        bars(sizes, samples, ("cluster", "samples")),
    )


def _about(clusters: Clusters) -> str:
    found = plural(len(clusters.found), "cluster")
    if clusters.sampled is not None:
        return (
            f"{found} that k-means finds among {plural(clusters.sampled, 'kept sample')} by {clusters.column}, as no "
            "column names any. Sizes are those among these samples; pictures are those nearest to the centre."
        )
    how = "drawn at random" if clusters.distance is None else f"nearest to the centre by {clusters.distance}"
    return f"{found} in column {clusters.column}; pictures are those {how}."
