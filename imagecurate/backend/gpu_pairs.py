"""Exact pairs of unit vectors on one CUDA device.

Products are those of prefixes (`neighbours.search`) in float16, summed in float32: eight times as fast as float32, and
off by what `half_error` bounds, by which the threshold is lowered.  What reaches it is decided in float64.  Triton
kernels keep all products in registers; where Triton is missing, or prefixes are wider than a tile's rows can lie in
shared memory, blocks of products are written down and looked through, which gives the same pairs.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch

__all__ = ["Decide", "Strip", "Tile", "available", "candidates", "cosines", "earlier_pairs", "half_error", "half_rows"]

log = logging.getLogger(__name__)

#: Tells of pairs of a row and a column which are near, and gives their cosines.
Decide = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]

#: Rows that meet all columns before others do, columns that they meet first, doubled from there, and at most: in a
#: crowd rows are done after the first few, and otherwise few launches do the work.
STRIP_ROWS, FIRST_COLUMNS, MOST_COLUMNS = 131_072, 512, 1 << 22
#: Pairs that a list has room for: a gigabyte with what sorting them takes.
CAPACITY = 1 << 24
#: Rows of a tensor are padded to a multiple of this, so that tiles need not ask where it ends.
PADDING = 256
#: Products of a block where they are written down.
BLOCK_PRODUCTS = 1 << 28
#: Pairs whose cosines are made at a time without Triton: 0.8 GB at 768 numbers.
GATHERED = 1 << 16


@dataclass(frozen=True)
class Tile:
    """The products that one program makes at a time, and how it runs."""

    rows: int
    columns: int
    warps: int
    #: Tiles of columns on their way from memory at once.
    stages: int
    #: Tiles that follow each other in one program.
    run: int = 64

    def shared_bytes(self, width: int) -> int:
        """Shared memory that it takes at least."""
        return (self.rows + self.stages * self.columns) * width * 2 + 1024


#: The best first; the first that fits in shared memory is taken.  Of 256 rows a program reads half of what the L2 cache
#: can give while the tensor cores are busy, of 128 all of it.
TILES = (
    Tile(256, 128, 8, 3),
    Tile(256, 128, 8, 2),
    Tile(256, 64, 8, 2),
    Tile(128, 64, 4, 2),
    Tile(64, 64, 4, 2),
)


def available() -> bool:
    """Tell whether there is a CUDA device."""
    return torch.cuda.is_available()


@cache
def _kernels() -> Any:
    """The kernels, where Triton is there and can build them: it wants a C compiler and Python's headers, too."""
    try:
        from imagecurate.backend import gpu_pair_kernels
    except ImportError:
        return None
    if available():
        one, zero = torch.ones((1, 16), device="cuda"), torch.zeros(1, dtype=torch.int64, device="cuda")
        try:
            gpu_pair_kernels.pair_cosines[(1,)](one, one, zero, zero, one.double(), 1, 16, group=8, block=16)
        except Exception as error:  # whatever a compiler that is missing, too old or broken makes of it
            log.warning("Triton cannot build kernels here, and pairs take longer to find: %s", error)
            return None
    return gpu_pair_kernels


@cache
def _tile(width: int, device: torch.device) -> Tile | None:
    """The best tile that fits and with which the kernels run."""
    if _kernels() is None or device.type == "cpu":
        return None
    room = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
    return next((tile for tile in TILES if tile.shared_bytes(width) <= room and _runs(tile, width, device)), None)


def _runs(tile: Tile, width: int, device: torch.device) -> bool:
    """Tell whether both kernels run for a tile: shared memory and registers are the compiler's to deal out."""
    rows, columns = (torch.zeros((n, width), dtype=torch.float16, device=device) for n in (tile.rows, tile.columns))
    ends = torch.full((tile.rows,), tile.columns, dtype=torch.int32, device=device)
    try:
        ((row, _),) = _by_tiles(rows, columns, ends, 0.0, 0, tile)
    except Exception as error:  # Triton has many, of different modules from version to version
        log.warning("kernels for pairs do not run with %s at width %d: %s", tile, width, error)
        return False
    return len(row) == tile.rows * tile.columns


def half_error(width: int) -> float:
    """Bound how far products of float16 copies of rows are from those of the rows, whose length is at most 1.

    A copy is off by at most u = 2**-11 times the length, and by 2**-25 for each number that is too small for that.  By
    Cauchy and Schwarz two copies make 2 u + u**2 of the product.  Products of two float16 are exact in float32; summing
    ``width`` of them in any order, cut off instead of rounded as tensor cores do, adds ``width * 2**-23``.

    >>> round(half_error(128), 6)
    0.000993
    """
    rounding = 2.0**-11 + math.sqrt(width) * 2.0**-25
    return 2 * rounding + rounding**2 + width * 2.0**-23


def half_rows(prefixes: torch.Tensor, extra: int = 0) -> torch.Tensor:
    """Give a float16 copy whose rows are of a power of two of numbers, and which has whole tiles of rows.

    Parameters
    ----------
    prefixes : tensor of shape (n, p), float
    extra : int, default=0
        Rows of zeros at the end, beyond those that make tiles whole.
    """
    n, width = prefixes.shape
    rows = torch.zeros(
        (-(-n // PADDING) * PADDING + extra, max(16, 1 << (width - 1).bit_length())),
        dtype=torch.float16,
        device=prefixes.device,
    )
    rows[:n, :width] = prefixes
    return rows


def candidates(
    rows: torch.Tensor,
    columns: torch.Tensor,
    ends: torch.Tensor,
    bound: float,
    *,
    capacity: int = CAPACITY,
    tile: Tile | Literal["auto"] | None = "auto",
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """List the pairs whose product reaches a bound, all of them, in pieces.

    Parameters
    ----------
    rows, columns : tensors of shape (m, width) and (n, width), float16
        Of whole tiles; width is a power of two of at least 16.
    ends : tensor of shape (m,), int32
        Each row is compared with so many columns, from the first on; 0 for rows that only fill a tile.
    bound : float
    capacity : int
        Pairs of a piece at most, or those of a tile where these are more.
    tile : Tile, "auto" or None
        None writes products down; by default that is done where no tile fits.

    Yields
    ------
    row, column : tensors of shape (k,), int64
        Sorted.  The columns of a row ascend from one piece to the next, too.
    """
    bound = float(np.nextafter(np.float32(bound), np.float32(-9)))  # rounded down, whatever compares
    if tile == "auto":
        tile = _tile(rows.shape[1], rows.device)
    if tile is None:
        return _by_blocks(rows, columns, ends, bound)
    return _by_tiles(rows, columns, ends, bound, capacity, tile)


def _by_tiles(
    rows: torch.Tensor, columns: torch.Tensor, ends: torch.Tensor, bound: float, capacity: int, tile: Tile
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    kernels = _kernels()
    width, device = rows.shape[1], rows.device
    row_tiles = -(-len(rows) // tile.rows)
    column_tiles = -(-int(ends.max()) // tile.columns)
    if not column_tiles:
        return
    stops = torch.nn.functional.pad(ends, (0, row_tiles * tile.rows - len(ends))).view(row_tiles, tile.rows).amax(1)
    marks = torch.zeros((row_tiles, column_tiles), dtype=torch.int8, device=device)
    shape = {"width": width, "tile_rows": tile.rows, "tile_columns": tile.columns, "num_warps": tile.warps}
    programs = row_tiles * -(-column_tiles // tile.run)
    kernels.mark_tiles[(programs,)](
        rows, columns, stops, marks, bound, row_tiles, column_tiles, tile.run, num_stages=tile.stages, **shape
    )
    marked = marks.view(-1).nonzero().view(-1).to(torch.int32)
    capacity = max(capacity, tile.rows * tile.columns)
    at, step = 0, (2**31 - 1) // (tile.rows * tile.columns)  # the counter has 31 bits
    while at < len(marked):
        some = marked[at : at + step]
        counter = torch.zeros(1, dtype=torch.int32, device=device)
        pairs = torch.empty((2, capacity), dtype=torch.int32, device=device)
        kernels.list_pairs[(len(some),)](
            rows, columns, ends, some, counter, pairs, bound, column_tiles, capacity, num_stages=1, **shape
        )
        count = int(counter)
        if count > capacity:  # some were not written: the same tiles again, in more pieces
            step = max(step // 2, 1)
            continue
        at += len(some)
        yield _sorted(pairs[0, :count].long(), pairs[1, :count].long())


def _by_blocks(
    rows: torch.Tensor, columns: torch.Tensor, ends: torch.Tensor, bound: float
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Do the same where Triton is missing."""
    many = max(1 << 14, BLOCK_PRODUCTS // max(len(rows), 1))
    most = BLOCK_PRODUCTS // many
    for first in range(0, len(rows), most):
        some, limits = rows[first : first + most], ends[first : first + most]
        for low in range(0, int(limits.max()), many):
            block = columns[low : low + many]
            near = _products(some, block) >= bound
            near &= torch.arange(low, low + len(block), device=rows.device) < limits[:, None]
            row, column = near.nonzero(as_tuple=True)
            if len(row):
                yield row + first, column + low


def _products(rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """All products of float16 rows and columns, as float32."""
    if rows.is_cuda:
        with suppress(TypeError):  # of a torch that has no out_dtype yet
            return torch.mm(rows, columns.T, out_dtype=torch.float32)
    return rows.float() @ columns.float().T


def _sorted(row: torch.Tensor, column: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    keys = ((row << 32) | column).sort().values
    return keys >> 32, keys & 0xFFFFFFFF


def cosines(left: torch.Tensor, right: torch.Tensor, at: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    """Give the cosines of pairs of rows, as float64 of the rows as they are.

    Parameters
    ----------
    left, right : tensors of shape (m, d) and (n, d), float32
    at, to : tensors of shape (k,), int64
        Rows of each pair.
    """
    out = torch.empty(len(at), dtype=torch.float64, device=left.device)
    kernels = _kernels()
    if kernels is not None and left.is_cuda:
        group, block = 8, min(128, max(16, 1 << (left.shape[1] - 1).bit_length()))
        if len(at):
            grid = (-(-len(at) // group),)
            kernels.pair_cosines[grid](left, right, at, to, out, len(at), left.shape[1], group=group, block=block)
        return out
    for start in range(0, len(at), GATHERED):
        some = slice(start, start + GATHERED)
        a, b = left[at[some]].double(), right[to[some]].double()
        out[some] = (a * b).sum(1) / ((a * a).sum(1) * (b * b).sum(1)).sqrt()
    return out


@dataclass(frozen=True)
class Strip:
    """What was found for rows that follow each other; tensors on the device."""

    first: int
    #: Pairs of a row and a column, sorted, and their cosines as float32.
    row: torch.Tensor
    column: torch.Tensor
    cosine: torch.Tensor
    #: For each row, whether it may have more neighbours than were wanted.
    more: torch.Tensor
    #: Pairs of which products were made, and those that were looked at one by one.
    compared: int
    candidates: int


def earlier_pairs(
    rows: torch.Tensor,
    ends: torch.Tensor,
    columns: torch.Tensor,
    bound: float,
    most: int,
    decide: Decide,
    **options: Any,
) -> Iterator[Strip]:
    """Find for each row the first ``most`` columns that are near it, among those before its end.

    Parameters
    ----------
    rows : tensor of shape (m, width), float16
        Perhaps with more rows than ``ends``, which only fill tiles.
    ends : tensor of shape (m,), int64
        Ascending.
    columns : tensor of shape (n, width), float16
        With rows enough after the last end to make a tile whole.
    bound : float
        What products of near rows reach.
    most : int
    decide : Decide
    **options
        Of `candidates`.
    """
    for first in range(0, len(ends), STRIP_ROWS):
        yield _strip(rows[first:], ends[first : first + STRIP_ROWS], columns, bound, most, decide, first, options)


def _strip(
    rows: torch.Tensor,
    ends: torch.Tensor,
    columns: torch.Tensor,
    bound: float,
    most: int,
    decide: Decide,
    first: int,
    options: dict[str, Any],
) -> Strip:
    device = rows.device
    counts = torch.zeros(len(ends), dtype=torch.int64, device=device)
    more = torch.zeros(len(ends), dtype=torch.bool, device=device)
    active = torch.arange(len(ends), device=device)
    found: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    compared = looked_at = low = 0
    width = FIRST_COLUMNS
    while True:
        active = active[(ends[active] > low) & (counts[active] < most)]
        if not len(active):
            break
        high = min(low + width, int(ends[active[-1]]))
        block = rows[: len(ends)] if len(active) == len(ends) else rows[active]
        limits = (ends[active] - low).clamp(max=high - low)
        compared += int(limits.sum())
        padded = -(-len(active) // PADDING) * PADDING
        block = torch.nn.functional.pad(block, (0, 0, 0, padded - len(block)))
        limits = torch.nn.functional.pad(limits, (0, padded - len(limits))).to(torch.int32)
        stop = min(low + -(-(high - low) // PADDING) * PADDING, len(columns))
        for at, to in candidates(block, columns[low:stop], limits, bound, **options):
            row, column = active[at], to + low
            open_ = counts[row] < most
            more[row[~open_]] = True
            row, column = row[open_], column[open_]
            looked_at += len(row)
            near, cosine = decide(row + first, column)
            row, column, cosine = row[near], column[near], cosine[near]
            place = counts[row] + torch.arange(len(row), device=device) - torch.searchsorted(row, row)
            more[row[place >= most]] = True
            wanted = place < most
            row, column, cosine = row[wanted], column[wanted], cosine[wanted]
            counts += torch.bincount(row, minlength=len(counts))
            found.append((row.to(torch.int32), column.to(torch.int32), cosine.float()))
        full = active[counts[active] >= most]
        more[full] |= ends[full] > high
        low, width = high, min(2 * width, MOST_COLUMNS)
    row, column, cosine = (
        torch.cat([torch.empty(0, dtype=kind, device=device), *(each[i] for each in found)])
        for i, kind in enumerate((torch.int32, torch.int32, torch.float32))
    )
    order = row.sort(stable=True).indices  # columns ascend already
    return Strip(first, row[order].long() + first, column[order].long(), cosine[order], more, compared, looked_at)
