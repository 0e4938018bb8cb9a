"""The rows of an index as far as the members of the tar tell them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.shards.members import AUXILIARY, MEMBERS, Integers, Members
from imagecurate.shards.samples import SAMPLE, Samples

__all__ = ["Rows", "rows_of"]

_MEMBER_FIELDS = list(MEMBERS.value_type)

#: Each row of a sample lists the members that it shares with the others: with more images and more other members than
#: this, memory would grow with their product.
_MOST_BESIDE = 256


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


def rows_of(samples: Samples, *, each_image: bool = False) -> Rows:
    """Give one row a sample or, where each image is to have its own, one an image and one for a sample without.

    The columns are ``key``, ``_error``, ``_image_name``, ``_image_offset``, ``_image_size``, ``_members`` and, with
    ``each_image``, ``_sample``.
    """
    members = samples.members()
    of_member, sorts = members.sample, members.sort
    image = _images(samples, members)
    further = 0
    if each_image:
        image = image[~_fail_crowded(samples, of_member, image)[of_member[image]]]
        image = image[np.argsort(of_member[image], kind="stable")]
        images = np.bincount(of_member[image], minlength=len(samples))
        of_row = np.repeat(np.arange(len(samples)), np.maximum(images, 1))
        image_of = np.full(len(of_row), -1)
        image_of[images[of_row] > 0] = image
    else:
        of_row, image_of = np.arange(len(samples)), np.full(len(samples), -1)
        owner, further = of_member[image], len(image)
        if np.any(owner[1:] <= owner[:-1]):  # several of a sample, or samples that are not side by side
            image = image[np.lexsort((image, sorts[image], owner))]
            owner, first = np.unique(of_member[image], return_index=True)
            image = image[first]
        image_of[owner] = image
        further -= len(image)
    columns = _columns(samples, members, of_row, image_of)
    columns["_members"] = _lists(members, of_row, image_of, image, of_samples=len(of_row) == len(samples))
    if each_image:
        columns[SAMPLE] = pa.array(np.searchsorted(of_row, of_row))
    shown = int(np.count_nonzero(sorts[image_of[image_of >= 0]] > AUXILIARY))
    return Rows(columns, of_row, further, shown)


def _images(samples: Samples, members: Members) -> Integers:
    """Numbers of the members that are images; where one says so by its name, its sample has no other kind."""
    image = np.flatnonzero(members.sort)
    by_name = members.sort[image] <= AUXILIARY
    if by_name.all():
        return image
    named = np.zeros(len(samples), np.bool_)
    named[members.sample[image[by_name]]] = True
    named[list(samples.linked_images)] = True
    return image[by_name | ~named[members.sample[image]]]


def _fail_crowded(samples: Samples, of_member: Integers, image: Integers) -> NDArray[np.bool_]:
    """Fail the samples whose rows would list more members than memory may hold; they stay one row."""
    images = np.bincount(of_member[image], minlength=len(samples))
    others = np.bincount(of_member, minlength=len(samples)) - images
    crowded = np.asarray(np.minimum(images, others) > _MOST_BESIDE)
    for sample in np.flatnonzero(crowded).tolist():
        reason = f"too many members: {images[sample]} images beside {others[sample]} others"
        samples.errors.setdefault(sample, reason)
    return crowded


def _columns(samples: Samples, members: Members, of_row: Integers, image_of: Integers) -> dict[str, pa.Array]:
    """Columns of one value a row: ``of_row`` has its sample, ``image_of`` the member that is its image, or -1."""
    errors = list(map(samples.errors.get, of_row.tolist()))
    for later, first in samples.repeats.items():
        position = int(np.searchsorted(of_row, first))
        for row in range(*np.searchsorted(of_row, [later, later + 1]).tolist()):
            errors[row] = f"duplicate key: the shard has it at position {position} already"
    named = image_of >= 0
    for row in np.flatnonzero(~named).tolist():
        is_linked = of_row[row] in samples.linked_images
        errors[row] = errors[row] or ("image is a symbolic link" if is_linked else "no image")
    offset, size = (np.concatenate([values, [-1]])[image_of] for values in (members.offset, members.size))  # of none -1
    for row in np.flatnonzero(size == 0).tolist():
        errors[row] = errors[row] or "empty image"
    error = pa.array(errors, pa.string())
    unsound = error.is_valid().to_numpy(zero_copy_only=False) if error.null_count < len(error) else None
    keys = pa.array(samples.keys, pa.string())
    return {
        "key": keys if len(of_row) == len(samples) else keys.take(pa.array(of_row)),
        "_error": error,
        "_image_name": members.name.take(pa.array(image_of, mask=~named)),
        "_image_offset": pa.array(offset, mask=unsound),
        "_image_size": pa.array(size, mask=unsound),
    }


def _lists(
    members: Members, of_row: Integers, image_of: Integers, image: Integers, *, of_samples: bool
) -> pa.ListArray:
    """List for each row the members of its sample, in order; of several rows' images only its own."""
    numbers = (pa.array(values) for values in (members.start, members.offset, members.size))
    fields = [members.name, *numbers, members.verbatim]
    row = of_member = members.sample  # of each member listed
    if not of_samples:
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
