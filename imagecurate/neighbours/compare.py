"""The tasks that compare all cells, each with itself and with the border nodes of others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagecurate.backend.clusters import Device
from imagecurate.backend.cpu_clusters import one_blas_thread
from imagecurate.neighbours.files import save_array
from imagecurate.neighbours.layout import Layout
from imagecurate.neighbours.resolve import PAIR, StoredPairs
from imagecurate.neighbours.search import Near, Side
from imagecurate.neighbours.vectors import Run
from imagecurate.store import write_atomically

__all__ = ["compare_cells"]


@dataclass(frozen=True)
class Portion:
    """How much a task does: some seconds of work."""

    #: Products and rows of a task at most, and tasks at least, so that all threads have some.
    products: int
    rows: int
    tasks: int
    #: Rows of a cell that are compared with all of it in one piece.
    piece_rows: int


PORTIONS: dict[Device, Portion] = {
    "cpu": Portion(1 << 30, 65_536, 64, 4096),
    "cuda": Portion(1 << 41, 1 << 22, 8, 1 << 18),
}

#: Of a cell: rows from, to, and whether they are its border nodes from other cells.
Piece = tuple[int, int, int, bool]


@dataclass(frozen=True)
class _Compare:
    """The task of some pieces of cells."""

    layout: Layout
    eps: float
    most: int

    def pairs(self, number: int) -> Path:
        return self.layout.folder / "pairs" / f"{number:06d}.npy"

    def more(self, number: int) -> Path:
        return self.layout.folder / "pairs" / f"{number:06d}.more.npy"

    def compared(self, number: int) -> Path:
        return self.layout.folder / "pairs" / f"{number:06d}.json"

    def __call__(self, item: tuple[int, list[Piece]]) -> int:
        number, pieces = item
        count = self.compared(number)
        if count.exists():
            return int(count.read_text())
        near = Near(1 - self.eps, self.layout.d)
        compared, found, more = 0, [np.empty(0, PAIR)], [np.empty(0, np.int64)]
        with one_blas_thread():
            for cell, low, high, crossing in pieces:
                x, y = self._sides(cell, low, high, crossing)
                each = self.layout.earlier_neighbours(x, y, near, self.most)
                pairs = np.empty(len(each.x), PAIR)
                pairs["later"], pairs["earlier"] = x.ranks[each.x], y.ranks[each.y]
                pairs["nearness"] = each.similarity
                found.append(pairs)
                more.append(x.ranks[each.more])
                compared += each.compared
        pairs = np.concatenate(found)
        save_array(self.pairs(number), pairs[np.lexsort((pairs["earlier"], pairs["later"]))])
        save_array(self.more(number), np.unique(np.concatenate(more)))
        write_atomically(count, lambda temporary: temporary.write_text(str(compared)))
        return compared

    def _sides(self, cell: int, low: int, high: int, crossing: bool) -> tuple[Side, Side]:
        layout = self.layout
        own = np.arange(layout.offsets[cell], layout.offsets[cell + 1])
        others = np.asarray(layout.incoming[layout.incoming_offsets[cell] : layout.incoming_offsets[cell + 1]])
        if crossing:
            return layout.side(others[low:high]), layout.side(own)
        everyone = layout.side(own)
        if len(others):
            positions = np.concatenate([own, others])
            everyone = layout.side(positions[np.argsort(layout.places[positions])])
        return layout.side(own[low:high]), everyone


def _tasks(layout: Layout) -> Iterator[list[Piece]]:
    """Divide all comparisons into tasks of about the same size, the same whatever runs them: the plan says for what."""
    portion = PORTIONS[layout.device]
    sizes = np.diff(layout.offsets)
    borders = np.diff(layout.incoming_offsets)
    total = float((sizes.astype(float) * (sizes / 2 + borders)).sum())
    most = max(min(portion.products, total / portion.tasks), 1 << 22)
    task: list[Piece] = []
    products, rows = 0, 0
    for cell, (size, border) in enumerate(zip(sizes.tolist(), borders.tolist(), strict=True)):
        if size + border < 2:  # a group of one
            continue
        for crossing, count in ((False, size), (True, border)):
            for low in range(0, count, portion.piece_rows):
                high = min(low + portion.piece_rows, count)
                task.append((cell, low, high, crossing))
                products += (high - low) * (size if crossing else high + border)
                rows += high - low
                if products >= most or rows >= portion.rows:
                    yield task
                    task, products, rows = [], 0, 0
    if task:
        yield task


def compare_cells(layout: Layout, eps: float, most: int, run: Run) -> tuple[StoredPairs, int]:
    """Find and store the pairs of nodes within ``eps``, the ``most`` best-ranked of each later node.

    Returns
    -------
    pairs : StoredPairs
    compared : int
        Pairs of which products were made.
    """
    task = _Compare(layout, eps, most)
    tasks = list(enumerate(_tasks(layout)))
    compared, more = sum(run(task, tasks)), np.zeros(layout.nodes, bool)
    for number, _ in tasks:
        more[np.load(task.more(number))] = True
    return StoredPairs([task.pairs(number) for number, _ in tasks], more, most), compared
