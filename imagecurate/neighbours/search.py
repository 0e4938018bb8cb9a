"""For each of some vectors, its best-ranked earlier neighbours among others.

A product of *prefixes* comes first.  Vectors are rotated so that the first few coordinates hold most of them, and the
length of the rest is put beside these.  By Cauchy and Schwarz the product of two such prefixes is never below the
cosine of the two vectors: where it is below the threshold nothing more need be done, which is so for nearly all pairs.

Both sides are in the order of their ranks, and each row meets earlier rows only, the best-ranked first.  So a row that
has found as many neighbours as are wanted is compared no further, and a crowd costs no more than its size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imagecurate.neighbours.vectors import cosine, product_error

__all__ = ["Found", "Near", "Side", "approximate_cosines", "earlier_neighbours", "prefixes"]

#: Rows compared at a time: with columns enough for matrix products to run at full speed, and few enough for the
#: products to stay in the cache.
ROWS, COLUMNS = 1024, 2048
#: Columns that a strip of rows begins with, doubled from there: in a crowd rows are done after the first few.
FIRST_COLUMNS = 256
#: Vectors gathered at a time to look at single pairs.
GATHERED = 2048
#: Pairs looked at one by one cost about so many times what they cost in a matrix product.
SINGLE_COST = 16


def prefixes(rows: NDArray[np.float32], axes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rotate unit vectors and keep the first coordinates, with the length of the rest as the last.

    Parameters
    ----------
    rows : array of shape (n, d), float32
    axes : array of shape (d, p), float64
        Orthonormal columns.

    Returns
    -------
    array of shape (n, p + 1), float32
    """
    kept = rows.astype(np.float64) @ axes
    lengths = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    rest = np.sqrt(np.maximum(lengths - np.einsum("ij,ij->i", kept, kept), 0))
    return np.column_stack([kept, rest]).astype(np.float32)


@dataclass(frozen=True)
class Side:
    """Vectors on one side of a comparison, in the order of their ranks."""

    #: Unit vectors, of shape (m, d), and their prefixes, of shape (m, p + 1); the same array where whole vectors are
    #: compared.  Perhaps files mapped to memory.
    vectors: NDArray[np.float32]
    prefixes: NDArray[np.float32]
    #: Positions in both.
    at: NDArray[np.int64]
    #: Rank of each, ascending; compared with those of the other side.
    ranks: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.at)

    def prefix(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Prefixes of some of the rows, without a copy where they follow each other."""
        at = self.at[rows]
        if len(at) and at[-1] - at[0] == len(at) - 1:  # positions never repeat, and ascend where they are a range
            steps = np.diff(at)
            if (steps == 1).all():
                return self.prefixes[at[0] : at[-1] + 1]
        return self.prefixes[at]


@dataclass(frozen=True)
class Near:
    """The test whether two vectors have a cosine of at least a threshold.

    Parameters
    ----------
    threshold : float
    d : int
        Length of the vectors.
    """

    threshold: float
    d: int

    @property
    def bound(self) -> np.float32:
        """The least approximate similarity, or bound from above, that may be close enough.

        Rounded down, to float32, so that NumPy does not compare copies in float64.
        """
        return np.float32(np.nextafter(np.float32(self.threshold - product_error(self.d)), np.float32(-9)))

    def certain(self, similarities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Tell which approximate similarities are close enough whatever their rounding."""
        near: NDArray[np.bool_] = similarities >= self.threshold + product_error(self.d)
        return near

    def possible(self, similarities: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Tell which approximate similarities, or bounds from above, may be close enough."""
        near: NDArray[np.bool_] = similarities >= self.bound
        return near

    def decide(
        self, x: Side, y: Side, xi: NDArray[np.int64], yi: NDArray[np.int64], similarities: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Tell which pairs are close enough, by the formula where rounding leaves it open.

        ``similarities`` are the approximate ones of the pairs ``xi[i], yi[i]``; exact ones replace them.
        """
        near = self.certain(similarities)
        doubtful = np.flatnonzero(~near & self.possible(similarities))
        for start in range(0, len(doubtful), GATHERED):
            pairs = doubtful[start : start + GATHERED]
            exact = cosine(x.vectors[x.at[xi[pairs]]], y.vectors[y.at[yi[pairs]]])
            similarities[pairs] = exact
            near[pairs] = exact >= self.threshold
        return near


@dataclass(frozen=True)
class Found:
    """Pairs of a row and an earlier neighbour, by row and the neighbour's rank."""

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    #: Approximate, to ``product_error``.
    similarity: NDArray[np.float32]
    #: For each x, whether it may have more neighbours than were wanted.
    more: NDArray[np.bool_]
    #: Pairs of which products were made.
    compared: int


def earlier_neighbours(x: Side, y: Side, near: Near, most: int) -> Found:
    """Find for each row of ``x`` the ``most`` best-ranked rows of ``y`` that are ranked before it and near it.

    The answer is exact, whatever the prefixes.  Memory is that of a few blocks and the pairs found.

    Parameters
    ----------
    x, y : Side
    near : Near
    most : int
        Neighbours wanted of each row.
    """
    pairs: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
    counts = np.zeros(len(x), np.int64)
    more = np.zeros(len(x), bool)
    compared = 0
    buffer = np.empty(min(len(x), ROWS) * min(len(y), COLUMNS), np.float32)
    ends = np.searchsorted(y.ranks, x.ranks)  # y[: ends[i]] are ranked before x[i]; ascending
    for start in range(0, len(x), ROWS):
        active = np.arange(start, min(start + ROWS, len(x)))
        prefix = x.prefix(active).copy()  # of a product of an array with itself NumPy makes half, and a slow copy
        low, columns = 0, FIRST_COLUMNS
        while True:
            going = ends[active] > low
            if not going.all():
                active, prefix = active[going], prefix[going]
            if not len(active):
                break
            high = min(low + columns, int(ends[active[-1]]))
            # always the same memory: a system asked for it anew spends longer on that than on the products
            products = buffer[: len(active) * (high - low)].reshape(len(active), high - low)
            np.matmul(prefix, y.prefix(slice(low, high)).T, out=products)
            inside = np.minimum(ends[active], high) - low
            compared += int(inside.sum())
            flat = np.empty(0, np.int64)
            if products.max() >= near.bound:
                candidates = products >= near.bound
                if inside[0] < high - low:
                    candidates &= np.arange(high - low) < inside[:, None]
                flat = np.flatnonzero(candidates)
            if len(flat):
                rows, cols = np.divmod(flat, high - low)
                known = products.ravel()[flat] if x.prefixes is x.vectors else None
                _take(x, y, near, most, active[rows], cols + low, known, counts, more, pairs)
                full = counts[active] >= most
                if full.any():
                    more[active[full]] |= ends[active[full]] > high
                    active, prefix = active[~full], prefix[~full]
            low, columns = high, min(2 * columns, COLUMNS)
    if not pairs:
        empty = np.empty(0, np.int64)
        return Found(empty, empty, np.empty(0, np.float32), more, compared)
    xs, ys, similarities = (np.concatenate(each) for each in zip(*pairs, strict=True))
    order = np.lexsort((ys, xs))
    return Found(xs[order], ys[order], similarities[order], more, compared)


def _take(
    x: Side,
    y: Side,
    near: Near,
    most: int,
    xi: NDArray[np.int64],
    yi: NDArray[np.int64],
    known: NDArray[np.float32] | None,
    counts: NDArray[np.int64],
    more: NDArray[np.bool_],
    pairs: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]],
) -> None:
    """Look at candidates, sorted by x and y, until each x has as many neighbours as are wanted."""
    while len(xi):
        starts = np.flatnonzero(np.diff(xi, prepend=-1))
        place = np.arange(len(xi)) - np.repeat(starts, np.diff(starts, append=len(xi)))
        now = place < most - counts[xi]
        a, b = xi[now], yi[now]
        similarities = approximate_cosines(x, y, a, b) if known is None else known[now]
        good = near.decide(x, y, a, b, similarities)
        if good.any():
            pairs.append((a[good], b[good], similarities[good]))
            np.add.at(counts, a[good], 1)
        left = ~now
        xi, yi, known = xi[left], yi[left], None if known is None else known[left]
        full = counts[xi] >= most
        more[xi[full]] = True
        xi, yi, known = xi[~full], yi[~full], None if known is None else known[~full]


def approximate_cosines(x: Side, y: Side, xi: NDArray[np.int64], yi: NDArray[np.int64]) -> NDArray[np.float32]:
    """Give the approximate cosines of pairs, by a matrix product where many share their rows."""
    rows, row = np.unique(xi, return_inverse=True)
    cols, col = np.unique(yi, return_inverse=True)
    if len(rows) * len(cols) < SINGLE_COST * len(xi):
        dense: NDArray[np.float32] = (x.vectors[x.at[rows]] @ y.vectors[y.at[cols]].T)[row, col]
        return dense
    out = np.empty(len(xi), np.float32)
    for start in range(0, len(xi), GATHERED):
        block = slice(start, start + GATHERED)
        out[block] = np.einsum("ij,ij->i", x.vectors[x.at[xi[block]]], y.vectors[y.at[yi[block]]])
    return out
