"""The members of a small tar that holds nothing but files, all headers at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from imagecurate.shards.tar_headers import BLOCK, MAGIC, DamageError, parse_records, text

__all__ = ["PlainMembers", "plain_members"]

#: Zeros that end an archive: two blocks, up to a record of 10 KiB, and a block that a writer may add.
_MOST_PADDING = 11 << 10
#: Bytes of a header that are octal digits, of its size and then of its checksum, and what they count for.
_DIGITS = np.r_[124:135, 148:154]
_PLACES = 8 ** np.arange(11)[::-1]
#: Bytes that are zero where a header itself says all: one behind the size, a link, the front of a long name.
_EMPTY = np.array([135, 157, 345])


class PlainMembers(NamedTuple):
    """The members of a plain tar in order, each a file that is all there; see `Member` for what the columns say."""

    name: list[str]
    start: NDArray[np.int64]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]


def plain_members(data: bytes) -> PlainMembers | None:
    """Find the members of a tar that is sound and plain, in a third of the time of a walk.

    Plain is a tar of files whose headers themselves have name and size, as tarfile and webdataset write them.  Every
    block with the magic of a header is taken for one.  They are the headers, and all of them, if each begins where the
    data of the one before it ends, from the first block to the zeros at the end.

    Parameters
    ----------
    data : bytes
        The whole tar.

    Returns
    -------
    PlainMembers or None
        What a walk says of the members; None for any other tar, of which only a walk can tell what it holds.
    """
    blocks = np.frombuffer(data, np.uint8, len(data) // BLOCK * BLOCK).reshape(-1, BLOCK)
    found = np.flatnonzero(blocks[:, 257] == MAGIC[0])
    found = found[(blocks[found, 257:262] == MAGIC).all(axis=1)]
    if not len(found) or found[0] != 0:
        return None
    headers = blocks[found]
    digits = headers[:, _DIGITS] - np.uint8(ord("0"))
    if digits.max() > 7:
        return None
    size, checksum = digits[:, :11] @ _PLACES, digits[:, 11:] @ _PLACES[-6:]
    headers[:, 148:156] = ord(" ")  # as which the field counts itself
    start = found * BLOCK
    offset = start + BLOCK
    end = offset + (size + BLOCK - 1) // BLOCK * BLOCK
    padding = len(data) - int(end[-1])
    if not (
        (start[1:] == end[:-1]).all()
        and BLOCK <= padding <= _MOST_PADDING
        and data.endswith(bytes(padding))
        and (headers.sum(axis=1, dtype=np.uint32) == checksum).all()
        and not headers[:, _EMPTY].any()
    ):
        return None
    is_file = headers[:, 156] == ord("0")
    if not is_file.all():
        is_pax = headers[:, 156] == ord("x")  # says more of the file after it
        if not (
            (is_file | is_pax).all()
            and is_file[-1]
            and not (is_pax[1:] & is_pax[:-1]).any()
            and all(_says_nothing(data[offset[pax] : offset[pax] + size[pax]]) for pax in np.flatnonzero(is_pax))
        ):
            return None
        start[1:][is_pax[:-1]] = start[:-1][is_pax[:-1]]
        headers, start, offset, size = (values[is_file] for values in (headers, start, offset, size))
    names = b"\0".join(headers[:, :100].copy().view("S100").ravel().tolist())
    if names.count(b"\0") >= len(headers):  # one in a name
        return None
    return PlainMembers(text(names).split("\0"), start, offset, size)


def _says_nothing(records: bytes) -> bool:
    """Tell whether PAX records say nothing of name, size or kind of their member."""
    try:
        return not parse_records(records, 0)
    except DamageError:
        return False
