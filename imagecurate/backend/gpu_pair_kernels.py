"""Triton kernels that find near rows without ever writing their products down.

A tile of the products of some rows with some columns is made in registers.  The first kernel only says whether any of
it reaches the bound: one maximum a product and, for one tile in hundreds, a byte.  The second makes those tiles again
and appends the places of what reaches the bound to a list.  So the loop that makes nearly all products has room for
large tiles, and nothing to wait for.

Rows are of a power of two of numbers, at least 16: the tile of the rows stays in shared memory while columns stream by.
Numbers of tiles are no reason to compile anew.
"""

# Triton compiles these functions; as Python their operators mean nothing.
# mypy: ignore-errors
from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["list_pairs", "mark_tiles", "pair_cosines"]


@triton.jit(do_not_specialize=["row_tiles", "column_tiles", "run"])
def mark_tiles(
    rows,  # (row tiles * tile_rows, width) float16
    columns,  # (column tiles * tile_columns, width) float16
    stops,  # (row tiles,) int32: columns that the tile's rows are compared with
    marks,  # (row tiles, column tiles) int8, zero
    bound,
    row_tiles,
    column_tiles,
    run,  # column tiles of a program
    width: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """Mark the tiles in which a product reaches the bound."""
    program = tl.program_id(0)
    # programs side by side read the same columns, which then come from the L2 cache
    row_tile = program % row_tiles
    first = program // row_tiles * run
    last = tl.minimum(first + run, tl.cdiv(tl.load(stops + row_tile), tile_columns))
    at = row_tile * tile_rows + tl.arange(0, tile_rows)
    k = tl.arange(0, width)
    left = tl.load(rows + at[:, None] * width + k[None, :])
    for tile in range(first, last):
        to = tile * tile_columns + tl.arange(0, tile_columns)
        right = tl.load(columns + to[:, None] * width + k[None, :])
        greatest = tl.max(tl.dot(left, tl.trans(right)), axis=1)
        # no maximum over all rows, for which threads would wait for each other: whichever row reaches it says so
        mark = marks + row_tile * column_tiles + tile + tl.zeros((tile_rows,), tl.int32)
        tl.store(mark, 1, mask=greatest >= bound)


@triton.jit(do_not_specialize=["column_tiles", "capacity"])
def list_pairs(
    rows,
    columns,
    ends,  # (row tiles * tile_rows,) int32: columns that each row is compared with
    tiles,  # tiles to look at, int32: row tile * column_tiles + column tile
    counter,  # (1,) int32: pairs found, also those for which there was no room
    pairs,  # (2, capacity) int32: row and column of each
    bound,
    column_tiles,
    capacity,
    width: tl.constexpr,
    tile_rows: tl.constexpr,
    tile_columns: tl.constexpr,
):
    """List the pairs of marked tiles whose products reach the bound, in no particular order."""
    tile = tl.load(tiles + tl.program_id(0))
    at = tile // column_tiles * tile_rows + tl.arange(0, tile_rows)
    to = tile % column_tiles * tile_columns + tl.arange(0, tile_columns)
    k = tl.arange(0, width)
    left = tl.load(rows + at[:, None] * width + k[None, :])
    right = tl.load(columns + to[:, None] * width + k[None, :])
    near = (tl.dot(left, tl.trans(right)) >= bound) & (to[None, :] < tl.load(ends + at)[:, None])
    place = tl.atomic_add(counter + tl.zeros((tile_rows, tile_columns), tl.int32), 1, mask=near)
    room = near & (place < capacity)
    tl.store(pairs + place, at[:, None] + tl.zeros((1, tile_columns), tl.int32), mask=room)
    tl.store(pairs + capacity + place, to[None, :] + tl.zeros((tile_rows, 1), tl.int32), mask=room)


@triton.jit(do_not_specialize=["count"])
def pair_cosines(
    left,  # (m, width) float32
    right,  # (n, width) float32
    at,  # (count,) int64
    to,  # (count,) int64
    out,  # (count,) float64
    count,
    width,
    group: tl.constexpr,
    block: tl.constexpr,
):
    """Give the cosines of pairs of rows, in float64."""
    pair = tl.program_id(0) * group + tl.arange(0, group)
    there = pair < count
    one = left + tl.load(at + pair, mask=there, other=0) * width
    other = right + tl.load(to + pair, mask=there, other=0) * width
    product = tl.zeros((group, block), tl.float64)
    one_square = tl.zeros((group, block), tl.float64)
    other_square = tl.zeros((group, block), tl.float64)
    for start in range(0, width, block):
        k = start + tl.arange(0, block)
        inside = there[:, None] & (k < width)[None, :]
        a = tl.load(one[:, None] + k[None, :], mask=inside, other=0).to(tl.float64)
        b = tl.load(other[:, None] + k[None, :], mask=inside, other=0).to(tl.float64)
        product += a * b
        one_square += a * a
        other_square += b * b
    lengths = tl.sqrt(tl.sum(one_square, axis=1) * tl.sum(other_square, axis=1))
    tl.store(out + pair, tl.sum(product, axis=1) / lengths, mask=there)
