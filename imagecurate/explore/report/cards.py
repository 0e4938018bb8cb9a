"""The samples that the report shows: what is known of each, and its picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from imagecurate.columns import CAPTION, DUPLICATE_OF, IMAGE_HEIGHT, IMAGE_WIDTH, KEY, SAMPLE_ID, SHARD, SOURCE
from imagecurate.explore.picked import PLACE, SHARD_NUMBER, Picked
from imagecurate.explore.report.fates import KEPT, Fate, fates_of
from imagecurate.explore.report.picks import Ref
from imagecurate.explore.thumbnails import Thumbnail
from imagecurate.expressions import Expression
from imagecurate.plan.execute import in_order
from imagecurate.plan.shard_pass import ShardPass
from imagecurate.plan.shard_state import Work, sample_id_prefix
from imagecurate.shards import Shard

__all__ = ["LARGEST_SIDE", "Card", "Wanted", "cards_of", "refs_of_ids"]

#: Pixels of the longer side of the pictures that are made; the page has smaller ones where it would grow too large.
LARGEST_SIDE = 320
#: Characters of a caption or a name that are shown.
_LONGEST = 500


@dataclass(frozen=True)
class Card:
    """A sample.

    Parameters
    ----------
    sample_id, key, source, shard : str
        ``key`` is None where there is none.
    file : str or None
        Name of the image in its shard.
    caption : str or None
    fate : Fate
    detail : str or None
        Of a failure, what belongs to this one sample.
    width, height : int or None
        Of the picture itself.
    values : mapping of str to float
        Numbers that are shown with it.
    duplicate_of : mapping of str to str
        For each level that marked it, the sample that it duplicates.
    nsfw : float or None
    thumbnail : Thumbnail
    """

    sample_id: str
    key: str | None = None
    source: str | None = None
    shard: str | None = None
    file: str | None = None
    caption: str | None = None
    fate: Fate = KEPT
    detail: str | None = None
    width: int | None = None
    height: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    duplicate_of: Mapping[str, str] = field(default_factory=dict)
    nsfw: float | None = None
    thumbnail: Thumbnail = field(default=Thumbnail(None), repr=False)


@dataclass(frozen=True)
class Wanted:
    """What is read of the samples that are shown.

    Parameters
    ----------
    quantities : tuple of str
        Columns and expressions.
    levels : tuple of str
        Of deduplication.
    nsfw : str, optional
        Column with the score.
    called : mapping of str to str
        What columns are really called, where that is another name.
    """

    quantities: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    nsfw: str | None = None
    called: Mapping[str, str] = field(default_factory=dict)


def cards_of(work: Work, shards: Sequence[Shard], refs: Iterable[Ref], wanted: Wanted) -> dict[Ref, Card]:
    """Read what is known of some samples, and make their pictures; of no other sample anything is read.

    What was not computed yet is computed: only for these samples, and only where nobody did before.
    """
    by_shard: dict[int, list[int]] = {}
    for ref in sorted(set(refs)):
        by_shard.setdefault(ref.shard, []).append(ref.row)
    asked = [(number, shards[number], np.array(rows)) for number, rows in by_shard.items()]
    places: list[dict[str, Any]] = []
    found: dict[Ref, Card] = {}
    for rows in in_order(_ReadCards(work, wanted), asked):
        for place, card in rows:
            places.append(place)
            found[Ref(place[SHARD_NUMBER], place[PLACE[1]])] = card
    if not found:
        return {}
    table = pa.Table.from_pylist(places, pa.schema([(name, pa.int64()) for name in PLACE]))
    policy = dataclasses.replace(work.plan.policy, accept_truncated=True)  # what there is of a picture says most
    picked = Picked(table, shards, policy, work.storage_options)
    pairs = zip(found.items(), picked.thumbnails(LARGEST_SIDE), strict=True)
    return {ref: dataclasses.replace(card, thumbnail=small) for (ref, card), small in pairs}


def refs_of_ids(ids: Iterable[str], shards: Sequence[Shard], images: str) -> dict[str, Ref]:
    """Find where samples lie by their ids; those of another dataset are left out."""
    wanted: dict[str, list[tuple[str, int]]] = {}
    for name in ids:
        prefix, position = _parted(name)
        if position is not None:
            wanted.setdefault(prefix, []).append((name, position))
    found: dict[str, Ref] = {}
    if wanted:
        for number, shard in enumerate(shards):
            for name, position in wanted.get(sample_id_prefix(shard, images), ()):
                found[name] = Ref(number, position)
    return found


def _parted(sample_id: str) -> tuple[str, int | None]:
    end = len(sample_id.rstrip("0123456789"))
    digits = sample_id[end:]
    return sample_id[:end], int(digits) if digits else None


@dataclass(frozen=True)
class _ReadCards:
    work: Work
    wanted: Wanted

    def __call__(self, asked: tuple[int, Shard, np.ndarray]) -> list[tuple[dict[str, Any], Card]]:
        number, shard, rows = asked
        with ShardPass(self.work, shard, self.work.plan.needed((), everything=True)) as shard_pass:
            rows = rows[rows < shard_pass.state.count]  # of an input that is not what it was, there may be fewer
            outcome = shard_pass.run()
            fates = fates_of(shard_pass.state.plan, outcome)
            reasons = [outcome.reasons.get(row) for row in rows.tolist()]
            known = _Columns(shard_pass, self.work.plan.schema, rows, self.wanted.called)
            places = zip(rows.tolist(), known["_image_offset"], known["_image_size"], strict=True)
            cards = self._cards(known, [fates.names[code] for code in fates.codes[rows].tolist()], reasons)
            return [
                (dict(zip(PLACE, (number, *place), strict=True)), card)
                for place, card in zip(places, cards, strict=True)
            ]

    def _cards(self, known: _Columns, fates: Sequence[Fate], reasons: Sequence[str | None]) -> Iterator[Card]:
        values = {text: known.numbers(text) for text in self.wanted.quantities}
        marks = {level: known[level + DUPLICATE_OF] for level in self.wanted.levels}
        nsfw = known.numbers(str(self.wanted.nsfw)) if self.wanted.nsfw else [None] * len(known)
        names = known["_image_name"]
        for row in range(len(known)):
            yield Card(
                known[SAMPLE_ID][row],
                _short(known[KEY][row]),
                known[SOURCE][row],
                known[SHARD][row],
                _short(names[row] and PurePosixPath(names[row]).name),
                _short(known[CAPTION][row]),
                fates[row],
                _short((reasons[row] or "").partition(": ")[2]),
                known[IMAGE_WIDTH][row],
                known[IMAGE_HEIGHT][row],
                {text: value for text, each in values.items() if (value := each[row]) is not None},
                {level: named for level, each in marks.items() if (named := each[row]) is not None},
                nsfw[row],
            )


class _Columns:
    """Values of columns at some rows of a shard; nulls where there is no such column."""

    def __init__(
        self, shard_pass: ShardPass, schema: Mapping[str, pa.DataType], rows: np.ndarray, called: Mapping[str, str]
    ) -> None:
        self._pass = shard_pass
        self._schema = schema
        self._called = called
        self._positions = rows
        self._rows = len(rows)
        self._known: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._known:
            there = self._called.get(name, name) in self._schema or name.startswith("_")
            self._known[name] = self._read(name).to_pylist() if there else [None] * self._rows
        return self._known[name]

    def _read(self, name: str) -> pa.Array:
        name = self._called.get(name, name)
        return self._pass.columns([name], self._positions)[name]

    def numbers(self, text: str) -> list[float | None]:
        """Values of an expression."""
        expression = Expression(text)
        found: list[float | None] = expression.values(
            {each: self._read(each) for each in expression.columns}
        ).to_pylist()
        return found


def _short(value: object) -> str | None:
    if value is None or value == "":
        return None
    written = str(value)
    return written if len(written) <= _LONGEST else written[: _LONGEST - 1] + "…"
