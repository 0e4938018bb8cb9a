"""Where each vector goes: which are equal, in what order, and which of other cells a cell must be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imagecurate.neighbours.bundles import Bundle, ReadBundle
from imagecurate.neighbours.cells import Centroids
from imagecurate.neighbours.files import save_array

__all__ = ["Order", "arrange", "ranks_by_distance"]

#: Ranks of all rows, or the order by the distance to the centroid: farthest first, or nearest first.
Order = NDArray[np.int64] | Literal["hard", "easy"]


def ranks_by_distance(distances: NDArray[np.float64], order: Literal["hard", "easy"]) -> NDArray[np.int64]:
    """Rank rows by their distance to a centroid: the farthest first, or the nearest; by the row where these are equal.

    >>> ranks_by_distance(np.array([0.0, 0.2, 0.1, 0.0]), "easy")
    array([0, 3, 2, 1])
    >>> ranks_by_distance(np.array([0.0, 0.2, 0.1, 0.0]), "hard")
    array([3, 0, 1, 2])
    """
    ascending = np.argsort(distances, kind="stable")
    ranks = np.empty(len(distances), np.int64)
    ranks[ascending if order == "easy" else ascending[::-1]] = np.arange(len(distances))
    return ranks


def arrange(
    folder: Path,
    task: ReadBundle,
    bundles: Sequence[Bundle],
    order: Order,
    groups: NDArray[np.int64] | None,
    collapse: bool,
) -> None:
    """Collect what is known of all rows, and write where each vector goes, into files that `Layout` describes."""
    n = bundles[-1].rows.stop
    cells, distances = np.full(n, -1, np.int32), np.full(n, np.nan)
    sources, hashes = np.full(n, -1, np.int64), np.zeros((n, 2), np.uint64)
    border_rows, beyond = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for bundle in bundles:
        with np.load(task.known(bundle.number)) as known:
            rows = bundle.rows.start + known["rows"]
            sources[rows] = bundle.rows.start + np.arange(len(rows))
            hashes[rows], cells[rows], distances[rows] = known["hashes"], known["cells"], known["distances"]
            border_rows.append(bundle.rows.start + known["border_rows"])
            beyond.append(known["beyond"].astype(np.int64))
    ranks = ranks_by_distance(distances, order) if isinstance(order, str) else np.asarray(order, np.int64)
    rows = np.flatnonzero(cells >= 0 if groups is None else (cells >= 0) & (groups >= 0))
    group = np.zeros(n, np.int64) if groups is None else np.unique(groups, return_inverse=True)[1]
    # the best-ranked of equal rows is the first of its run
    rows = rows[np.lexsort((ranks[rows], hashes[rows, 1], hashes[rows, 0], group[rows]))]
    if collapse:
        keys = np.column_stack([hashes[rows], group[rows].astype(np.uint64)])
        head = np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)])[: len(rows)]
    else:
        head = np.ones(len(rows), bool)
    heads = rows[head]
    k = 1 if task.centroids is None else len(Centroids.load(task.centroids).points)
    codes, cell = np.unique(group[heads] * k + cells[heads], return_inverse=True)
    by_position = np.lexsort((ranks[heads], cell))
    positions = np.empty(len(heads), np.int64)
    positions[by_position] = np.arange(len(heads))
    row_nodes = np.full(n, -1, np.int64)
    row_nodes[rows] = positions[np.cumsum(head) - 1]
    heads, cell = heads[by_position], cell[by_position]
    places = np.empty(len(heads), np.int64)
    in_order = np.argsort(ranks[heads])
    places[in_order] = np.arange(len(heads))
    offsets = np.searchsorted(cell, np.arange(len(codes) + 1))

    entries, towards = np.concatenate(border_rows), np.concatenate(beyond)
    row_of_node = np.full(n, -1, np.int64)
    row_of_node[heads] = np.arange(len(heads))
    entries, towards = row_of_node[entries], group[entries] * k + towards
    towards_cell = np.searchsorted(codes, towards)
    there = (entries >= 0) & (towards_cell < len(codes))
    there[there] = codes[towards_cell[there]] == towards[there]
    incoming, incoming_offsets = _incoming(entries[there], towards_cell[there], cell, places, offsets)

    arrays = {
        "row_nodes": row_nodes,
        "row_ranks": ranks,
        "row_cells": cells,
        "row_distances": distances,
        "places": places,
        "positions": in_order,
        "sources": sources[heads],
        "incoming": incoming,
        "incoming_offsets": incoming_offsets,
        "cell_centroids": codes % k,
        "cell_groups": codes // k,
        "offsets": offsets.astype(np.int64),  # the last, which says that all are there
    }
    for name, array in arrays.items():
        save_array(folder / f"{name}.npy", array)


def _incoming(
    nodes: NDArray[np.int64],
    towards: NDArray[np.int64],
    cell: NDArray[np.int64],
    places: NDArray[np.int64],
    offsets: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose for each two cells which one's border nodes are compared with the other cell: where that is cheaper.

    Two cells of which one has no node near their border have no pair.
    """
    count = len(offsets) - 1
    pair = cell[nodes] * count + towards
    pairs, inverse, counts = np.unique(pair, return_inverse=True, return_counts=True)
    here, there = np.divmod(pairs, max(count, 1))
    reverse = there * count + here
    at = np.minimum(np.searchsorted(pairs, reverse), max(len(pairs) - 1, 0))
    mutual = pairs[at] == reverse
    sizes = np.diff(offsets)
    cost, other = counts * sizes[there], counts[at] * sizes[here]
    chosen = (mutual & ((cost < other) | ((cost == other) & (here < there))))[inverse]
    nodes, towards = nodes[chosen], towards[chosen]
    order = np.lexsort((places[nodes], towards))
    return nodes[order], np.searchsorted(towards[order], np.arange(count + 1)).astype(np.int64)
