"""The comparison of two sides on a CUDA device: the same pairs as on the CPU, by one formula.

The files of a layout are copied to the device once and kept for the comparisons that follow; one runs at a time.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from imagecurate.backend.memory import is_out_of_memory, release_caches
from imagecurate.neighbours import search
from imagecurate.neighbours.search import Found, Near, Side
from imagecurate.neighbours.vectors import cosine, product_error

if TYPE_CHECKING:
    import torch

__all__ = ["compare", "earlier_neighbours", "forget"]

log = logging.getLogger(__name__)

#: Products that the CPU makes in the time that a few launches take.
FEW_PRODUCTS = 1 << 22
#: Bytes that are copied at a time, and the share of the free memory that a copy may take.
COPIED, SHARE = 1 << 28, 0.6

_lock = threading.Lock()
_held: dict[Any, _Copies] = {}


def earlier_neighbours(x: Side, y: Side, near: Near, most: int) -> Found:
    """Find what `search.earlier_neighbours` finds, on the device where there is one and enough to do."""
    import torch

    if len(x) * len(y) < FEW_PRODUCTS or not torch.cuda.is_available():
        return search.earlier_neighbours(x, y, near, most)
    with _lock:
        try:
            return compare(x, y, near, most, torch.device("cuda"))
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            log.warning(
                "comparing %d with %d vectors took more memory than the GPU has; the CPU does it", len(x), len(y)
            )
    forget()
    return search.earlier_neighbours(x, y, near, most)


def forget() -> bool:
    """Give back the memory of the device; False where nothing was held.

    Copies are kept for the next comparison, and nobody says that there is none: who needs the room takes it.
    """
    held = bool(_held)
    _held.clear()
    release_caches()
    return held


def compare(x: Side, y: Side, near: Near, most: int, device: torch.device) -> Found:
    """Find the same on a device, which may be the CPU: then slowly."""
    import torch

    from imagecurate.backend.gpu_pairs import PADDING, earlier_pairs, half_error

    left, right = _copies(x, device), _copies(y, device)
    x_at, y_at = (torch.from_numpy(np.array(each.at)).to(device) for each in (x, y))
    columns = right.prefixes
    if len(y) and y.at[-1] - y.at[0] == len(y) - 1 and (np.diff(y.at) == 1).all():
        columns = columns[int(y.at[0]) :]
    else:
        columns = torch.nn.functional.pad(columns[y_at], (0, 0, 0, PADDING))
    ends = torch.from_numpy(np.searchsorted(y.ranks, x.ranks)).to(device)
    decide = _Decide(x, y, left.vectors, right.vectors, x_at, y_at, near)
    bound = near.threshold - product_error(near.d) - half_error(columns.shape[1])
    strips = list(earlier_pairs(left.prefixes[x_at], ends, columns, bound, most, decide))
    row, column, similarity, more = (
        np.concatenate([np.empty(0, kind), *(getattr(strip, name).cpu().numpy() for strip in strips)])
        for name, kind in (("row", np.int64), ("column", np.int64), ("cosine", np.float32), ("more", np.bool_))
    )
    return Found(row, column, similarity, more, sum(strip.compared for strip in strips))


class _Copies:
    """Vectors and prefixes of a side on the device; vectors only where there is room for them."""

    def __init__(self, side: Side, device: torch.device) -> None:
        import torch

        from imagecurate.backend.gpu_pairs import PADDING, half_rows

        n, width = side.prefixes.shape
        shape = half_rows(torch.zeros((0, width))).shape
        self.prefixes = torch.zeros(
            (-(-n // PADDING) * PADDING + PADDING, shape[1]), dtype=torch.float16, device=device
        )
        for rows, block in _blocks(side.prefixes):
            self.prefixes[rows, :width] = torch.from_numpy(block).to(device).half()
        self.vectors: torch.Tensor | None = None
        release_caches()  # what is kept of earlier work counts as taken
        if side.vectors.nbytes <= room(device):
            self.vectors = torch.empty(side.vectors.shape, device=device)
            for rows, block in _blocks(side.vectors):
                self.vectors[rows] = torch.from_numpy(block).to(device)


def room(device: torch.device) -> float:
    """Bytes that a copy of the vectors may take."""
    import torch

    return float("inf") if device.type == "cpu" else SHARE * torch.cuda.mem_get_info(device)[0]


def _blocks(array: NDArray[np.float32]) -> Any:
    step = max(COPIED // max(array[:1].nbytes, 1), 1)
    for start in range(0, len(array), step):
        block = np.array(array[start : start + step])
        yield slice(start, start + len(block)), block


def _copies(side: Side, device: torch.device) -> _Copies:
    """Copy a side's arrays, or take the copies of the same file."""
    if not isinstance(side.prefixes, np.memmap):
        return _Copies(side, device)
    path = Path(str(side.prefixes.filename))
    key = path, path.stat().st_mtime_ns, side.prefixes.shape, device
    if key not in _held:
        _held.clear()
        _held[key] = _Copies(side, device)
    return _held[key]


class _Decide:
    """Tells which pairs are near, as `Near.decide` does."""

    def __init__(
        self,
        x: Side,
        y: Side,
        left: torch.Tensor | None,
        right: torch.Tensor | None,
        x_at: torch.Tensor,
        y_at: torch.Tensor,
        near: Near,
    ) -> None:
        self.x, self.y, self.near = x, y, near
        self.left, self.right, self.x_at, self.y_at = left, right, x_at, y_at

    def __call__(self, row: torch.Tensor, column: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        from imagecurate.backend.gpu_pairs import cosines

        if self.left is None or self.right is None:
            i, j = row.cpu().numpy(), column.cpu().numpy()
            known = search.approximate_cosines(self.x, self.y, i, j)
            certain = self.near.decide(self.x, self.y, i, j, known)
            return torch.from_numpy(certain).to(row.device), torch.from_numpy(known).to(row.device)
        exact = cosines(self.left, self.right, self.x_at[row], self.y_at[column])
        sure = exact >= self.near.threshold
        # three sums here and three there, each off by (d + 8) / 2 units in the last place at most
        doubtful = (exact - self.near.threshold).abs() <= 4 * (self.near.d + 8) * 2.0**-53
        at = doubtful.nonzero().view(-1)
        if len(at):  # the sums here have another order than those of the formula
            i, j = row[at].cpu().numpy(), column[at].cpu().numpy()
            told = cosine(self.x.vectors[self.x.at[i]], self.y.vectors[self.y.at[j]])
            exact[at] = torch.from_numpy(told).to(row.device)
            sure[at] = torch.from_numpy(told >= self.near.threshold).to(row.device)
        return sure, exact
