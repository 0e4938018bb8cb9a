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
from imagecurate.export.cut import cut_by_bytes, cut_by_samples
from imagecurate.export.folder import DIGESTS
from imagecurate.export.header import RECORD
from imagecurate.export.keys import (
    Clashes,
    Flags,
    Hashes,
    Naming,
    NewNumbers,
    ToldApart,
    ends_in,
    hashes,
    shard_suffixes,
)
from imagecurate.export.layout import Layout, Slice
from imagecurate.export.members import Integers, members_of
from imagecurate.export.sample_rows import read_samples
from imagecurate.export.survivors import MEMBERS
from imagecurate.plan.execute import in_order

if TYPE_CHECKING:
    from imagecurate.export.survivors import SurvivingRows, Survivors
    from imagecurate.shards.shard import Shard

__all__ = ["Options", "plan_export", "whole_number"]


#: Digits of a 64-bit number of shards.
_MOST_DIGITS = 18


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
        if whole.shard_digits > _MOST_DIGITS:
            raise ParameterError(f"shard_digits must be at most {_MOST_DIGITS}, but is {whole.shard_digits}")
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


def plan_export(survivors: Survivors, options: Options, threads: int, scratch: Path) -> Layout:
    """Plan from the keys of the kept samples and, for ``bytes_per_shard``, the places of their members.

    What is held grows with the number of shards, not of samples.

    Parameters
    ----------
    survivors : Survivors
        What is to be exported.
    options : Options
        How.
    threads : int
        In which input shards are looked at, where there are no workers for that.
    scratch : Path
        Folder for what is noted of each key; what is returned may read from it.

    Raises
    ------
    ParameterError
        There will be more shards than ``shard_digits`` can number.
    """
    layout = _named(survivors, options, threads, scratch)
    if options.bytes_per_shard is not None:
        wholes = (layout.whole(number) for number in range(len(survivors.shards)))
        sizes = in_order(_Sizes(survivors.rows, layout.naming), wholes, threads)
        layout = replace(layout, cut=cut_by_bytes(sizes, options.samples_per_shard, options.bytes_per_shard))
    if len(layout) > 10**options.shard_digits:
        raise ParameterError.because(
            f"{layout.cut.samples} samples make {len(layout)} shards, more than {options.shard_digits} digits can "
            "number",
            f"shard_digits={len(str(len(layout) - 1))}",
        )
    return layout


def _named(survivors: Survivors, options: Options, threads: int, scratch: Path) -> Layout:
    """Plan shards by samples alone, and what samples are called."""
    shards, suffixes = survivors.shards, shard_suffixes(survivors.shards)
    renumbered = options.old_id_col is not None
    look = _Look(survivors.rows, None if renumbered else np.sort(hashes(suffixes)))
    counts = np.zeros(len(shards), np.int64)
    clashes = Clashes(scratch)
    for number, (count, keys, looks) in enumerate(in_order(look, shards, threads)):
        counts[number] = count
        clashes.add(keys, looks)
    told_apart = clashes.found() and not renumbered
    naming = Naming()
    if renumbered:
        naming = NewNumbers(options.shard_digits, options.samples_per_shard, options.id_col)
    elif told_apart:
        naming = ToldApart()
    cut = cut_by_samples(counts, options.samples_per_shard)
    return Layout(shards, suffixes, cut, naming, clashes if told_apart else None, options.shard_digits)


@dataclass(frozen=True)
class _Look:
    """How many samples of an input shard are kept and, unless they get numbers, what is noted of their keys."""

    rows: SurvivingRows
    suffixes: Hashes | None

    def __call__(self, shard: Shard) -> tuple[int, Hashes, Flags]:
        samples = read_samples(self.rows, shard, [KEY])
        if self.suffixes is None:
            return len(samples), np.zeros(0, np.uint64), np.zeros(0, np.bool_)
        return len(samples), hashes(samples.keys), ends_in(samples.keys, self.suffixes)


@dataclass(frozen=True)
class _Sizes:
    """Bytes that each sample of a slice takes in a tar, at most."""

    rows: SurvivingRows
    naming: Naming

    def __call__(self, whole: tuple[Slice, Flags | None]) -> Integers:
        slice_, told_apart = whole
        samples = read_samples(self.rows, slice_.shard, [KEY, MEMBERS])
        exported = self.naming.keys(samples.keys, slice_.suffix, told_apart, 0, 0)
        members = members_of(samples, exported, self.naming)
        return np.bincount(members.sample, members.lengths(self.naming.growth), minlength=len(samples)).astype(np.int64)
