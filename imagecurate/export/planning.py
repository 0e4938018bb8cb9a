"""Plan an export: what its samples are called, and which shard each goes into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from imagecurate.columns import KEY
from imagecurate.errors import ColumnExistsError, ParameterError, listed
from imagecurate.export.cut import Cut, cut_by_bytes, cut_by_samples
from imagecurate.export.folder import DIGESTS
from imagecurate.export.header import RECORD
from imagecurate.export.keys import (
    Hashes,
    Naming,
    NewNumbers,
    RepeatedKeys,
    ToldApart,
    hashes,
    shard_suffixes,
)
from imagecurate.export.members import Integers, members_of
from imagecurate.export.sample_rows import read_samples
from imagecurate.export.survivors import MEMBERS
from imagecurate.plan.execute import in_threads

if TYPE_CHECKING:
    from imagecurate.export.survivors import Survivors

__all__ = ["Options", "plan_export", "whole_number"]


@dataclass(frozen=True)
class Options:
    """What decides the bytes of an export beside its samples; see ``to_webdataset``."""

    samples_per_shard: int
    bytes_per_shard: int | None
    shard_digits: int
    old_id_col: str | None
    id_col: str
    digest: str

    def checked(self, columns: Mapping[str, pa.DataType]) -> Options:
        """The same with plain integers, where all values are in order.

        Raises
        ------
        ParameterError, ColumnExistsError
        """
        size = self.bytes_per_shard
        whole = replace(
            self,
            samples_per_shard=whole_number("samples_per_shard", self.samples_per_shard),
            bytes_per_shard=None if size is None else whole_number("bytes_per_shard", size, RECORD),
            shard_digits=whole_number("shard_digits", self.shard_digits),
        )
        for name, column in (("old_id_col", self.old_id_col), ("id_col", self.id_col)):
            if column is None and name == "old_id_col":
                continue
            if not isinstance(column, str) or not column:
                raise ParameterError(f"{name} must be the name of a column, but is {column!r}")
        if self.digest not in DIGESTS:
            raise ParameterError(f"digest must be one of {listed(DIGESTS)}, but is {self.digest!r}")
        if self.old_id_col is not None and self.old_id_col in columns:
            raise ColumnExistsError.because(
                f"old_id_col={self.old_id_col!r} is a column of the dataset already", "name one that is not there yet"
            )
        return whole


def whole_number(name: str, value: object, least: int = 1) -> int:
    """Give an argument as a plain integer.

    Raises
    ------
    ParameterError
        It is no whole number, or less than ``least``.

    Examples
    --------
    >>> whole_number("samples_per_shard", np.int64(5))
    5
    """
    number = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None
    if number is None or number < least:
        raise ParameterError(f"{name} must be a whole number of at least {least}, but is {value!r}")
    return number


def plan_export(survivors: Survivors, options: Options, threads: int, scratch: Path) -> tuple[Cut, Naming]:
    """Plan from the keys of the kept samples and, for ``bytes_per_shard``, the places of their members.

    What is held grows with the number of shards, not of samples: 8 bytes for each.

    Parameters
    ----------
    survivors : Survivors
        What is to be exported.
    options : Options
        How.
    threads : int
        In which input shards are looked at.
    scratch : Path
        Folder for the hashes of very many keys; what is returned may read from it.

    Raises
    ------
    ParameterError
        There will be more shards than ``shard_digits`` can number.
    """
    counts, naming = _named(survivors, options, threads, scratch)
    if options.bytes_per_shard is None:
        cut = cut_by_samples(counts, options.samples_per_shard)
    else:
        sizes = in_threads(threads, lambda number: _sizes(survivors, number, naming), range(len(survivors.shards)))
        cut = cut_by_bytes(sizes, options.samples_per_shard, options.bytes_per_shard)
    if len(cut) > 10**options.shard_digits:
        raise ParameterError.because(
            f"{cut.samples} samples make {len(cut)} shards, more than {options.shard_digits} digits can number",
            f"shard_digits={len(str(len(cut) - 1))}",
        )
    return cut, naming


def _named(survivors: Survivors, options: Options, threads: int, scratch: Path) -> tuple[Integers, Naming]:
    """Kept samples of each input shard, and what samples are called."""
    renumbered = options.old_id_col is not None

    def look(number: int) -> tuple[int, Hashes | None]:
        samples = read_samples(survivors, number, [KEY])
        return len(samples), None if renumbered else hashes(samples.keys)

    counts = np.zeros(len(survivors.shards), np.int64)
    seen = RepeatedKeys(scratch)
    for number, (count, found) in enumerate(in_threads(threads, look, range(len(counts)))):
        counts[number] = count
        if found is not None:
            seen.add(found)
    if renumbered:
        return counts, NewNumbers(options.shard_digits, options.samples_per_shard, options.id_col)
    repeated = seen.repeated()
    if not len(repeated):
        return counts, Naming()
    return counts, ToldApart(repeated, shard_suffixes(survivors.shards))


def _sizes(survivors: Survivors, number: int, naming: Naming) -> Integers:
    """Bytes that each kept sample of an input shard takes in a tar, at most."""
    samples = read_samples(survivors, number, [KEY, MEMBERS])
    members = members_of(samples, naming.keys(samples.keys, number, 0, 0), naming)
    return np.bincount(members.sample, members.lengths(naming.growth), minlength=len(samples)).astype(np.int64)
