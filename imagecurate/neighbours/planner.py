"""How to compare: which exact way costs least, by what a sample of the vectors shows.

All ways give the same answer.  They are two choices: the width of the prefixes that bound a product from above (whole
vectors at worst), and whether cells keep vectors apart.  Costs are multiplications, counted and not timed, so that the
choice for the same input is the same on every machine.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imagecurate.backend.clusters import Device, best_device, clusters_on
from imagecurate.backend.cpu_clusters import one_blas_thread
from imagecurate.backend.machines import machine_of_run
from imagecurate.neighbours.cells import Centroids, automatic_cells
from imagecurate.neighbours.search import prefixes
from imagecurate.neighbours.vectors import farthest

__all__ = ["Option", "Plan", "PlanName", "choose"]

PlanName = Literal["brute", "prefix", "cells"]

#: Widths that are tried: with the length of the rest, rows of prefixes begin at multiples of their size.
WIDTHS = (15, 31, 63, 127, 255)
#: Rows of the sample of which all pairs are looked at, and those whose borders are.
PAIR_ROWS, BORDER_ROWS = 2048, 16_384
#: Rows so few that looking at a sample takes longer than comparing all.
FEW_ROWS = 4096
#: Rows so many that a GPU is worth its start and the kernels' compilation, some seconds.
DEVICE_ROWS = 50_000


@dataclass(frozen=True)
class Costs:
    """What things cost beside a multiplication and addition of the products that nearly all of the work is."""

    #: A product, compared with the threshold.
    product: float
    #: A candidate, gathered and looked at alone.
    candidate: float
    #: An entry of a border row, and a pair of cells.
    entry: float
    cell: float
    #: A multiplication and addition where cells are fitted and rows put into them.
    assign: float


#: On one core of an EPYC 9005, which makes about 60 billion a second (measured), and on an H200 at about 400,000
#: billion beside some cores, which put rows into cells (estimated).
COSTS: dict[Device, Costs] = {
    "cpu": Costs(product=12, candidate=60_000, entry=20_000, cell=20_000_000, assign=1),
    "cuda": Costs(product=32, candidate=6e6, entry=1.3e8, cell=1e9, assign=500),
}
#: Passes over the sample after which mini-batch k-means usually stops.
FIT_PASSES = 4


@dataclass(frozen=True)
class Option:
    """One exact way to compare, and what it is predicted to cost."""

    name: PlanName
    #: Coordinates of the prefixes; all of them where whole vectors are compared.
    width: int
    cells: int
    #: Pairs compared, of all pairs.
    share: float
    #: Pairs looked at one by one, of all pairs.
    candidates: float
    #: Relative to brute force.
    cost: float


@dataclass(frozen=True)
class Plan:
    """What the planner looked at, and what it chose.

    >>> print(Plan(1000, 64, 0, (Option("brute", 64, 1, 1.0, 0.0, 1.0),), "brute"))
    1,000 vectors of length 64, of which a sample of 0 was looked at
    * brute    whole vectors, 1 cell: 100 % of the pairs, cost 1
    """

    rows: int
    d: int
    sample: int
    options: tuple[Option, ...]
    chosen: PlanName
    #: Where vectors are compared.
    device: Device = "cpu"

    @property
    def option(self) -> Option:
        """The way that was chosen."""
        return next(option for option in self.options if option.name == self.chosen)

    def __str__(self) -> str:
        where = ", compared on a GPU" if self.device == "cuda" else ""
        lines = [f"{self.rows:,} vectors of length {self.d}{where}, of which a sample of {self.sample:,} was looked at"]
        for each in self.options:
            width = "whole vectors" if each.width == self.d else f"{each.width} coordinates"
            cells = f"{each.cells:,} cell" + "s" * (each.cells != 1)
            mark = "*" if each.name == self.chosen else " "
            share = f"{100 * each.share:.3g} % of the pairs"
            lines.append(f"{mark} {each.name:<8} {width}, {cells}: {share}, cost {each.cost:.3g}")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Write the plan down."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a plan that was written down."""
        fields = json.loads(text)
        return cls(**fields | {"options": tuple(Option(**each) for each in fields["options"])})


def choose(
    sample: NDArray[np.float32],
    rows: int,
    eps: float,
    *,
    name: PlanName | Literal["auto"] = "auto",
    n_clusters: int | Literal["auto"] = "auto",
    max_iter: int = 10,
    random_state: int = 0,
    exact: bool = True,
    device: Device | Literal["auto"] = "auto",
) -> tuple[Plan, NDArray[np.float64] | None, Centroids | None]:
    """Choose how to compare.

    Parameters
    ----------
    sample : array of shape (s, d), float32
        Unit vectors in no particular order.
    rows : int
        Vectors in all.
    eps : float
    name : "brute", "prefix", "cells" or "auto"
        A way to take whatever it costs, or the cheapest.
    n_clusters, max_iter, random_state
        Of the cells.
    exact : bool, default=True
        False compares within cells alone.
    device : "cpu", "cuda" or "auto"
        Where to compare: by default on a GPU where workers have one, and enough to do.  Centroids and axes are fitted
        in this process, on its own GPU if it has one.

    Returns
    -------
    plan : Plan
    axes : array of shape (d, width), float64, or None
        Of the prefixes.
    centroids : Centroids or None
    """
    d = sample.shape[1]
    brute = Option("brute", d, 1, 1.0, 0.0, 1.0)
    if device == "auto":
        device = machine_of_run().device if rows >= DEVICE_ROWS else "cpu"
    if exact and (name == "brute" or (name == "auto" and rows <= FEW_ROWS)):
        return Plan(rows, d, 0, (brute,), "brute", device), None, None
    measured = _Measured(sample, rows, eps, device)
    costs = COSTS[device]
    options = [brute]
    width, candidates = measured.best_width(1.0)
    if width < d:
        options.append(measured.option("prefix", width, 1, 1.0, candidates, 0.0))
    elif name == "prefix" and d > 1:
        width = max((each for each in WIDTHS if each < d), default=d - 1)
        options.append(measured.option("prefix", width, 1, 1.0, measured.candidates(width), 0.0))

    k = automatic_cells(rows) if n_clusters == "auto" else n_clusters
    k = max(1, min(k, len(sample)))
    fit = costs.assign * float(FIT_PASSES * len(sample) + rows) * k * d  # and assigning the rows
    centroids = None
    if not exact or name == "cells" or (name == "auto" and fit < measured.cost(options[-1])):
        k_means = measured.fitting.k_means
        centroids = Centroids.of(k_means(sample, k, max_iter=max_iter, random_state=random_state))
        share, pairs_of_cells, entries = measured.cells(centroids, exact)
        width, within = measured.best_width(share)
        extra = fit + entries * costs.entry + pairs_of_cells * costs.cell
        options.append(measured.option("cells", width, len(centroids.points), share, within, extra))
    chosen = min(options, key=lambda option: option.cost).name if name == "auto" else name
    if not exact:
        chosen = "cells"
    if chosen not in {option.name for option in options}:  # vectors of length 1 have no shorter prefix
        chosen = "brute"
    plan = Plan(rows, d, len(sample), tuple(options), chosen, device)
    width = plan.option.width
    return plan, None if width == d else measured.axes[:, :width], centroids if chosen == "cells" else None


class _Measured:
    """What the sample shows."""

    def __init__(self, sample: NDArray[np.float32], rows: int, eps: float, device: Device) -> None:
        self.sample, self.rows, self.eps, self.costs = sample, rows, eps, COSTS[device]
        self.d: int = sample.shape[1]
        self.fitting = clusters_on(best_device() if device == "cuda" else "cpu")
        self.axes = self.fitting.principal_axes(sample)
        self.pairs: float = max(rows, 1) * max(rows - 1, 1) / 2
        self._candidates: dict[int, float] = {}

    def candidates(self, width: int) -> float:
        """Share of all pairs whose prefixes do not tell them apart, less those that are near indeed."""
        if width >= self.d:
            return 0.0
        if width not in self._candidates:
            few = self.sample[:PAIR_ROWS]
            passed = 0
            with one_blas_thread():
                reduced = prefixes(few, self.axes[:, :width])
                for start in range(0, len(few), 512):
                    block = slice(start, start + 512)
                    possible = reduced[block] @ reduced.T >= 1 - self.eps
                    flat = np.flatnonzero(possible)
                    if len(flat) > possible.size // 50:  # hopeless, or crowds
                        possible &= few[block] @ few.T < 1 - self.eps
                        passed += int(np.count_nonzero(possible))
                    else:
                        left, right = np.divmod(flat, len(few))
                        near = np.einsum("ij,ij->i", few[block][left], few[right]) >= 1 - self.eps
                        passed += int(np.count_nonzero(~near))
            self._candidates[width] = passed / max(len(few) * (len(few) - 1), 1)
        return self._candidates[width]

    def best_width(self, share: float) -> tuple[int, float]:
        """The width that costs least where a share of all pairs is compared, and its candidates."""
        costs = {self.d: share * (self.d + self.costs.product)}
        for width in WIDTHS:
            if width < self.d:
                # all candidates may well be among the share that is compared: they are the nearest
                costs[width] = share * (width + self.costs.product) + self._looked_at(width, share)
        width = min(costs, key=lambda each: costs[each])
        return width, self.candidates(width)

    def _looked_at(self, width: int, share: float) -> float:
        return self.costs.candidate * float(min(self.candidates(width), share))

    def option(self, name: PlanName, width: int, cells: int, share: float, candidates: float, extra: float) -> Option:
        """Put a way and its cost together."""
        whole = self.pairs * (self.d + self.costs.product)
        looked_at = 0.0 if width == self.d else self._looked_at(width, share)
        cost = self.pairs * (share * (width + self.costs.product) + looked_at) + extra
        return Option(name, width, cells, share, min(candidates, share), cost / whole)

    def cost(self, option: Option) -> float:
        """The cost of a way in multiplications."""
        return option.cost * self.pairs * (self.d + self.costs.product)

    def cells(self, centroids: Centroids, exact: bool) -> tuple[float, float, float]:
        """Share of all pairs that cells and borders leave, pairs of cells that touch, and entries of border rows."""
        few = self.sample[:BORDER_ROWS]
        with one_blas_thread():
            assigned = centroids.assign(few, farthest(self.eps) if exact else None)
        k, s = len(centroids.points), len(few)
        sizes = np.bincount(assigned.cells, minlength=k) / s
        share = float((sizes**2).sum())
        codes = assigned.cells[assigned.rows].astype(np.int64) * k + assigned.beyond
        pairs, counts = np.unique(codes, return_counts=True)
        there = pairs % k
        # of the two sides the cheaper is taken; a sample may miss a sparse side, so one side counts as half of both
        share += float((counts / s * sizes[there]).sum())
        return min(share, 1.0), len(pairs) / 2, len(assigned.rows) / s * self.rows
