"""All that the page says, collected and ready to be written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imagecurate.explore.blur import Blur
from imagecurate.explore.report.cards import Card
from imagecurate.explore.report.collect import Answers
from imagecurate.explore.report.fates import Fate
from imagecurate.explore.report.picks import Ref
from imagecurate.explore.report.questions import Questions

__all__ = ["Material", "Timed"]


@dataclass(frozen=True)
class Timed:
    """Something that took time, and how many images a second that was, where it is known."""

    name: str
    seconds: float
    images_per_s: float | None = None


@dataclass(frozen=True)
class Material:
    """What the report shows.

    Parameters
    ----------
    title : str
    place : str
        Where the samples lie.
    record : mapping
        As `imagecurate.plan.runs.run_record` gives it: what came in and out, versions, steps.
    asked : Questions
    answers : Answers
    examples : mapping of Fate to sequence of Card
    cards : mapping of Ref to Card
        All others that are shown.
    by_id : mapping of str to Card
        Samples that others name as those that they duplicate.
    blur : Blur
    kept_only : bool, default=False
        Whether scores are known of the kept samples only, as in an output folder.
    timings : sequence of Timed
    notes : sequence of str
        What the reader should know before the rest.
    """

    title: str
    place: str
    record: Mapping[str, Any]
    asked: Questions
    answers: Answers
    examples: Mapping[Fate, Sequence[Card]]
    cards: Mapping[Ref, Card]
    by_id: Mapping[str, Card] = field(default_factory=dict)
    blur: Blur = field(default_factory=Blur)
    kept_only: bool = False
    timings: Sequence[Timed] = ()
    notes: Sequence[str] = ()

    @property
    def samples(self) -> int:
        """Samples that came in."""
        return int(self.record["samples"])

    @property
    def kept(self) -> int:
        """Samples that went out."""
        return int(self.record["kept"])

    @property
    def failed(self) -> int:
        """Samples that failed, in all."""
        return sum(self.record["failed_by_reason"].values())

    def fates(self) -> list[tuple[Fate, int]]:
        """What became of how many samples: kept, dropped in the order of the steps, failed by reason."""
        dropped = [(("dropped", step["step"]), step["dropped"]) for step in self.record["counts"] if step["dropped"]]
        reasons = sorted(self.record["failed_by_reason"].items(), key=lambda item: (-item[1], item[0]))
        failed = [(("failed", reason), n) for reason, n in reasons]
        return [(("kept", ""), self.kept), *dropped, *failed]

    def shown(self, refs: Iterable[Ref]) -> list[Card]:
        """The cards of some samples."""
        return [self.cards[ref] for ref in refs if ref in self.cards]
