"""The report of a dataset, or of an output folder, as one file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagecurate.dataset.core import Core
from imagecurate.errors import listed
from imagecurate.explore.blur import blur_of
from imagecurate.explore.report.build import material_of
from imagecurate.explore.report.material import Material
from imagecurate.explore.report.page import page
from imagecurate.explore.report.timings import timings_of
from imagecurate.explore.saving import place_for, save
from imagecurate.plan.runs import run_record
from imagecurate.store import StorePath

__all__ = ["ReportSummary", "Reporting", "shown_path", "title_of", "write"]


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
        place = place_for(path, self._work.storage_options)
        covered = blur_of(self._plan, blur, blur_unscored)
        counts = self._run("computing", progress)
        work = self._ready
        material = material_of(
            work,
            self._shards,
            run_record(work, self._shards, counts),
            title=str(title or title_of(self.path)),
            place=shown_path(self.path),
            blur=covered,
            timings=list(timings_of(work.store, work.plan)),
        )
        return write(material, place)


def write(material: Material, place: StorePath) -> ReportSummary:
    """Write the page.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    written = page(material)
    save(written, place)
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
