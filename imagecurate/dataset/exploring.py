"""Looking at pictures: galleries, and groups of duplicates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa

from imagecurate.columns import DUPLICATE_OF, SOURCE, Frame
from imagecurate.dataset.comparing import Comparing
from imagecurate.errors import ParameterError, listed
from imagecurate.explore.arguments import check_count, check_seed, share_of
from imagecurate.explore.best import Order, groups_of
from imagecurate.explore.duplicates import Duplicates
from imagecurate.explore.gallery import Gallery, Group
from imagecurate.explore.grouping import grouping
from imagecurate.explore.levels import levels, nearness_of
from imagecurate.explore.look import ALL, Look
from imagecurate.explore.overview import overview
from imagecurate.plan.plan import Plan
from imagecurate.plan.steps import FilterStep

__all__ = ["Exploring"]


class Exploring(Comparing):
    """The methods that show pictures."""

    def _repr_html_(self) -> str:
        return str(overview(self._work, self._shards))

    def show(
        self,
        n: int = 24,
        *,
        where: str | Frame | None = None,
        sort: str | None = None,
        by: str | None = None,
        columns: Sequence[str] | None = None,
        sample: float | None = None,
        seed: int | None = None,
        blur: float | None = 0.2,
        blur_unscored: bool = False,
    ) -> Gallery:
        """Show pictures with their captions and scores.

        Reads the image files that it shows and no other.  Without ``sort`` and ``by`` nothing is computed for other
        samples than it takes to find ``n`` that pass the filters; with them that column is computed for all.

        Parameters
        ----------
        n : int, default=24
            Samples, or samples of each group.
        where : str or mask, optional
            Only samples for which this holds, as in `filter`.
        sort : str, optional
            A column, or an expression: the largest value first, or the smallest where it begins with ``-``; nulls last.
        by : str, optional
            A column, or an expression: a group for each value, or for ranges of a number that has many.
        columns : list of str, optional
            Shown below each picture; by default the first six of numbers, truth values and text that steps made, hashes
            and digests left out.
        sample : float, optional
            Sort and group a share of the rows, drawn at random, instead of all.
        seed : int, optional
            Draw the samples at random, from some shards; by default the first ones are shown.
        blur : float or None, default=0.2
            Pictures whose NSFW score is above this are covered until they are opened; with None none is.
        blur_unscored : bool, default=False
            Cover pictures that have no score, too.

        Returns
        -------
        Gallery
            Shown in a notebook; ``rows`` is a frame, ``picked.files()`` gives the image files, ``save(path)`` writes a
            page.

        Raises
        ------
        ColumnNotFoundError, ExpressionError, ParameterError
            A column is not there, an expression is not well formed, or an argument is out of range.
        """
        check_count(n, "n")
        check_seed(seed)
        look = ALL if sample is None else Look(share_of(sample) or 1.0, seed=seed or 0)
        if where is not None:
            return self.filter(where).show(
                n, sort=sort, by=by, columns=columns, sample=sample, seed=seed, blur=blur, blur_unscored=blur_unscored
            )
        if sort is None and by in (None, SOURCE) and sample is None:
            return self._show_first(n, by, columns, seed, (blur, blur_unscored))
        dataset, key, order = self._sort_key(sort)
        dataset, group = dataset._column(by) if by is not None else (dataset, None)
        rows = dataset._rows()
        choose, names = grouping(rows, n, key, group, order, look)
        asked = [name for name in (key, group) if name is not None]
        chosen = choose.merge(rows.map("sorting" if key else "grouping", choose, asked, look))
        shown, blurred = dataset._shown(asked, columns), dataset._blur(blur, blur_unscored)
        picked = rows.pick(chosen, dataset._read_with(shown, blurred))
        groups = [Group(names(each), places, count) for each, (places, count) in groups_of(chosen).items()]
        title = "Samples" + (f", {_ordered(key, order)}" if key else "") + (f", by {group}" if group else "")
        return Gallery(title, picked, shown, blurred, groups if group else (), self._empty(look))

    def show_duplicates(
        self,
        n: int = 10,
        *,
        level: str | None = None,
        most: int = 8,
        sort: str | None = None,
        columns: Sequence[str] | None = None,
        blur: float | None = 0.2,
        blur_unscored: bool = False,
    ) -> Gallery:
        """Show groups of duplicates: the sample that stays first, then the others, how near each is and why.

        Filters by the marks of duplicates are left out for it, so it shows the same after `drop_duplicates`.

        Parameters
        ----------
        n : int, default=10
            Groups, of each level.
        level : str, optional
            ``"exact"``, ``"perceptual"`` or ``"semantic"``; by default all that there are.
        most : int, default=8
            Samples of a group that are shown.
        sort : str, optional
            Groups of the duplicates that are first by this column, as in `show`: ``"-semantic_similarity"`` shows the
            most doubtful ones.  By default any groups, always the same.
        columns, blur, blur_unscored
            As in `show`.

        Raises
        ------
        ColumnNotFoundError, ParameterError
            No deduplicator was run, or there is no such level or column.
        """
        check_count(n, "n")
        check_count(most, "most")
        found = levels(self._plan.schema)
        if not found:
            raise ParameterError.because(
                "no step has marked duplicates",
                "run ExactDeduplicator(), PerceptualDeduplicator() or SemanticDeduplicator(...) first",
            )
        if level is not None and level not in found:
            raise ParameterError(f"there is no level {level!r} of duplicates; the dataset has: {listed(found)}")
        dataset, key, order = self._sort_key(sort)
        rows = dataset._rows(_without_marks(dataset._plan))
        said = () if columns else [nearness_of(each, self._plan.schema) for each in found]
        shown = [name for name in dataset._shown([], columns) if name not in said]
        blurred = dataset._blur(blur, blur_unscored)
        names = dataset._read_with(shown, blurred)
        tables: list[pa.Table] = []
        groups: list[Group] = []
        for each in [level] if level is not None else found:
            picked, some = Duplicates.of(rows, each).pick(n, most, names, (key, order) if key else None)
            start = sum(len(table) for table in tables)
            tables.append(picked.table)
            groups += [dataclasses.replace(g, places=tuple(start + place for place in g.places)) for g in some]
        table = pa.concat_tables(tables, promote_options="default")
        return Gallery(
            "Groups of duplicates", rows.picked(table), shown, blurred, groups, "No sample is marked as a duplicate."
        )

    def _show_first(
        self, n: int, by: str | None, columns: Sequence[str] | None, seed: int | None, blur: tuple[float | None, bool]
    ) -> Gallery:
        """The first samples, or some drawn at random, of all or of each source; nothing else is read."""
        rows = self._rows_unsettled()
        shown, blurred = self._shown([], columns), self._blur(*blur)
        sources: dict[str, list[int]] = {}
        for place, shard in enumerate(self._shards):
            sources.setdefault(shard.source if by else "", []).append(place)
        tables, groups, start = [], [], 0
        for source, numbers in sources.items():
            order = numbers if seed is None else np.random.default_rng(seed).permutation(numbers).tolist()
            tables.append(rows.first(self._read_with(shown, blurred), n, order, seed))
            groups.append(Group(source, tuple(range(start, start := start + len(tables[-1])))))
        title = ("Samples" if seed is None else "Samples drawn at random") + (f", by {by}" if by else "")
        picked = rows.picked(pa.concat_tables(tables))
        return Gallery(title, picked, shown, blurred, groups if by else (), self._empty())

    def _sort_key(self, sort: str | None) -> tuple[Self, str | None, Order]:
        """A dataset with the column to sort by, its name, and the order."""
        if sort is None:
            return self, None, "descending"
        is_reverse = isinstance(sort, str) and sort.startswith("-") and sort not in self._plan.schema
        dataset, column = self._column(sort[1:] if is_reverse else sort)
        kind = dataset._plan.schema[column]
        if pa.types.is_nested(kind):
            raise ParameterError(f"{column!r} holds {kind}, which has no order")
        return dataset, column, "ascending" if is_reverse else "descending"


def _ordered(column: str | None, order: Order) -> str:
    return f"{'largest' if order == 'descending' else 'smallest'} {column} first"


def _without_marks(plan: Plan) -> Plan:
    """The plan without filters that look at the marks of duplicates."""

    def looks_at_marks(step: Any) -> bool:
        return isinstance(step, FilterStep) and any(name.endswith(DUPLICATE_OF) for name in step.expression.columns)

    return dataclasses.replace(plan, steps=tuple(step for step in plan.steps if not looks_at_marks(step)))
