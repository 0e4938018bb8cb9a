"""Choosing thresholds: histograms, yield curves, filters that keep a share; and maps of embeddings."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Self

from imagecurate.dataset.asking import Asking
from imagecurate.errors import ParameterError
from imagecurate.explore.arguments import check_count, check_keep, check_seed, share_of, threshold_of
from imagecurate.explore.basis import collect
from imagecurate.explore.best import Around, Slots, groups_of
from imagecurate.explore.chart import evenly
from imagecurate.explore.embedding_map import EmbeddingMap, drawn_rows
from imagecurate.explore.gallery import Group
from imagecurate.explore.histogram import SLOTS, Histogram, edges_of
from imagecurate.explore.thresholds import Thresholds, condition
from imagecurate.explore.wording import number, share

__all__ = ["Choosing"]

_log = logging.getLogger("imagecurate.dataset")

#: A kept share that is off by more than this is told.
_TOLD = 0.001
#: More bars than a screen has dots.
_MOST_BINS = 1_000


class Choosing(Asking):
    """The methods that help to choose a threshold."""

    def hist(
        self,
        column: str,
        threshold: float | None = None,
        *,
        bins: int = 40,
        sample: float | None = None,
        seed: int = 0,
        blur: float | None = 0.2,
        blur_unscored: bool = False,
    ) -> Histogram:
        """Draw the distribution of a column, with pictures along its axis.

        Parameters
        ----------
        column : str
            A column of numbers, or an expression: ``"width / height"``.
        threshold : float, optional
            Drawn as a line; what has at least this value is counted.
        bins : int, default=40
            At most 1,000; whole numbers that are few get one each.
        sample : float, optional
            Share of the rows to look at, above 0, at most 1.  By default what is known without decoding a picture,
            where that is a thousand rows or all, and else 1 %, or a thousand rows.  What is computed for it stays in
            the store.
        seed : int, default=0
            The same rows are drawn by the same seed, and by a larger share the same and more.
        blur, blur_unscored
            As in `show`.

        Returns
        -------
        Histogram
            With ``edges``, ``counts``, ``frame``; shown in a notebook, printed in a terminal, ``save(path)`` writes it.

        Raises
        ------
        ColumnNotFoundError, ParameterError
            There is no such column, or it holds no numbers.
        """
        check_count(bins, "bins", most=_MOST_BINS)
        check_seed(seed)
        threshold = threshold_of(threshold)
        dataset, column, _ = self._quantity(column)
        rows = dataset._rows()
        basis = collect(rows, column, share_of(sample), seed)
        edges = edges_of(basis.total, bins)
        picked, slots, blurred = None, (), dataset._blur(blur, blur_unscored)
        if len(edges):
            bounds = tuple(evenly(edges[0], edges[-1], SLOTS + 1).tolist())
            choose = Slots(1, group=column, order="ascending", edges=bounds)
            chosen = choose.merge(rows.map("choosing pictures", choose, (column,), basis.look))
            picked = rows.pick(chosen, dataset._read_with([column], blurred))
            slots = tuple(groups_of(chosen))
        return Histogram(column, edges, basis, threshold, picked, slots, blurred)

    def thresholds(
        self,
        column: str,
        threshold: float | None = None,
        *,
        keep: float = 0.3,
        highest: bool = True,
        n: int = 6,
        sample: float | None = None,
        seed: int = 0,
        columns: Sequence[str] | None = None,
        blur: float | None = 0.2,
        blur_unscored: bool = False,
    ) -> Thresholds:
        """Show what thresholds on a column keep, and the samples nearest to the line.

        Parameters
        ----------
        column : str
            A column of numbers, or an expression.
        threshold : float, optional
            The line; by default the one that keeps the share ``keep``.
        keep : float, default=0.3
            Above 0, at most 1.  Shares are of all samples that have not failed, those without a value included, which
            no threshold keeps.
        highest : bool, default=True
            Keep values of at least the threshold; with False those of at most, as of an NSFW score.
        n : int, default=6
            Samples to show on either side of the line.
        sample, seed
            As in `hist`.
        columns, blur, blur_unscored
            As in `show`.

        Returns
        -------
        Thresholds
            With ``threshold``, ``share``, ``at(keep)``, ``targets``, ``curve``, ``kept``, ``dropped`` and
            ``expression`` for a filter.

        Raises
        ------
        ColumnNotFoundError, ParameterError
            There is no such column, or it holds no numbers; or an argument is out of range.
        """
        check_count(n, "n")
        check_seed(seed)
        check_keep(keep)
        threshold = threshold_of(threshold)
        dataset, column, written = self._quantity(column)
        rows = dataset._rows()
        basis = collect(rows, column, share_of(sample), seed)
        line = basis.total.threshold(float(keep), highest=highest) if threshold is None else threshold
        choose = Around(n, column, order="ascending", threshold=line, highest=highest)
        chosen = choose.merge(rows.map("choosing pictures", choose, (column,), basis.look))
        shown, blurred = dataset._shown([column], columns), dataset._blur(blur, blur_unscored)
        picked = rows.pick(chosen, dataset._read_with(shown, blurred))
        names = {True: "Just kept", False: "Just dropped"}
        sides = {bool(kept): Group(names[bool(kept)], places) for kept, (places, _) in groups_of(chosen).items()}
        return Thresholds(
            column, line, basis, written, dataset._is_truth(column), highest, picked, sides, shown, blurred
        )

    def filter_fraction(
        self,
        column: str,
        keep: float = 0.3,
        *,
        highest: bool = True,
        name: str | None = None,
        sample: float | None = None,
        seed: int = 0,
    ) -> Self:
        """Keep the share of the samples with the highest values of a column: a filter at the threshold that does so.

        Computes the column now, since the threshold depends on every value; the filter itself is an ordinary one.  The
        log says what it keeps where that is another share: samples with the same value are kept or dropped together,
        and kept where the share ends among them, and those without a value are never kept.

        Parameters
        ----------
        column : str
            A column of numbers, or an expression.
        keep : float, default=0.3
            Above 0, at most 1; of the samples that come to the filter and have not failed.
        highest : bool, default=True
            With False the lowest values are kept.
        name : str, optional
            What the ledger calls the filter; by default ``<column>: highest 30 %``.
        sample : float, optional
            Tell the threshold from a share of the rows, drawn at random, instead of all.
        seed : int, default=0

        Raises
        ------
        ColumnNotFoundError, ParameterError
            There is no such column, it holds no numbers, or no sample has a value; or an argument is out of range.
        """
        check_keep(keep)
        check_seed(seed)
        dataset, column, written = self._quantity(column)
        basis = collect(dataset._rows(), column, 1.0 if sample is None else share_of(sample), seed)
        total = basis.total
        if not len(total.values):
            raise ParameterError.because(
                f"no sample has a value of {column!r}, so there is no threshold that keeps a share ({basis})",
                "ds.counts() says where samples were dropped or failed",
            )
        line = total.threshold(keep, highest=highest)
        kept, tied = total.reaching(line, highest=highest), int(total.counts[total.values == line].sum())
        text = condition(written, line, highest=highest, is_truth=dataset._is_truth(column))
        if abs(kept - keep * total.rows) > max(1, _TOLD * total.rows) or total.nulls or not basis.complete:
            about = "" if basis.complete else "about "
            _log.warning(
                "%s keeps %s%s of the samples (asked for: %g %%): %d have exactly the value %s, %d have none; told "
                "from %s", text, about, share(kept, total.rows), 100 * keep, tied, number(line), total.nulls, basis,
            )  # fmt: skip
        return self.filter(text, name or f"{column}: {'highest' if highest else 'lowest'} {100 * keep:g} %")

    def embedding_map(
        self,
        color: str | None = None,
        *,
        n: int = 1_000,
        column: str | None = None,
        sample: float | None = None,
        seed: int = 0,
        pictures: int = 200,
        blur: float | None = 0.2,
        blur_unscored: bool = False,
    ) -> EmbeddingMap:
        """Draw embeddings in the plane of their two main directions (PCA); pictures show where one points.

        Parameters
        ----------
        color : str, optional
            A column, or an expression, that colours the dots.
        n : int, default=1000
            Samples, drawn at random.
        column : str, optional
            The embeddings; by default ``image_embedding``, or the only column of vectors.
        sample : float, optional
            Share of the rows to draw them from; by default what is known without decoding a picture, where that is
            enough, and else as many rows as are needed.
        seed : int, default=0
        pictures : int, default=200
            Dots that show their picture; about 5 kB each.
        blur, blur_unscored
            As in `show`; such a picture shows only its colours.

        Returns
        -------
        EmbeddingMap
            With ``points``, ``frame`` and ``explained``.

        Raises
        ------
        ColumnNotFoundError
            There is no such column, or none of vectors.
        """
        check_count(n, "n")
        check_count(pictures, "pictures", least=0)
        check_seed(seed)
        embeddings = self._vectors(column)
        dataset, color = (self, None) if color is None else self._column(color)
        rows = dataset._rows()
        found = drawn_rows(rows, embeddings, n, share_of(sample), seed)
        blurred = dataset._blur(blur, blur_unscored)
        picked = rows.pick(found.merged, dataset._read_with([embeddings, *([color] if color else [])], blurred))
        return EmbeddingMap(embeddings, picked, color, pictures, blurred)
