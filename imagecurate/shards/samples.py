"""Group the members of a tar into samples."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from imagecurate.shards.naming import IMAGE_EXTENSIONS, is_unsafe, split_name, without_dots
from imagecurate.shards.tar import BLOCK, FILE, HARD_LINK, OTHER, SPARSE, SYMBOLIC_LINK, Member

__all__ = ["MEMBERS", "Entry", "Samples"]

#: Arrow type of the column ``_members``: what an exporter needs to copy a sample.
MEMBERS = pa.list_(
    pa.struct(
        [
            pa.field("name", pa.string()),
            pa.field("start", pa.int64()),
            pa.field("offset", pa.int64()),
            pa.field("size", pa.int64()),
            pa.field("verbatim", pa.bool_()),
        ]
    )
)


class Entry(NamedTuple):
    """A member that was taken into a sample and whose data is all there."""

    row: int
    field: str
    extension: str
    offset: int
    size: int


class Samples:
    """The samples of one shard in the order of their first members, which need not be adjacent.

    Parameters
    ----------
    end : int
        Bytes that the shard really has.

    Attributes
    ----------
    keys : list of str or None
        One a row; None for a row that stands for damage.
    errors : list of str or None
        Why a row is no valid sample.
    ignored : int
        Members that belong to no sample.
    """

    def __init__(self, end: int) -> None:
        self.keys: list[str | None] = []
        self.errors: list[str | None] = []
        self.ignored = 0
        self._end = end
        self._images: list[int] = []  # number of the member, -1 for none
        self._auxiliary: set[int] = set()  # rows whose image so far has a field with a dot, as a.depth.png
        self._linked_images: set[int] = set()  # rows
        self._row_of: dict[str, int] = {}
        self._first_row_of: dict[str, int] = {}  # of keys that repeat
        self._taken: set[tuple[int, str]] = set()
        self._data_of: dict[str, tuple[int, int]] = {}  # what hard links may point to
        self._rows: list[int] = []
        self._names: list[str] = []
        self._starts: list[int] = []
        self._offsets: list[int] = []
        self._sizes: list[int] = []
        self._verbatim: list[bool] = []

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, member: Member) -> Entry | None:
        """Take a member into its sample; None where there is nothing in it to read."""
        name, kind, start, offset, size, link, verbatim = member
        if name.startswith("./"):
            name = without_dots(name)
        if kind == FILE:
            self._data_of[name] = (offset, size)
        split = split_name(name)
        if split is None or kind == OTHER:
            self.ignored += 1
            return None
        key, field = split
        row = self._row(key, field)
        extension = _last_extension(field)
        is_image = extension in IMAGE_EXTENSIONS
        if is_unsafe(name):
            self._fail(row, f"unsafe member name: {name!r}")
        if kind != FILE:
            if kind == SYMBOLIC_LINK:
                self.ignored += 1
                if is_image:
                    self._linked_images.add(row)
                return None
            if kind == SPARSE:
                self._fail(row, f"sparse member: {name!r}")
                return None
            target = self._data_of.get(without_dots(link))
            if target is None:
                self._fail(row, f"{HARD_LINK} to nothing: {name!r} to {link!r}, which does not come before it")
                return None
            offset, size = self._data_of[name] = target
        end = offset + size
        if end > self._end:
            self._fail(row, f"truncated tar: {name!r} goes to byte {end}, the file only to byte {self._end}")
            return None
        if is_image:
            self._take_image(row, is_auxiliary="." in field)
        self._rows.append(row)
        self._names.append(name)
        self._starts.append(start)
        self._offsets.append(offset)
        self._sizes.append(size)
        self._verbatim.append(verbatim and end + -end % BLOCK <= self._end)
        return Entry(row, field, extension, offset, size)

    def add_damage(self, reason: str) -> None:
        """Add a row without a key, which says what is wrong with the shard itself."""
        self._open(None, reason)

    def columns(self) -> dict[str, pa.Array]:
        """Give the columns ``key``, ``_error``, ``_image_name``, ``_image_offset``, ``_image_size``, ``_members``."""
        for row, error in enumerate(self.errors):
            if error is None:
                self.errors[row] = self._fault(row)
        images = np.array(self._images, np.int64)
        named = images >= 0
        sound = np.array([error is None for error in self.errors], np.bool_)
        name = pa.array(self._names, pa.string())
        start, offset, size = (np.array(values, np.int64) for values in (self._starts, self._offsets, self._sizes))
        rows = np.array(self._rows, np.int64)
        if np.any(rows[1:] < rows[:-1]):  # members of a sample that are not adjacent
            order = np.argsort(rows, kind="stable")
            by_row = [
                values.take(pa.array(order)) for values in (name, pa.array(start), pa.array(offset), pa.array(size))
            ]
            by_row.append(pa.array(np.array(self._verbatim, np.bool_)[order]))
            rows = rows[order]
        else:
            by_row = [name, pa.array(start), pa.array(offset), pa.array(size), pa.array(self._verbatim, pa.bool_())]
        bounds = np.searchsorted(rows, np.arange(len(self) + 1)).astype(np.int32)
        members = pa.StructArray.from_arrays(by_row, fields=list(MEMBERS.value_type))
        return {
            "key": pa.array(self.keys, pa.string()),
            "_error": pa.array(self.errors, pa.string()),
            "_image_name": name.take(pa.array(images, mask=~named)),
            "_image_offset": pa.array(offset).take(pa.array(images, mask=~sound)),
            "_image_size": pa.array(size).take(pa.array(images, mask=~sound)),
            "_members": pa.ListArray.from_arrays(pa.array(bounds), members),
        }

    def _take_image(self, row: int, *, is_auxiliary: bool) -> None:
        """Make the member that is about to be noted its sample's image, unless there is one that goes before it.

        The first of a plain field (``a.jpg``) goes before those with a dot (``a.depth.png``), wherever they lie.
        """
        if self._images[row] >= 0 and (is_auxiliary or row not in self._auxiliary):
            return
        self._images[row] = len(self._names)
        if is_auxiliary:
            self._auxiliary.add(row)
        else:
            self._auxiliary.discard(row)

    def _row(self, key: str, field: str) -> int:
        """Find the row that a member belongs to; a field that its sample has already opens another."""
        row = self._row_of.get(key, -1)
        if row >= 0 and (row, field) not in self._taken:
            self._taken.add((row, field))
            return row
        if row < 0:
            row = self._open(key, None)
        else:
            first = self._first_row_of.setdefault(key, row)
            row = self._open(key, f"duplicate key: the shard has it at position {first} already")
        self._row_of[key] = row
        self._taken.add((row, field))
        return row

    def _open(self, key: str | None, error: str | None) -> int:
        self.keys.append(key)
        self.errors.append(error)
        self._images.append(-1)
        return len(self.keys) - 1

    def _fail(self, row: int, reason: str) -> None:
        if self.errors[row] is None:
            self.errors[row] = reason

    def _fault(self, row: int) -> str | None:
        image = self._images[row]
        if image < 0:
            return "image is a symbolic link" if row in self._linked_images else "no image"
        return None if self._sizes[image] else "empty image"


@functools.lru_cache(maxsize=4096)
def _last_extension(field: str) -> str:
    return field.rpartition(".")[2]
