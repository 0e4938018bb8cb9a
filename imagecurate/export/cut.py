"""Decide which samples go into which output shard, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imagecurate.export.header import RECORD
from imagecurate.export.members import Integers
from imagecurate.shards.tar import BLOCK

__all__ = ["Cut", "Piece", "cut_by_bytes", "cut_by_samples"]


class Piece(NamedTuple):
    """Kept samples [first, last) of one input shard."""

    number: int
    first: int
    last: int


@dataclass(frozen=True)
class Cut:
    """Kept samples in a row, input shard after input shard, and where the row is cut.

    It takes 8 bytes for each input and each output shard.
    """

    #: Samples in front of each input shard, and all in the end: length of inputs + 1.
    starts: Integers
    #: Samples in front of each output shard, and all in the end: length of outputs + 1.
    cuts: Integers

    def __len__(self) -> int:
        return len(self.cuts) - 1

    @property
    def samples(self) -> int:
        """All of them."""
        return int(self.starts[-1])

    def pieces(self, shard: int) -> Iterator[Piece]:
        """What an output shard is made of."""
        begin, end = self.cuts[shard : shard + 2].tolist()
        number = int(np.searchsorted(self.starts, begin, side="right")) - 1
        while begin < end:
            start, following = self.starts[number : number + 2].tolist()
            last = min(end, following)
            if begin < last:
                yield Piece(number, begin - start, last - start)
            begin = last
            number += 1


def _starts(counts: Iterable[int]) -> Integers:
    return np.cumsum(np.array([0, *counts], np.int64))


def cut_by_samples(counts: Iterable[int], samples_per_shard: int) -> Cut:
    """Fill every shard but the last.

    Parameters
    ----------
    counts : iterable of int
        Kept samples of each input shard.
    samples_per_shard : int

    Examples
    --------
    >>> cut = cut_by_samples([3, 0, 4], 5)
    >>> [list(map(tuple, cut.pieces(shard))) for shard in range(len(cut))]
    [[(0, 0, 3), (2, 0, 2)], [(2, 2, 4)]]
    """
    starts = _starts(counts)
    return Cut(starts, np.append(np.arange(0, starts[-1], samples_per_shard), starts[-1]))


def cut_by_bytes(sizes: Iterable[Integers], samples_per_shard: int, bytes_per_shard: int) -> Cut:
    """Close each shard before its tar would exceed ``bytes_per_shard``, but never without a sample.

    Parameters
    ----------
    sizes : iterable of arrays of int64
        For each input shard, the bytes that each kept sample takes in a tar.
    samples_per_shard : int
        Most samples a shard.
    bytes_per_shard : int
        Most bytes a tar.

    Examples
    --------
    >>> cut_by_bytes([np.array([5120, 5120, 5120]), np.array([51200])], 10_000, 20_480).cuts.tolist()
    [0, 3, 4]
    """
    room = bytes_per_shard // RECORD * RECORD - 2 * BLOCK
    counts: list[int] = []
    cuts = [0]
    done = held = used = 0
    for each in sizes:
        ends = np.cumsum(each)
        place = before = 0
        while place < len(ends):
            fitting = int(np.searchsorted(ends, before + room - used, side="right"))
            last = max(place, min(fitting, place + samples_per_shard - held))
            if held == 0:
                last = max(last, place + 1)  # one that is too large has a shard to itself
            if last > place:
                held += last - place
                used += int(ends[last - 1]) - before
                before = int(ends[last - 1])
            place = last
            if place < len(ends):
                cuts.append(done + place)
                held = used = 0
        done += len(ends)
        counts.append(len(ends))
    if done > cuts[-1]:
        cuts.append(done)
    return Cut(_starts(counts), np.array(cuts, np.int64))
