"""From a dataset to all that its report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imagecurate.columns import IMAGE_ERROR
from imagecurate.explore.blur import Blur
from imagecurate.explore.report.cards import Card, Wanted, cards_of, refs_of_ids
from imagecurate.explore.report.collect import Answers, ask
from imagecurate.explore.report.fates import KEPT, Fate
from imagecurate.explore.report.found_clusters import embeddings_in, find_clusters
from imagecurate.explore.report.material import Material, Timed
from imagecurate.explore.report.picks import Ref, refs
from imagecurate.explore.report.questions import Questions, column_text, questions_for
from imagecurate.explore.report.sections.cluster_list import CLUSTERS
from imagecurate.explore.report.sections.duplicates import GROUPS, PAIRS
from imagecurate.plan.plan import Plan
from imagecurate.plan.shard_state import Work
from imagecurate.shards import Shard

__all__ = ["material_of"]

#: Pictures of the kept samples, and of all those that were dropped or failed together.
_KEPT = 24
_TAKEN_OUT = 120
#: Most and fewest of one filter or reason, as there are few or many.
_MOST, _FEWEST = 12, 4
#: Reasons of failures that are shown with samples.
_REASONS = 40
#: Numbers that are shown with each sample.
_VALUES = 10


def material_of(
    work: Work,
    shards: Sequence[Shard],
    record: Mapping[str, Any],
    *,
    title: str,
    place: str,
    blur: Blur,
    elsewhere: Mapping[Fate, Sequence[Card]] | None = None,
    called: Mapping[str, str] | None = None,
    timings: Sequence[Timed] = (),
    notes: Sequence[str] = (),
) -> Material:
    """Collect what the report shows.

    One pass over the shards, which reads columns that are in the store already and holds what is shown and no more;
    then the samples that are shown are read.

    Parameters
    ----------
    work : Work
    shards : sequence of Shard
    record : mapping
        The record of the run.
    title, place : str
    blur : Blur
    elsewhere : mapping of Fate to sequence of Card, optional
        Samples that were not kept, where the shards hold only those that were, as in an output folder.
    called : mapping of str to str, optional
        What columns are really called, where that is another name than the page and the filters give them.
    timings : sequence of Timed
    notes : sequence of str
    """
    plan, called = work.plan, called or {}
    given = {there: name for name, there in called.items()}
    schema = {given.get(name, name): kind for name, kind in plan.schema.items() if name not in called}
    asked = questions_for(schema, _filters(record), _made(plan))
    answers = ask(work, shards, asked, called)
    vectors = embeddings_in(schema)
    if vectors is not None and (answers.clusters is None or not answers.clusters.found):
        answers.clusters = find_clusters(work, shards, vectors, called.get(vectors, vectors))
    examples = _examples(answers)
    levels = list(answers.levels.values())
    quantities = [limit.quantity for limit in asked.limits]
    quantities += [column_text(level.nearness) for level in levels if level.nearness is not None]
    wanted = Wanted(
        tuple(dict.fromkeys([*quantities, *asked.quantities]))[:_VALUES],
        tuple(level.name for level in levels),
        blur.column if blur.column in schema else None,
        called,
    )
    chosen = [*(ref for some in examples.values() for ref in some), *_others(asked, answers)]
    cards = cards_of(work, shards, chosen, wanted)
    named = {name for card in cards.values() for name in card.duplicate_of.values()}
    found = refs_of_ids(named, shards, plan.images)
    cards |= cards_of(work, shards, set(found.values()) - cards.keys(), wanted)
    shown = {fate: [cards[ref] for ref in some if ref in cards] for fate, some in examples.items()}
    return Material(
        title,
        place,
        record,
        asked,
        answers,
        shown | dict(elsewhere or {}),
        cards,
        {name: cards[ref] for name, ref in found.items() if ref in cards},
        blur,
        elsewhere is not None,
        timings,
        notes,
    )


def _filters(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(step["filter"], step["expression"]) for step in record["plan"] if "filter" in step]


def _made(plan: Plan) -> list[str]:
    """Columns that steps make, but for what the decoder says."""
    decoded = plan.producers.get(IMAGE_ERROR)
    return [name for name, number in plan.producers.items() if number != decoded]


def _examples(answers: Answers) -> dict[Fate, list[Ref]]:
    """Share the pictures out over what became of the samples."""
    fates = [fate for fate in answers.examples if fate != KEPT]
    failed = [fate for fate in fates if fate[0] == "failed"][_REASONS:]
    each = min(max(_TAKEN_OUT // max(len(fates) - len(failed), 1), _FEWEST), _MOST)
    return {
        fate: refs(some[: _KEPT if fate == KEPT else each])
        for fate, some in answers.examples.items()
        if fate not in failed
    }


def _others(asked: Questions, answers: Answers) -> list[Ref]:
    """Samples that are shown for another reason than what became of them."""
    found = [
        ref for limit in asked.limits[:16] for side in (True, False) for ref in refs(answers.borderline[limit, side])
    ]
    for level in answers.levels.values():
        found += [ref for group in level.shown(GROUPS) for _, ref in group.members]
        found += refs(level.doubtful[:PAIRS])
    if answers.clusters is not None:
        found += [ref for _, cluster in answers.clusters.largest(CLUSTERS) for _, ref in cluster.nearest]
    return found
