"""Which samples an output shard takes from which input shards, and all else that its writer must be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from imagecurate.export.cut import Cut
    from imagecurate.export.keys import Clashes, Flags, Naming
    from imagecurate.shards.shard import Shard

__all__ = ["Layout", "OutputShard", "Slice"]


class Slice(NamedTuple):
    """Kept samples [first, last) of an input shard."""

    shard: Shard
    #: Samples that the shard had to export when the export was planned.
    kept: int
    first: int
    last: int
    #: What tells samples of this shard from others with the same key.
    suffix: str

    @property
    def samples(self) -> int:
        """How many there are."""
        return self.last - self.first


class OutputShard(NamedTuple):
    """What an output shard is made of.  It can be sent anywhere: it takes a byte a sample at most."""

    number: int
    name: str
    slices: Sequence[Slice]
    #: Which of its samples need their suffix; None for none of them.
    told_apart: Flags | None


@dataclass(frozen=True)
class Layout:
    """All output shards of an export; the parts of one are looked up when it is asked for.

    Parameters
    ----------
    shards : sequence of Shard
        Of the input.
    suffixes : sequence of str
        For each of them.
    cut : Cut
        Which samples go into which output shard.
    naming : Naming
        What they are called there.
    clashes : Clashes or None
        Which of them are told apart from others; None where keys are not compared.
    digits : int
        Of the output shards' names.
    """

    shards: Sequence[Shard]
    suffixes: Sequence[str]
    cut: Cut
    naming: Naming
    clashes: Clashes | None
    digits: int

    def __len__(self) -> int:
        return len(self.cut)

    def __getitem__(self, number: int) -> OutputShard:
        begin, end = self.cut.cuts[number : number + 2].tolist()
        slices = [self._slice(piece.number, piece.first, piece.last) for piece in self.cut.pieces(number)]
        return OutputShard(number, f"{number:0{self.digits}d}", slices, self._told_apart(begin, end))

    def whole(self, number: int) -> tuple[Slice, Flags | None]:
        """All kept samples of an input shard, and which of them are told apart."""
        begin, end = self.cut.starts[number : number + 2].tolist()
        return self._slice(number, 0, end - begin), self._told_apart(begin, end)

    def _slice(self, number: int, first: int, last: int) -> Slice:
        start, end = self.cut.starts[number : number + 2].tolist()
        return Slice(self.shards[number], end - start, first, last, self.suffixes[number])

    def _told_apart(self, begin: int, end: int) -> Flags | None:
        return None if self.clashes is None else self.clashes.told_apart(begin, end)
