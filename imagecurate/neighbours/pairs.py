"""Pairs of vectors within a cosine, found once and resolved as often as wanted."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from imagecurate.errors import ParameterError
from imagecurate.neighbours.arrange import Order
from imagecurate.neighbours.compare import compare_cells
from imagecurate.neighbours.files import save_array
from imagecurate.neighbours.layout import Layout, build_layout
from imagecurate.neighbours.planner import Plan, PlanName, choose
from imagecurate.neighbours.request import check_eps, check_ranks, check_request, claim
from imagecurate.neighbours.resolve import Outcome, StoredPairs, keepers
from imagecurate.neighbours.sample import FIT_SAMPLE, draw_sample
from imagecurate.neighbours.search import Near, Side
from imagecurate.neighbours.vectors import Run, Vectors, cosine, farthest, one_after_the_other
from imagecurate.store import write_atomically

__all__ = ["CosinePairs", "Shares", "plan_only"]

#: Pairs of which cosines are made at a time.
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Shares:
    """Pairs of rows, and how many of them were compared."""

    compared: int
    pairs: int

    @property
    def share(self) -> float:
        """Compared, of all."""
        return self.compared / self.pairs if self.pairs else 0.0


@dataclass(frozen=True)
class CosinePairs:
    """All pairs of vectors with a cosine of at least ``1 - eps``, or for crowds as many as are needed.

    For each vector its ``most`` best-ranked earlier neighbours are stored, and whether there were more.  What was left
    out is compared again where an outcome depends on it, so outcomes are exact.  Made by :meth:`find`.
    """

    folder: Path
    #: Number of rows.
    n: int
    eps: float
    plan: Plan
    shares: Shares
    #: Whether pairs in two cells are found.
    exact: bool
    #: None where no row has a vector.
    layout: Layout | None
    #: None where nothing was compared.
    _pairs: StoredPairs | None

    @classmethod
    def find(
        cls,
        vectors: Vectors,
        *,
        eps: float,
        folder: Path,
        ranks: Order,
        run: Run = one_after_the_other,
        within: NDArray[np.int64] | None = None,
        exact: bool = True,
        n_clusters: int | Literal["auto"] = "auto",
        max_iter: int = 10,
        random_state: int = 0,
        fit_sample: int = FIT_SAMPLE,
        max_pairs_per_row: int = 64,
        plan: PlanName | Literal["auto"] = "auto",
        compare: bool = True,
    ) -> CosinePairs:
        """Find the pairs.

        Parameters
        ----------
        vectors : Vectors
            n rows.  Those that are null, zero or not finite have no neighbours.
        eps : float
            Between 0 and 1.
        folder : Path
            For files, of this one request on these vectors; what is there is not computed again.
        ranks : array of shape (n,), int64, or "hard" or "easy"
            Order in which rows are preferred, 0 first; a permutation.  Or by the distance to the centroid of the cell:
            farthest or nearest first, and by the row where these are equal.
        run : Run
            Runs the tasks.
        within : array of shape (n,), int64, optional
            Group of each row: only rows of one group are compared.  Those with -1 are in none, and have no neighbours.
        exact : bool, default=True
            False misses pairs that are in two cells.
        n_clusters : int or "auto"
            Cells, where the plan has them.
        max_iter, random_state, fit_sample
            Of the k-means: passes over the sample at most, the seed, rows of the sample.
        max_pairs_per_row : int, default=64
        plan : "auto", "brute", "prefix" or "cells"
            How to compare; the cheapest by default.  The outcome is the same.
        compare : bool, default=True
            False only moves the vectors, for others to be compared with: all that `against` wants of a reference.
            What was moved need not be moved again when pairs are wanted after all.

        Raises
        ------
        ParameterError
            An argument is out of its range, or the folder holds the pairs of another request.
        """
        n = sum(vectors.sizes)
        check_request(n, eps, ranks, within, n_clusters, fit_sample=fit_sample, max_pairs_per_row=max_pairs_per_row)
        fit: dict[str, Any] = {
            "n_clusters": n_clusters,
            "max_iter": max_iter,
            "random_state": random_state,
            "exact": exact,
        }
        claim(folder, ranks, within, n=n, eps=eps, fit_sample=fit_sample, most=max_pairs_per_row, plan=plan, **fit)
        if isinstance(ranks, str) and plan == "auto":
            plan = "cells"  # which are needed in any case
        prepared = _prepare(vectors, folder, eps, fit_sample, run, name=plan, **fit)
        pairs_in_all = n * (n - 1) // 2
        if prepared is None:
            nothing = StoredPairs([], np.zeros(0, bool), max_pairs_per_row)
            return cls(folder, n, eps, Plan(n, 0, 0, (), "brute"), Shares(0, pairs_in_all), exact, None, nothing)
        chosen, axes, centroids = prepared
        layout = build_layout(
            vectors,
            folder,
            run,
            d=chosen.d,
            order=ranks,
            groups=within,
            axes=axes,
            centroids=centroids,
            border=farthest(eps) if exact and centroids is not None else None,
            on=chosen.device,
        )
        pairs, compared = compare_cells(layout, eps, max_pairs_per_row, run) if compare else (None, 0)
        return cls(folder, n, eps, chosen, Shares(compared, pairs_in_all), exact, layout, pairs)

    def resolve(self, ranks: NDArray[np.int64] | None = None, eps: float | None = None) -> Outcome:
        """Keep each row that is near no better-ranked row that is kept.

        Parameters
        ----------
        ranks : array of shape (n,), int64, optional
            Those that pairs were found with by default.  With others, rows of crowds are compared again.
        eps : float, optional
            No greater than that which pairs were found with, which is the default.
        """
        eps = self.eps if eps is None else eps
        if not 0 <= eps <= self.eps + 1e-12:
            raise ParameterError.because(
                f"pairs were found with eps {self.eps!r}, and do not say who is within {eps!r}",
                f"find them with eps={eps!r}",
            )
        keeper, similarity = np.full(self.n, -1, np.int64), np.full(self.n, np.nan, np.float32)
        layout = self.layout
        if layout is None:
            return Outcome(keeper, similarity)
        if self._pairs is None:
            raise ParameterError.because("vectors were moved, but not compared", "find them with compare=True")
        ranks = np.asarray(layout.row_ranks if ranks is None else ranks)
        check_ranks(self.n, ranks)
        # the best row of each node, and the nodes by its rank
        rows = np.flatnonzero(layout.row_nodes >= 0)
        rows = rows[np.argsort(ranks[rows])]
        _, first = np.unique(layout.row_nodes[rows], return_index=True)
        best = rows[first]
        order = np.argsort(first)  # positions by place
        old_places = np.asarray(layout.places)
        same = bool((old_places[order] == np.arange(len(order))).all())
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="resolve-") as scratch:
            pairs = self._pairs
            if not same:
                new = np.empty(len(order), np.int64)
                new[old_places[order]] = np.arange(len(order))
                pairs = pairs.reordered(new, Path(scratch))
            comparer = _Nodes(layout, order, eps, _territories(layout, self.exact))
            kept_by = keepers(pairs, comparer.near_enough, comparer, other_order=not same)
        node_keeper = np.full(len(order), -1, np.int64)
        dropped = kept_by >= 0
        node_keeper[order[dropped]] = order[kept_by[dropped]]
        node = layout.row_nodes[rows]
        keeper[rows] = np.where(node_keeper[node] >= 0, best[node_keeper[node]], best[node])
        keeper[rows[keeper[rows] == rows]] = -1
        copies = (keeper >= 0) & (layout.row_nodes == layout.row_nodes[keeper])
        similarity[copies] = 1
        other = np.flatnonzero((keeper >= 0) & ~copies)
        similarity[other] = comparer.cosine(layout.row_nodes[other], layout.row_nodes[keeper[other]])
        return Outcome(keeper, similarity)

    def dropped(self, ranks: NDArray[np.int64] | None, thresholds: Sequence[float]) -> list[int]:
        """Count the rows that each threshold of similarity would drop; none of them is below ``1 - eps``."""
        # 1 - 0.9 is a little less than 0.1, and may as well be a little more
        return [self.resolve(ranks, round(1 - threshold, 12)).dropped for threshold in thresholds]


def plan_only(
    vectors: Vectors,
    eps: float,
    *,
    run: Run = one_after_the_other,
    exact: bool = True,
    n_clusters: int | Literal["auto"] = "auto",
    max_iter: int = 10,
    random_state: int = 0,
    fit_sample: int = FIT_SAMPLE,
    plan: PlanName | Literal["auto"] = "auto",
) -> Plan:
    """Look at a sample and say how :meth:`CosinePairs.find` would compare."""
    check_eps(eps)
    n = sum(vectors.sizes)
    sample = draw_sample(vectors, fit_sample, random_state, run)
    if sample is None:
        return Plan(n, 0, 0, (), "brute")
    fit: dict[str, Any] = {"n_clusters": n_clusters, "max_iter": max_iter, "random_state": random_state, "exact": exact}
    return choose(sample, n, eps, name=plan, **fit)[0]


@dataclass(frozen=True)
class _Nodes:
    """Nodes by their places in an order."""

    layout: Layout
    #: Position of the node at each place.
    order: NDArray[np.int64]
    eps: float
    #: Of the node at each position; those of different territories are not compared.  None where there is only one.
    territories: NDArray[np.int64] | None

    @property
    def near(self) -> Near:
        return Near(1 - self.eps, self.layout.d)

    def side(self, places: NDArray[np.int64]) -> Side:
        return Side(self.layout.vectors, self.layout.prefixes, self.order[places], places)

    def __call__(
        self, places: NDArray[np.int64], among: NDArray[np.int64], most: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self.territories is None:
            return self._compared(places, among, most)
        mine, others = (self.territories[self.order[each]] for each in (places, among))
        pairs = [self._compared(places[mine == each], among[others == each], most) for each in np.unique(mine)]
        x, y = (np.concatenate(each) for each in zip((places[:0], places[:0]), *pairs, strict=True))
        return x, y

    def _compared(
        self, places: NDArray[np.int64], among: NDArray[np.int64], most: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        found = self.layout.earlier_neighbours(self.side(places), self.side(among), self.near, most)
        return places[found.x], among[found.y]

    def near_enough(self, pairs: NDArray[Any]) -> NDArray[np.bool_]:
        everyone = self.side(np.arange(len(self.order)))
        return self.near.decide(everyone, everyone, pairs["later"], pairs["earlier"], pairs["nearness"].copy())

    def cosine(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        out = np.empty(len(left))
        for start in range(0, len(left), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            out[block] = cosine(self.layout.vectors[left[block]], self.layout.vectors[right[block]])
        return out


def _territories(layout: Layout, exact: bool) -> NDArray[np.int64] | None:
    cells = len(layout.cell_groups)
    of_cells = np.asarray(layout.cell_groups) if exact else np.arange(cells)
    return None if len(np.unique(of_cells)) <= 1 else np.repeat(of_cells, np.diff(layout.offsets))


def _prepare(
    vectors: Vectors, folder: Path, eps: float, fit_sample: int, run: Run, *, random_state: int, **request: Any
) -> tuple[Plan, NDArray[np.float64] | None, Path | None] | None:
    """Make the plan and what it needs, or read what an earlier run made; None where no row has a vector."""
    written, axes_file, centroids_file = folder / "plan.json", folder / "axes.npy", folder / "centroids.npy"
    if not written.exists():
        sample = draw_sample(vectors, fit_sample, random_state, run)
        if sample is None:
            return None
        plan, axes, centroids = choose(sample, sum(vectors.sizes), eps, random_state=random_state, **request)
        if axes is not None:
            save_array(axes_file, axes)
        if centroids is not None:
            save_array(centroids_file, centroids.points)
        write_atomically(written, lambda temporary: temporary.write_text(plan.to_json()))
    plan = Plan.from_json(written.read_text())
    axes = np.load(axes_file) if plan.option.width < plan.d else None
    return plan, axes, centroids_file if plan.chosen == "cells" else None
