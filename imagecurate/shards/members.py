"""The members of samples as columns, and what the name of each says that it is."""

from __future__ import annotations

import functools
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.shards.naming import IMAGE_EXTENSIONS

__all__ = [
    "AUXILIARY",
    "MEMBERS",
    "NO_IMAGE",
    "PLAIN",
    "SHOWN",
    "SHOWN_AUXILIARY",
    "Integers",
    "Members",
    "extension_and_sort",
]

Integers: TypeAlias = NDArray[np.int64]

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

#: What a member is.  The lower goes before the higher as a sample's image: a plain field (``a.jpg``) before one with a
#: dot (``a.depth.png``), and an image by name before one that only its first bytes show.
NO_IMAGE, PLAIN, AUXILIARY, SHOWN, SHOWN_AUXILIARY = range(5)
#: Extensions that say what a member is, which then need not be looked into.
_READ = frozenset({"txt", "json"})


class Members(NamedTuple):
    """Members that were taken into samples, in the order of the tar; see `Member` for what the columns say.

    ``sample`` is the number of a member's sample, ``sort`` what it is.
    """

    sample: Integers
    name: pa.Array
    start: Integers
    offset: Integers
    size: Integers
    verbatim: pa.Array
    sort: NDArray[np.int8]


@functools.lru_cache(maxsize=4096)
def extension_and_sort(field: str) -> tuple[str, int | None]:
    """The last extension of a field, and what it says of the member; None where only a look can tell."""
    extension = field.rpartition(".")[2]
    if extension in IMAGE_EXTENSIONS:
        return extension, AUXILIARY if "." in field else PLAIN
    return extension, NO_IMAGE if extension in _READ else None
