"""Group the members of a tar into samples."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.shards.naming import IMAGE_EXTENSIONS, is_bare, is_unsafe, split_name, without_dots
from imagecurate.shards.signature import SIGNATURE_BYTES, is_image
from imagecurate.shards.tar import BLOCK, FILE, HARD_LINK, OTHER, SPARSE, SYMBOLIC_LINK, Member

__all__ = ["MEMBERS", "SAMPLE", "Entry", "Rows", "Samples"]

#: Internal column, there where a sample may have several rows: the position of its first.
SAMPLE = "_sample"

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
_MEMBER_FIELDS = list(MEMBERS.value_type)

#: What a member is.  The lower goes before the higher as a sample's image: a plain field (``a.jpg``) before one with a
#: dot (``a.depth.png``), and an image by name before one that only its first bytes show.
_NO_IMAGE, _PLAIN, _AUXILIARY, _SHOWN, _SHOWN_AUXILIARY = range(5)
#: Extensions that say what a member is, which then need not be looked into.
_READ = frozenset({"txt", "json"})
#: Each row of a sample lists the members that it shares with the others: with more images and more other members than
#: this, memory would grow with their product.
_MOST_BESIDE = 256

Integers: TypeAlias = NDArray[np.int64]

#: A member that was taken into a sample and whose data is all there: sample, field, extension, offset, size.
Entry: TypeAlias = tuple[int, str, str, int, int]


class _Members(NamedTuple):
    """Members as columns."""

    sample: Integers
    name: pa.Array
    start: Integers
    offset: Integers
    size: Integers
    verbatim: pa.Array
    sort: NDArray[np.int8]


class Rows(NamedTuple):
    """The rows of an index as far as the tar tells them.

    ``sample`` has for each row the number of its sample; ``further`` counts images beyond the first of a sample that
    has one row all the same, ``shown`` those that only their first bytes show.
    """

    columns: dict[str, pa.Array]
    sample: Integers
    further: int
    shown: int

    def spread(self, values: pa.Array) -> pa.Array:
        """Give each row the value of its sample."""
        has_one_row_each = len(values) == len(self.sample)
        return values if has_one_row_each else values.take(pa.array(self.sample))


class Samples:
    """The samples of one shard in the order of their first members, which need not be adjacent.

    Parameters
    ----------
    end : int
        Bytes that the shard really has.
    read : callable
        Gives bytes of the shard by offset and size, to look into members whose names do not say what they are.

    Attributes
    ----------
    keys : list of str or None
        One a sample; None for what stands for damage.
    ignored : int
        Members that belong to no sample.
    """

    def __init__(self, end: int, read: Callable[[int, int], bytes]) -> None:
        self.keys: list[str | None] = []
        self.ignored = 0
        self._end = end
        self._read = read
        self._errors: list[str | None] = []
        self._linked_images: set[int] = set()  # samples
        self._sample_of: dict[str, int] = {}
        self._repeats: dict[int, int] = {}  # samples whose key another had, the first of that key
        self._taken: set[tuple[int, str]] = set()
        self._data_of: dict[str, tuple[int, int]] = {}  # what hard links may point to
        self._samples: list[int] = []
        self._names: list[str] = []
        self._starts: list[int] = []
        self._offsets: list[int] = []
        self._sizes: list[int] = []
        self._verbatim: list[bool] = []
        self._sorts: list[int] = []

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
        if split is None and kind == FILE and is_bare(name) and self._shows_image(offset, size):
            split = name, ""
        if split is None or kind == OTHER:
            self.ignored += 1
            return None
        key, field = split
        sample = self._sample(key, field)
        extension, sort = _extension_and_sort(field)
        if is_unsafe(name):
            self._fail(sample, f"unsafe member name: {name!r}")
        if kind != FILE:
            if kind == SYMBOLIC_LINK:
                self.ignored += 1
                if sort is not None and sort != _NO_IMAGE:
                    self._linked_images.add(sample)
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
            sort = _NO_IMAGE
            if self._shows_image(offset, size):
                sort = _SHOWN_AUXILIARY if "." in field else _SHOWN
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
        self._open(None, reason)

    def rows(self, *, each_image: bool = False) -> Rows:
        """Give one row a sample or, where each image is to have its own, one an image and one for a sample without.

        The columns are ``key``, ``_error``, ``_image_name``, ``_image_offset``, ``_image_size``, ``_members`` and, with
        ``each_image``, ``_sample``.
        """
        members = self._members()
        of_member, sorts = members.sample, members.sort
        image = self._images(of_member, sorts)
        further = 0
        if each_image:
            image = image[~self._fail_crowded(of_member, image)[of_member[image]]]
            image = image[np.argsort(of_member[image], kind="stable")]
            images = np.bincount(of_member[image], minlength=len(self))
            of_row = np.repeat(np.arange(len(self)), np.maximum(images, 1))
            image_of = np.full(len(of_row), -1)
            image_of[images[of_row] > 0] = image
        else:
            of_row, image_of = np.arange(len(self)), np.full(len(self), -1)
            owner, further = of_member[image], len(image)
            if np.any(owner[1:] <= owner[:-1]):  # several of a sample, or samples that are not side by side
                image = image[np.lexsort((image, sorts[image], owner))]
                owner, first = np.unique(of_member[image], return_index=True)
                image = image[first]
            image_of[owner] = image
            further -= len(image)
        columns = self._columns(members, of_row, image_of)
        columns["_members"] = self._lists(members, of_row, image_of, image)
        if each_image:
            columns[SAMPLE] = pa.array(np.searchsorted(of_row, of_row))
        shown = int(np.count_nonzero(sorts[image_of[image_of >= 0]] > _AUXILIARY))
        return Rows(columns, of_row, further, shown)

    def _images(self, of_member: Integers, sorts: NDArray[np.int8]) -> Integers:
        """Numbers of the members that are images; where one says so by its name, its sample has no other kind."""
        image = np.flatnonzero(sorts)
        by_name = sorts[image] <= _AUXILIARY
        if by_name.all():
            return image
        named = np.zeros(len(self), np.bool_)
        named[of_member[image[by_name]]] = True
        named[list(self._linked_images)] = True
        return image[by_name | ~named[of_member[image]]]

    def _fail_crowded(self, of_member: Integers, image: Integers) -> NDArray[np.bool_]:
        """Fail the samples whose rows would list more members than memory may hold; they stay one row."""
        images = np.bincount(of_member[image], minlength=len(self))
        others = np.bincount(of_member, minlength=len(self)) - images
        crowded = np.asarray(np.minimum(images, others) > _MOST_BESIDE)
        for sample in np.flatnonzero(crowded).tolist():
            self._fail(sample, f"too many members: {images[sample]} images beside {others[sample]} others")
        return crowded

    def _members(self) -> _Members:
        return _Members(
            np.array(self._samples, np.int64),
            pa.array(self._names, pa.string()),
            np.array(self._starts, np.int64),
            np.array(self._offsets, np.int64),
            np.array(self._sizes, np.int64),
            pa.array(self._verbatim, pa.bool_()),
            np.array(self._sorts, np.int8),
        )

    def _columns(self, members: _Members, of_row: Integers, image_of: Integers) -> dict[str, pa.Array]:
        """Columns of one value a row: ``of_row`` has its sample, ``image_of`` the member that is its image, or -1."""
        errors = [self._errors[sample] for sample in of_row.tolist()]
        for later, first in self._repeats.items():
            position = int(np.searchsorted(of_row, first))
            for row in range(*np.searchsorted(of_row, [later, later + 1]).tolist()):
                errors[row] = f"duplicate key: the shard has it at position {position} already"
        named = image_of >= 0
        for row in np.flatnonzero(~named).tolist():
            is_linked = of_row[row] in self._linked_images
            errors[row] = errors[row] or ("image is a symbolic link" if is_linked else "no image")
        size = np.append(members.size, -1)[image_of]  # of no image -1
        for row in np.flatnonzero(size == 0).tolist():
            errors[row] = errors[row] or "empty image"
        error = pa.array(errors, pa.string())
        unsound = error.is_valid().to_numpy(zero_copy_only=False)
        keys = pa.array(self.keys, pa.string())
        return {
            "key": keys if len(of_row) == len(self) else keys.take(pa.array(of_row)),
            "_error": error,
            "_image_name": members.name.take(pa.array(image_of, mask=~named)),
            "_image_offset": pa.array(np.append(members.offset, -1)[image_of], mask=unsound),
            "_image_size": pa.array(size, mask=unsound),
        }

    def _lists(self, members: _Members, of_row: Integers, image_of: Integers, image: Integers) -> pa.ListArray:
        """List for each row the members of its sample, in order; of several rows' images only its own."""
        numbers = (pa.array(values) for values in (members.start, members.offset, members.size))
        fields = [members.name, *numbers, members.verbatim]
        row = of_member = members.sample  # of each member listed
        if len(of_row) > len(self):
            row, member = _shared(of_member, of_row, image)
            row = np.concatenate([row, np.flatnonzero(image_of >= 0)])
            member = np.concatenate([member, image_of[image_of >= 0]])
            order = np.lexsort((member, row))
            row, member = row[order], member[order]
            fields = [values.take(pa.array(member)) for values in fields]
        elif np.any(of_member[1:] < of_member[:-1]):  # members of a sample that are not adjacent
            order = np.argsort(of_member, kind="stable")
            row = of_member[order]
            fields = [values.take(pa.array(order)) for values in fields]
        bounds = np.searchsorted(row, np.arange(len(of_row) + 1)).astype(np.int32)
        listed = pa.StructArray.from_arrays(fields, fields=_MEMBER_FIELDS)
        return pa.ListArray.from_arrays(pa.array(bounds), listed)

    def _shows_image(self, offset: int, size: int) -> bool:
        return is_image(self._read(offset, min(size, SIGNATURE_BYTES)))

    def _sample(self, key: str, field: str) -> int:
        """Find the sample that a member belongs to; a field that it has already opens another."""
        sample = self._sample_of.get(key, -1)
        if sample >= 0 and (sample, field) not in self._taken:
            self._taken.add((sample, field))
            return sample
        opened = self._open(key, None)
        if sample >= 0:
            self._repeats[opened] = self._repeats.get(sample, sample)
        self._sample_of[key] = sample = opened
        self._taken.add((sample, field))
        return sample

    def _open(self, key: str | None, error: str | None) -> int:
        self.keys.append(key)
        self._errors.append(error)
        return len(self.keys) - 1

    def _fail(self, sample: int, reason: str) -> None:
        if self._errors[sample] is None:
            self._errors[sample] = reason


def _shared(of_member: Integers, of_row: Integers, image: Integers) -> tuple[Integers, Integers]:
    """Pairs of a row and a member of its sample that is no image."""
    other = np.ones(len(of_member), np.bool_)
    other[image] = False
    members = np.flatnonzero(other)
    members = members[np.argsort(of_member[members], kind="stable")]
    first = np.searchsorted(of_member[members], of_row)
    listed = np.searchsorted(of_member[members], of_row, side="right") - first
    row = np.repeat(np.arange(len(of_row)), listed)
    within = np.arange(len(row)) - np.repeat(np.cumsum(listed) - listed, listed)
    return row, members[np.repeat(first, listed) + within]


@functools.lru_cache(maxsize=4096)
def _extension_and_sort(field: str) -> tuple[str, int | None]:
    """The last extension of a field, and what it says of the member; None where only a look can tell."""
    extension = field.rpartition(".")[2]
    if extension in IMAGE_EXTENSIONS:
        return extension, _AUXILIARY if "." in field else _PLAIN
    return extension, _NO_IMAGE if extension in _READ else None
