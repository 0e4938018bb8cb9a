"""The tar members of some samples: where they lie in the input, and what they become in the output."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from imagecurate.export.header import header_lengths, padded
from imagecurate.export.survivors import MEMBERS
from imagecurate.shards.tar import BLOCK

if TYPE_CHECKING:
    from imagecurate.export.keys import Naming
    from imagecurate.export.sample_rows import SampleRows

__all__ = ["AT_ONCE", "Integers", "Members", "Run", "members_of"]

Integers: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]

#: Bytes in which members that get new headers are read together.
AT_ONCE = 128 << 10


class Run(NamedTuple):
    """Members [first, last), to be read from bytes [begin, end) of the input.

    Where they get new headers, that begins with the last block of the first one's old header, which says who owns it.
    """

    first: int
    last: int
    begin: int
    end: int
    fresh: bool


@dataclass(frozen=True)
class Members:
    """Members of some samples of one input shard, sample after sample; arrays have one entry a member."""

    #: Which sample it belongs to, counted from 0.
    sample: Integers
    #: Name in the output.
    names: pa.StringArray
    #: First header block and first byte of the data in the input, and bytes of data.
    start: Integers
    offset: Integers
    size: Integers
    #: True where the member gets a new header.
    fresh: Flags
    #: True for a JSON whose id follows its sample's new number.
    edited: Flags

    @property
    def ends(self) -> Integers:
        """Byte after the last block of each, in the input."""
        return self.offset + padded(self.size)

    def lengths(self, growth: int) -> Integers:
        """Bytes that each takes in the output, header and padding included; edits add at most ``growth`` each."""
        names = pc.binary_length(self.names).to_numpy(zero_copy_only=False).astype(np.int64)
        headers = np.where(self.fresh, header_lengths(names), self.offset - self.start)
        return headers + padded(self.size + growth * self.edited)

    def runs(self) -> Iterator[Run]:
        """What is copied at once: members side by side in the input, with their headers, or all with new ones."""
        begins = np.where(self.fresh, self.offset - BLOCK, self.start).tolist()
        ends = np.where(self.fresh, self.offset + self.size, self.ends).tolist()
        apart = (self.fresh[1:] != self.fresh[:-1]) | ~self.fresh[1:] & (self.start[1:] != self.ends[:-1])
        bounds = [0, *(np.flatnonzero(apart) + 1).tolist(), len(ends)] if ends else [0]
        for first, last in itertools.pairwise(bounds):
            if not self.fresh[first]:
                yield Run(first, last, begins[first], ends[last - 1], fresh=False)
                continue
            place = first
            while place < last:
                begin, following = begins[place], place + 1
                # A hard link's data may lie anywhere; what lies between two members is read for nothing.
                while (
                    following < last and ends[following - 1] <= begins[following] and ends[following] - begin <= AT_ONCE
                ):
                    following += 1
                yield Run(place, following, begin, ends[following - 1], fresh=True)
                place = following


def members_of(samples: SampleRows, exported: Sequence[str] | None, naming: Naming) -> Members:
    """Lay out the members of some samples; one that several rows of a sample share is there once.

    Parameters
    ----------
    samples : SampleRows
        With the internal column MEMBERS.
    exported : sequence of str or None
        Their keys in the output; None where all stay.
    naming : Naming
        Where ``exported`` comes from.
    """
    lists = samples.table[MEMBERS].combine_chunks()
    counts = pc.fill_null(lists.value_lengths(), 0).to_numpy(zero_copy_only=False)
    flat = lists.flatten()
    sample = np.repeat(samples.sample, counts)
    if len(samples) < len(samples.table):
        once = _each_once(sample, pc.struct_field(flat, "start").to_numpy(zero_copy_only=False))
        flat, sample = flat.take(pa.array(once)), sample[once]
    start, offset, size = (
        pc.struct_field(flat, name).to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
        for name in ("start", "offset", "size")
    )
    names = pc.struct_field(flat, "name")
    fresh = ~pc.struct_field(flat, "verbatim").to_numpy(zero_copy_only=False).astype(np.bool_, copy=False)
    edited = np.zeros(len(flat), np.bool_)
    if exported is not None:
        changed = np.array([new != old for new, old in zip(exported, samples.keys, strict=True)], np.bool_)
        renamed = changed[sample]
        fresh |= renamed
        listed = names.to_pylist()
        for place in np.flatnonzero(renamed).tolist():
            listed[place] = naming.member(listed[place], exported[sample[place]])
            edited[place] = naming.id_field is not None and listed[place].partition(".")[2].lower() == "json"
        names = pa.array(listed, pa.string())
    return Members(sample, names, start, offset, size, fresh, edited)


def _each_once(sample: Integers, start: Integers) -> Integers:
    """Which members to take, so that each sample has every one once, in the order in which they lie in the input."""
    order = np.lexsort((start, sample))
    again = np.zeros(len(order), np.bool_)
    again[1:] = (np.diff(sample[order]) == 0) & (np.diff(start[order]) == 0)
    return order[~again]
