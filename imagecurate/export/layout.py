"""Which samples an output shard takes from which input shards, and all else that its writer must be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imagecurate.export.cut import Cut
    from imagecurate.export.keys import Clashes, Flags, Naming
    from imagecurate.shards.shard import Shard

__all__ = ["Layout", "OutputShard", "Slice"]


@dataclass(frozen=True)
class Slice:
    """Kept samples [first, last) of an input shard."""

    shard: Shard
    #: Samples that the shard had to export when the export was planned.
    kept: int
    first: int
    last: int
    #: What tells samples of this shard from others with the same key.
    suffix: str = ""
    #: Which of the samples need it; None for none of them.
    told_apart: Flags | None = None

    def __len__(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class OutputShard:
    """What an output shard is made of.  It can be sent anywhere: it takes a byte a sample at most."""

    number: int
    name: str
    slices: Sequence[Slice]


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
        slices = [self.slice(piece.number, piece.first, piece.last) for piece in self.cut.pieces(number)]
        return OutputShard(number, f"{number:0{self.digits}d}", slices)

    def slice(self, number: int, first: int, last: int) -> Slice:
        """Samples [first, last) of an input shard."""
        start, end = self.cut.starts[number : number + 2].tolist()
        told = None if self.clashes is None else self.clashes.told_apart(start + first, start + last)
        return Slice(self.shards[number], end - start, first, last, self.suffixes[number], told)
