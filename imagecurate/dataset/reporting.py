"""The report of a dataset, or of an output folder, as one file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagecurate.dataset.core import Core, expanded
from imagecurate.errors import OutputError, ParameterError, listed
from imagecurate.explore.report.build import material_of
from imagecurate.explore.report.material import Material
from imagecurate.explore.report.page import page
from imagecurate.explore.report.timings import timings_of
from imagecurate.explore.tiles import Blur
from imagecurate.plan.plan import Plan
from imagecurate.plan.runs import run_record
from imagecurate.remote import RemotePath, local_path
from imagecurate.store.writing import write_atomically

__all__ = ["ReportSummary", "Reporting", "blur_of", "place_for", "save", "shown_path", "title_of"]

#: Columns with an NSFW score, where no stage that makes one is in the plan: ``punsafe`` is LAION's.
_NSFW = ("nsfw_score", "punsafe")


@dataclass(frozen=True)
class ReportSummary:
    """What ``report`` wrote: the file, its size, how many samples it is about, and how many it shows."""

    path: str
    bytes: int
    samples: int
    kept: int
    shown: int

    def __str__(self) -> str:
        return f"{self.path}: {self.kept:,} of {self.samples:,} samples kept, {self.bytes / 1e6:.1f} MB"


class Reporting(Core):
    """The method that writes the report."""

    def report(
        self,
        path: str | os.PathLike[str] = "report.html",
        *,
        title: str | None = None,
        blur: float | None = 0.2,
        blur_unscored: bool = False,
        progress: bool | None = None,
    ) -> ReportSummary:
        """Write one HTML file that shows what was kept, what was thrown away, and why.

        Computes what is not in the store, then reads the columns shard by shard in bounded memory; pictures are read of
        the samples that are shown.  The file needs neither network nor server, and stays below 10 MB.

        Parameters
        ----------
        path : path, default="report.html"
            File to write, local or a URL; one that is there is replaced.
        title : str, optional
            Heading; by default the name of the data.
        blur : float or None, default=0.2
            Pictures with a greater NSFW score are blurred until they are opened; with None no score blurs any.
        blur_unscored : bool, default=False
            Pictures without a score are blurred, too.
        progress : bool, optional
            False for silence.

        Returns
        -------
        ReportSummary

        Raises
        ------
        ParameterError
            No path is given, or ``blur`` is no number.
        OutputError
            The file cannot be written.
        """
        place, covered = place_for(path), blur_of(self._plan, blur, blur_unscored)
        counts = self._run("computing", progress)
        work = self._ready
        material = material_of(
            work,
            self._shards,
            run_record(work, self._shards, counts),
            title=title or title_of(self.path),
            place=shown_path(self.path),
            blur=covered,
            timings=list(timings_of(work.store, work.plan)),
        )
        return save(material, place)


def place_for(path: Any) -> Path | RemotePath:
    """Give the place of a file to write.

    Raises
    ------
    ParameterError
        It is no path.
    OutputError
        It is a folder.
    """
    text = os.fspath(expanded(path)) if isinstance(path, str | os.PathLike) else None
    if not isinstance(text, str) or not text:
        raise ParameterError.because(f"a report needs a path, but got {path!r}", 'ds.report("report.html")')
    local = local_path(text)
    if local is None:
        return RemotePath(text)
    if Path(local).is_dir():
        raise OutputError.because(f"the report cannot be written at {text!r}: it is a folder", f"{text}/report.html")
    return Path(local)


def blur_of(plan: Plan, above: float | None, unscored: bool) -> Blur:
    """Find out which column says what is blurred.

    Raises
    ------
    ParameterError
        The bound is no number.
    """
    if above is not None and (isinstance(above, bool) or not isinstance(above, int | float)):
        raise ParameterError.because(f"blur expects an NSFW score, or None, but got {above!r}", "blur=0.2")
    made = [name for name in plan.producers if type(plan.stage_of(name)).__name__ == "NsfwClassifier"]
    column = next((name for name in (*made, *_NSFW) if name in plan.schema), None)
    return Blur(column, above, bool(unscored))


def save(material: Material, place: Path | RemotePath) -> ReportSummary:
    """Write the page.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    written = page(material)
    if isinstance(place, RemotePath):
        place.write_bytes(written)
    else:
        try:
            write_atomically(place, lambda temporary: temporary.write_bytes(written))
        except OutputError as error:
            raise OutputError.because(f"the report cannot be written at {str(place)!r}: {error.__cause__}") from error
    shown = len(material.cards) + sum(len(cards) for fate, cards in material.examples.items() if material.kept_only)
    return ReportSummary(str(place), len(written), material.samples, material.kept, shown)


def shown_path(path: Any) -> str:
    """Write where data lies, for people, and without what only its owner should know.

    >>> shown_path({"a": "https://me:secret@example.com/data/{00..99}.tar?token=1", "b": "data"})
    'a: https://example.com/data/{00..99}.tar, b: data'
    """
    if isinstance(path, Mapping):
        return ", ".join(f"{name}: {shown_path(part)}" for name, part in path.items())
    if isinstance(path, str | os.PathLike):
        text = os.fspath(path)
        return re.sub(r"(?<=://)[^/@]*@", "", text).partition("?")[0] if "://" in text else text
    parts = [shown_path(part) for part in path]
    return ", ".join(parts[:5]) + (f" and {len(parts) - 5:,} more" if len(parts) > 5 else "")


def title_of(path: Any) -> str:
    """Name data by the last part of where it lies, or by its sources."""
    if isinstance(path, Mapping):
        return listed(list(map(str, path)), 5)
    parts = [part for part in re.split(r"[/\\]", shown_path(path)) if part and not re.search(r"[*{}\[\]?]", part)]
    return parts[-1] if parts and isinstance(path, str | os.PathLike) else shown_path(path)
