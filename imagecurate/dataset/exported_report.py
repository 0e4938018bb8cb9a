"""The report of an output folder; pictures of what was not kept come from the input, where that is given."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from imagecurate.dataset.dataset import ImageTextPairDataset
from imagecurate.dataset.reporting import ReportSummary, shown_path, title_of, write
from imagecurate.errors import OutputError, ShardError
from imagecurate.explore.blur import blur_of
from imagecurate.explore.report.build import material_of
from imagecurate.explore.report.cards import Card, Wanted, cards_of, refs_of_ids
from imagecurate.explore.report.collect import Answers
from imagecurate.explore.report.fates import Fate
from imagecurate.explore.report.ledger import examples_in
from imagecurate.explore.report.material import Material, Timed
from imagecurate.explore.report.questions import Questions
from imagecurate.explore.saving import place_for
from imagecurate.explore.thumbnails import Thumbnail
from imagecurate.export.folder_at import folder_at
from imagecurate.export.records import read_json
from imagecurate.remote import StorageOptions
from imagecurate.shards.schema import RESERVED
from imagecurate.tables.files import find_parquets

__all__ = ["report_export"]

_NO_INPUT = "no picture: it is in the input"
#: How columns are called that imagecurate wrote once, and now come in.
_CAME = "input_"


def report_export(
    output: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    input: Any = None,  # noqa: A002  # as a pipeline calls it
    title: str | None = None,
    blur: float | None = 0.2,
    blur_unscored: bool = False,
    storage_options: StorageOptions = None,
) -> ReportSummary:
    """Write the report of an output folder, as `ImageTextPairDataset.report` does of a dataset.

    The ledger and the run record say what became of the samples.  Scores are those of the kept samples, for the folder
    has no others; samples that were dropped or failed are shown with pictures only where the input is given.

    Parameters
    ----------
    output : path
        A folder that ``to_webdataset`` or a pipeline wrote, local or a URL.
    path : path, optional
        File to write; by default ``report.html`` in the folder.
    input : str, path, list or mapping, optional
        The shards from which the output was made, as ``from_webdataset`` takes them.
    title, blur, blur_unscored
        As in ``report``.
    storage_options : mapping, optional
        For fsspec.

    Raises
    ------
    OutputError
        There is no run record or no ledger in the folder, or the report cannot be written.
    ShardError
        Nothing is found at ``input``.
    """
    folder = os.fspath(output).rstrip("/")
    place = place_for(f"{folder}/report.html" if path is None else path, storage_options)
    kept_there = folder_at(folder, storage_options)
    record = read_json(kept_there, "run.json")
    try:
        ledger = find_parquets(f"{folder}/ledger", storage_options)
    except ShardError:
        ledger = ()
    if record is None or "counts" not in record or not ledger:
        raise OutputError.because(
            f"there is no run record with a ledger in {folder!r}",
            "name the output folder of a run; the report of shards is ds.report(), that of a pipeline takes its YAML",
        )
    rows = examples_in(ledger, storage_options)
    elsewhere, notes = _cards(rows, input, storage_options)
    timings = _timings(read_json(kept_there, "timings.json") or {})
    about: dict[str, Any] = {"title": str(title or title_of(folder)), "place": shown_path(folder)}
    if not record["kept"]:
        nothing = Material(
            **about,
            record=record,
            asked=Questions(),
            answers=Answers(),
            examples=elsewhere,
            cards={},
            kept_only=True,
            timings=timings,
            notes=notes,
        )
        return write(nothing, place)
    dataset = ImageTextPairDataset.from_webdataset(folder, workdir=None, storage_options=storage_options)
    covered = blur_of(dataset._plan, blur, blur_unscored)
    material = material_of(
        dataset._ready,
        dataset._shards,
        record,
        **about,
        blur=covered,
        elsewhere=elsewhere,
        called={name: f"{_CAME}{name}" for name in sorted(RESERVED) if f"{_CAME}{name}" in dataset.columns},
        timings=timings,
        notes=notes,
    )
    return write(material, place)


def _cards(
    rows: Mapping[Fate, Sequence[Mapping[str, Any]]], path: Any, options: StorageOptions
) -> tuple[dict[Fate, list[Card]], list[str]]:
    """Make cards of rows of the ledger, with what the input knows of them, and say what is missing."""
    known: dict[str, Card] = {}
    ids = [row["sample_id"] for some in rows.values() for row in some]
    if path is not None and ids:
        images: Literal["first", "all"] = "all" if "#img" in ids[0] else "first"
        dataset = ImageTextPairDataset.from_webdataset(path, workdir=None, images=images, storage_options=options)
        found = refs_of_ids(ids, dataset._shards, images)
        cards = cards_of(dataset._ready, dataset._shards, found.values(), Wanted())
        known = {name: cards[ref] for name, ref in found.items() if ref in cards}
    made = {fate: [_card(fate, row, known.get(row["sample_id"])) for row in some] for fate, some in rows.items()}
    notes = []
    missing = sum(card.thumbnail.error == _NO_INPUT for cards in made.values() for card in cards)
    if missing and path is None:
        notes.append(
            "Pictures of samples that were dropped or failed are missing here: they are in the input, not in this "
            "folder. imagecurate report OUT --input DATA shows them, and so does the report of the pipeline itself."
        )
    elif missing:
        notes.append(
            f"The input that was given does not hold {missing:,} of the {len(ids):,} samples that are shown as dropped "
            "or failed; it may have changed since the run."
        )
    return made, notes


def _card(fate: Fate, row: Mapping[str, Any], known: Card | None) -> Card:
    """The card of a row of the ledger, with what the input knows if it is the same sample."""
    if known is not None and known.key == row["key"]:
        return dataclasses.replace(known, fate=fate, detail=row["detail"])
    return Card(
        row["sample_id"],
        row["key"],
        row["source"],
        row["shard"],
        fate=fate,
        detail=row["detail"],
        thumbnail=Thumbnail(None, error=_NO_INPUT),
    )


def _timings(record: Mapping[str, Any]) -> list[Timed]:
    seconds = record.get("seconds", {})
    return [Timed(f"export: {name}", float(each)) for name, each in seconds.items()]
