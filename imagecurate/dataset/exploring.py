"""Looking at pictures: galleries, duplicates, two samples beside each other, look-alikes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.columns import DUPLICATE_OF, SAMPLE_ID, SOURCE, Frame
from imagecurate.dataset.asking import check_count, share_of
from imagecurate.dataset.choosing import Choosing
from imagecurate.errors import ParameterError, listed
from imagecurate.explore.best import VALUE, Order, groups_of
from imagecurate.explore.comparison import Comparison
from imagecurate.explore.duplicates import Duplicates, levels
from imagecurate.explore.find import locate
from imagecurate.explore.gallery import Gallery, Group
from imagecurate.explore.grouping import grouping
from imagecurate.explore.look import ALL, Look
from imagecurate.explore.lookalikes import SIMILARITY, MostAlike, embedded, file_of
from imagecurate.explore.overview import overview
from imagecurate.explore.picked import Picked
from imagecurate.explore.rows import Rows
from imagecurate.explore.shown import value
from imagecurate.explore.tiles import Blur
from imagecurate.plan.plan import Plan
from imagecurate.plan.steps import Filtering, FilterStep

__all__ = ["Exploring"]


class Exploring(Choosing):
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
            Shown below each picture; by default what the steps made.
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
        if where is not None:
            return self.filter(where).show(
                n, sort=sort, by=by, columns=columns, sample=sample, seed=seed, blur=blur, blur_unscored=blur_unscored
            )
        if sort is None and by in (None, SOURCE) and sample is None:
            return self._show_first(n, by, columns, seed, (blur, blur_unscored))
        dataset, key, order = self._sort_key(sort)
        dataset, group = dataset._column(by) if by is not None else (dataset, None)
        look = ALL if sample is None else Look(share_of(sample) or 1.0, seed=seed or 0)
        rows = dataset._rows()
        choose, names = grouping(rows, n, key, group, order, look)
        asked = [name for name in (key, group) if name is not None]
        chosen = choose.merge(rows.map("sorting" if key else "grouping", choose, asked, look))
        shown, blurred = dataset._shown(asked, columns), dataset._blur(blur, blur_unscored)
        picked = rows.pick(chosen, dataset._read_with(shown, blurred))
        groups = [Group(names(each), places, count) for each, (places, count) in groups_of(chosen).items()]
        title = "Samples" + (f", {_ordered(key, order)}" if key else "") + (f", by {group}" if group else "")
        return Gallery(title, picked, shown, blurred, groups if group else (), self._empty())

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
        found = levels(list(self._plan.schema))
        if not found:
            raise ParameterError.because(
                "no step has marked duplicates",
                "run ExactDeduplicator(), PerceptualDeduplicator() or SemanticDeduplicator(...) first",
            )
        if level is not None and level not in found:
            raise ParameterError(f"there is no level {level!r} of duplicates; the dataset has: {listed(found)}")
        dataset, key, order = self._sort_key(sort)
        rows = dataset._rows(_without_marks(dataset._plan))
        said = () if columns else [name for each in found for name in Duplicates.says(each)]
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

    def compare(
        self,
        a: str,
        b: str,
        *,
        columns: Sequence[str] | None = None,
        blur: float | None = 0.2,
        blur_unscored: bool = False,
    ) -> Comparison:
        """Show two samples beside each other, with every column and the cosine of their embeddings.

        Filters do not matter: a sample that was dropped can be compared with the one that stayed.

        Parameters
        ----------
        a, b : str
            Each a ``sample_id``, or a key that only one sample has.
        columns : list of str, optional
            By default all.
        blur, blur_unscored
            As in `show`.

        Returns
        -------
        Comparison
            With ``frame`` and ``similarity``.

        Raises
        ------
        ParameterError
            No sample is called so, or several are.
        """
        rows = self._rows_unfiltered()
        chosen = pa.concat_tables([locate(rows, a), locate(rows, b)])
        blurred = self._blur(blur, blur_unscored)
        names = list(self._plan.schema) if columns is None else self._shown([SAMPLE_ID], columns)
        return Comparison(rows.pick(chosen, [*names, *blurred.columns]), blurred)

    def nearest(
        self,
        query: Any,
        k: int = 12,
        *,
        column: str | None = None,
        sample: float | None = None,
        seed: int = 0,
        columns: Sequence[str] | None = None,
        blur: float | None = 0.2,
        blur_unscored: bool = False,
    ) -> Gallery:
        """Find the samples that are most alike to one, or to any picture, by the cosine of their embeddings.

        Embeds every sample that is not embedded yet; ``sample`` does with fewer.

        Parameters
        ----------
        query : str, path, bytes or array
            A ``sample_id``; an image file or its bytes, embedded by the stage that made the column; a key; or a vector.
        k : int, default=12
            Samples; the query itself is not counted.
        column : str, optional
            The embeddings; by default ``image_embedding``, or the only column of vectors.
        sample : float, optional
            Search a share of the rows, drawn at random, instead of all.
        seed : int, default=0
        columns, blur, blur_unscored
            As in `show`.

        Returns
        -------
        Gallery
            ``rows`` has the column ``similarity`` in front.

        Raises
        ------
        ColumnNotFoundError
            There is no column of embeddings.
        ParameterError
            The query is no sample, no picture and no vector of the right length; or a vector cannot be had of it.
        """
        check_count(k, "k")
        embeddings = self._vectors(column)
        blurred = self._blur(blur, blur_unscored)
        vector, itself, lead = self._query(query, embeddings, blurred)
        rows = self._rows()
        look = ALL if sample is None else Look(share_of(sample) or 1.0, seed=seed)
        choose = MostAlike(k + len(itself), embeddings, query=vector)
        found = choose.merge(rows.map("comparing", choose, (embeddings,), look))
        found = None if found is None else _without(found, itself).slice(0, k)
        found = None if found is None else found.filter(found[VALUE].is_valid())
        shown = self._shown([], columns)
        picked = rows.pick(found, [name for name in self._read_with(shown, blurred) if name != SIMILARITY])
        if found is not None and len(found):
            picked = dataclasses.replace(picked, table=picked.table.add_column(0, SIMILARITY, found[VALUE]))
        title = f"Most alike to {value(query) if isinstance(query, str) else 'the query'} by {embeddings}"
        return Gallery(title, picked, [SIMILARITY, *shown], blurred, (), self._empty(), lead)

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

    def _query(
        self, query: Any, column: str, blur: Blur
    ) -> tuple[NDArray[np.float32], list[tuple[int, int]], Picked | bytes | None]:
        """The vector of a query, where it lies if it is a sample, and its picture."""
        rows = self._rows_unfiltered()
        data = file_of(query)
        if data is not None:
            return embedded(rows.work.plan, column, data), [], data
        if isinstance(query, str):
            place = locate(rows, query)
            picked = rows.pick(place, self._read_with([column], blur))
            vector = picked.table[column][0].as_py()
            if vector is None:
                raise ParameterError(
                    f"the sample {query!r} has no value of {column!r}: it failed, or was never embedded"
                )
            itself = list(zip(*(place[name].to_pylist() for name in place.column_names), strict=True))
            return np.asarray(vector, np.float32), itself, picked
        try:
            vector = np.asarray(query, np.float32)
        except (TypeError, ValueError):
            vector = np.zeros(0)
        if vector.ndim != 1 or not len(vector) or not np.isfinite(vector).all():
            raise ParameterError.because(
                "a query is a sample_id, an image file, a key or a vector of finite numbers, but got "
                f"{type(query).__name__}",
                "ds.nearest('000000042'), ds.nearest('cat.jpg')",
            )
        return vector, [], None

    def _rows_unfiltered(self) -> Rows:
        steps = tuple(step for step in self._plan.steps if not isinstance(step, Filtering))
        return self._rows_unsettled(dataclasses.replace(self._plan, steps=steps))

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

    def _empty(self) -> str:
        filters = [step.title[1] for step in self._plan.steps if isinstance(step, Filtering)]
        if not filters:
            return "There is no sample to show."
        return f"No sample passes: {listed(filters)}. ds.counts() says how many each of them dropped."


def _ordered(column: str | None, order: Order) -> str:
    return f"{'largest' if order == 'descending' else 'smallest'} {column} first"


def _without_marks(plan: Plan) -> Plan:
    """The plan without filters that look at the marks of duplicates."""

    def looks_at_marks(step: Any) -> bool:
        return isinstance(step, FilterStep) and any(name.endswith(DUPLICATE_OF) for name in step.expression.columns)

    return dataclasses.replace(plan, steps=tuple(step for step in plan.steps if not looks_at_marks(step)))


def _without(found: pa.Table, places: list[tuple[int, int]]) -> pa.Table:
    """Rows that lie elsewhere than at some places."""
    numbers, positions = (found[name].to_pylist() for name in ("_shard_number", "_position"))
    return found.filter(pa.array([place not in places for place in zip(numbers, positions, strict=True)], pa.bool_()))
