"""Group the members of a tar into samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from imagecurate.shards.members import NO_IMAGE, SHOWN, SHOWN_AUXILIARY, Members, extension_and_sort
from imagecurate.shards.naming import is_bare, is_unsafe, split_name, without_dots
from imagecurate.shards.plain_samples import PlainSamples, plain_samples
from imagecurate.shards.plain_tar import PlainMembers
from imagecurate.shards.signature import SIGNATURE_BYTES, is_image
from imagecurate.shards.tar import BLOCK, FILE, HARD_LINK, OTHER, SPARSE, SYMBOLIC_LINK, Member, TarReader

__all__ = ["SAMPLE", "Entry", "Samples"]

#: Internal column, there where a sample may have several rows: the position of its first.
SAMPLE = "_sample"

#: A member that was taken into a sample and whose data is all there: sample, field, extension, offset, size.
Entry: TypeAlias = tuple[int, str, str, int, int]


class Samples:
    """The samples of one shard in the order of their first members, which need not be adjacent.

    Parameters
    ----------
    reader : TarReader
        Of the shard.
    end : int
        Bytes that the shard really has.

    Attributes
    ----------
    keys : list of str or None
        One a sample; None for what stands for damage.
    ignored : int
        Members that belong to no sample.
    errors : dict of int to str
        What is wrong with samples, the first of each.
    repeats : dict of int to int
        Samples whose key another had, and the first of that key.
    linked_images : set of int
        Samples with an image that is a symbolic link.
    """

    def __init__(self, reader: TarReader, end: int) -> None:
        self.keys: list[str | None] = []
        self.ignored = 0
        self.errors: dict[int, str] = {}
        self.repeats: dict[int, int] = {}
        self.linked_images: set[int] = set()
        self._reader = reader
        self._end = end
        self._sample_of: dict[str, int] = {}
        self._taken: set[tuple[int, str]] = set()
        self._data_of: dict[str, tuple[int, int]] = {}  # what hard links may point to
        self._members: Members | None = None  # those of a plain tar; of any other as the lists below
        self._samples: list[int] = []
        self._names: list[str] = []
        self._starts: list[int] = []
        self._offsets: list[int] = []
        self._sizes: list[int] = []
        self._verbatim: list[bool] = []
        self._sorts: list[int] = []

    def __len__(self) -> int:
        return len(self.keys)

    def collect(self, read: Collection[str]) -> Iterator[Entry]:
        """Take all members of the tar into their samples; give those with an extension that is to be read."""
        plain = self._reader.plain
        grouped = None if plain is None else plain_samples(plain)
        if plain is not None and grouped is not None:
            yield from self._add_plain(plain, grouped, read)
            return
        for member in self._reader:
            entry = self.add(member)
            if entry is not None and entry[2] in read:
                yield entry

    def add(self, member: Member) -> Entry | None:
        """Take a member into its sample; None where there is nothing in it to read."""
        name, kind, start, offset, size, link, verbatim = member
        if name.startswith("./"):
            name = without_dots(name)
        if kind == FILE:
            self._data_of[name] = (offset, size)
        split = split_name(name)
        if split is None and kind == FILE and is_bare(name) and self._shows_image(offset, size):
            split = name, ""
        if split is None or kind == OTHER:
            self.ignored += 1
            return None
        key, field = split
        sample = self._sample(key, field)
        extension, sort = extension_and_sort(field)
        if is_unsafe(name):
            self._fail(sample, f"unsafe member name: {name!r}")
        if kind != FILE:
            if kind == SYMBOLIC_LINK:
                self.ignored += 1
                if sort is not None and sort != NO_IMAGE:
                    self.linked_images.add(sample)
                return None
            if kind == SPARSE:
                self._fail(sample, f"sparse member: {name!r}")
                return None
            target = self._data_of.get(without_dots(link))
            if target is None:
                self._fail(sample, f"{HARD_LINK} to nothing: {name!r} to {link!r}, which does not come before it")
                return None
            offset, size = self._data_of[name] = target
        end = offset + size
        if end > self._end:
            self._fail(sample, f"truncated tar: {name!r} goes to byte {end}, the file only to byte {self._end}")
            return None
        if sort is None:
            sort = self._shown_sort(field, offset, size)
        self._samples.append(sample)
        self._names.append(name)
        self._starts.append(start)
        self._offsets.append(offset)
        self._sizes.append(size)
        self._verbatim.append(verbatim and end + -end % BLOCK <= self._end)
        self._sorts.append(sort)
        return sample, field, extension, offset, size

    def add_damage(self, reason: str) -> None:
        """Add a row without a key, which says what is wrong with the shard itself."""
        self._fail(self._open(None), reason)

    def members(self) -> Members:
        """Give the members that were taken."""
        return self._members or Members(
            np.array(self._samples, np.int64),
            pa.array(self._names, pa.string()),
            np.array(self._starts, np.int64),
            np.array(self._offsets, np.int64),
            np.array(self._sizes, np.int64),
            pa.array(self._verbatim, pa.bool_()),
            np.array(self._sorts, np.int8),
        )

    def _add_plain(self, plain: PlainMembers, grouped: PlainSamples, read: Collection[str]) -> list[Entry]:
        """Take the members of a plain tar, all at once."""
        known = {field: extension_and_sort(field) for field in set(grouped.field)}
        sort_of = {field: sort for field, (_, sort) in known.items()}
        sorts = [sort_of[field] for field in grouped.field]
        columns = (grouped.sample, grouped.field, plain.offset.tolist(), plain.size.tolist())
        if None in sort_of.values():
            for number, (_, field, offset, size) in enumerate(zip(*columns, strict=True)):
                if sorts[number] is None:
                    sorts[number] = self._shown_sort(field, offset, size)
        self.keys.extend(grouped.keys)
        self._members = Members(
            np.array(grouped.sample, np.int64),
            pa.array(plain.name, pa.string()),
            plain.start,
            plain.offset,
            plain.size,
            pa.repeat(True, len(sorts)),
            np.array(sorts, np.int8),
        )
        extension_of = {field: extension for field, (extension, _) in known.items() if extension in read}
        return [
            (sample, field, extension_of[field], offset, size)
            for sample, field, offset, size in zip(*columns, strict=True)
            if field in extension_of
        ]

    def _shown_sort(self, field: str, offset: int, size: int) -> int:
        """What a member is by its first bytes."""
        if not self._shows_image(offset, size):
            return NO_IMAGE
        return SHOWN_AUXILIARY if "." in field else SHOWN

    def _shows_image(self, offset: int, size: int) -> bool:
        return is_image(self._reader.read(offset, min(size, SIGNATURE_BYTES)))

    def _sample(self, key: str, field: str) -> int:
        """Find the sample that a member belongs to; a field that it has already opens another."""
        sample = self._sample_of.get(key, -1)
        if sample >= 0 and (sample, field) not in self._taken:
            self._taken.add((sample, field))
            return sample
        opened = self._open(key)
        if sample >= 0:
            self.repeats[opened] = self.repeats.get(sample, sample)
        self._sample_of[key] = sample = opened
        self._taken.add((sample, field))
        return sample

    def _open(self, key: str | None) -> int:
        self.keys.append(key)
        return len(self.keys) - 1

    def _fail(self, sample: int, reason: str) -> None:
        self.errors.setdefault(sample, reason)
