"""Samples beside each other: two of them, or those that are most alike to one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.columns import SAMPLE_ID
from imagecurate.dataset.choosing import Choosing
from imagecurate.errors import ParameterError
from imagecurate.explore.arguments import check_count, check_seed, share_of
from imagecurate.explore.best import VALUE
from imagecurate.explore.blur import Blur
from imagecurate.explore.comparison import Comparison
from imagecurate.explore.find import locate
from imagecurate.explore.gallery import Gallery
from imagecurate.explore.look import ALL, Look
from imagecurate.explore.lookalikes import SIMILARITY, MostAlike, embedded, file_of
from imagecurate.explore.picked import Picked
from imagecurate.explore.rows import Rows
from imagecurate.explore.shown import value
from imagecurate.plan.steps import Filtering

__all__ = ["Comparing"]


class Comparing(Choosing):
    """The methods that put samples beside each other."""

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
        check_seed(seed)
        look = ALL if sample is None else Look(share_of(sample) or 1.0, seed=seed)
        embeddings = self._vectors(column)
        blurred = self._blur(blur, blur_unscored)
        vector, itself, lead = self._query(query, embeddings, blurred)
        rows = self._rows()
        choose = MostAlike(k + len(itself), embeddings, query=vector)
        found = choose.merge(rows.map("comparing", choose, (embeddings,), look))
        found = None if found is None else _without(found, itself).slice(0, k)
        found = None if found is None else found.filter(found[VALUE].is_valid())
        shown = self._shown([], columns)
        picked = rows.pick(found, [name for name in self._read_with(shown, blurred) if name != SIMILARITY])
        if found is not None and len(found):
            picked = dataclasses.replace(picked, table=picked.table.add_column(0, SIMILARITY, found[VALUE]))
        title = f"Most alike to {value(query) if isinstance(query, str) else 'the query'} by {embeddings}"
        return Gallery(title, picked, [SIMILARITY, *shown], blurred, (), self._empty(look), lead)

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
            given = picked.table[column][0].as_py()
            if given is None:
                raise ParameterError(
                    f"the sample {query!r} has no value of {column!r}: it failed, or was never embedded"
                )
            vector = np.array(given, np.float32)  # null inside becomes NaN
            if not _has_direction(vector):
                raise ParameterError(f"the vector of the sample {query!r} is empty, zero, or not of finite numbers")
            itself = list(zip(*(place[name].to_pylist() for name in place.column_names), strict=True))
            return vector, itself, picked
        try:
            vector = np.asarray(query, np.float32)
        except (TypeError, ValueError):
            vector = np.zeros(0, np.float32)
        if not _has_direction(vector):
            raise ParameterError.because(
                "a query is a sample_id, an image file, a key or a vector of finite numbers that are not all 0, but "
                f"got {type(query).__name__}",
                "ds.nearest('000000042'), ds.nearest('cat.jpg')",
            )
        return vector, [], None

    def _rows_unfiltered(self) -> Rows:
        steps = tuple(step for step in self._plan.steps if not isinstance(step, Filtering))
        return self._rows_unsettled(dataclasses.replace(self._plan, steps=steps))


def _has_direction(vector: NDArray[np.float32]) -> bool:
    return vector.ndim == 1 and bool(np.isfinite(vector).all() and vector.any())


def _without(found: pa.Table, places: list[tuple[int, int]]) -> pa.Table:
    """Rows that lie elsewhere than at some places."""
    numbers, positions = (found[name].to_pylist() for name in ("_shard_number", "_position"))
    return found.filter(pa.array([place not in places for place in zip(numbers, positions, strict=True)], pa.bool_()))
