"""Files that failed, by reason, with the names of some."""

from __future__ import annotations

from imagecurate.explore.html import Html, joined, tag
from imagecurate.explore.report.charts import bars, folded, table
from imagecurate.explore.report.material import Material
from imagecurate.explore.wording import count, plural

__all__ = ["failures"]

#: Reasons, and files of each, that are listed.
_REASONS = 40
_FILES = 8


def failures(material: Material) -> Html | None:
    """List the reasons, and files of each."""
    reasons = sorted(material.record["failed_by_reason"].items(), key=lambda item: (-item[1], item[0]))
    if not reasons:
        return None
    listed = [_files(material, reason, n) for reason, n in reasons[:_REASONS]]
    more = plural(len(reasons) - _REASONS, "further reason") if len(reasons) > _REASONS else None
    return joined(
        tag("p", f"{plural(material.failed, 'sample')} failed; none of them is in the output."),
        bars(reasons[:_REASONS], material.failed, ("reason", "samples")),
        *listed,
        tag("p", f"{more} in the ledger.", class_="quiet") if more else None,
    )


def _files(material: Material, reason: str, n: int) -> Html | None:
    cards = material.examples.get(("failed", reason), ())[:_FILES]
    if not cards:
        return None
    rows = [(card.file or card.key or "-", card.detail or "", card.shard or "", card.sample_id) for card in cards]
    some = f"{count(len(rows))} of {plural(n, 'file')}" if n > len(rows) else plural(n, "file")
    return folded(f"{reason}: {some}", table(["file", "why", "shard", "sample"], rows))
