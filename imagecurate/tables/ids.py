"""Ids as texts that compare, and as 128-bit numbers that sort."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from imagecurate.shards.types import converted, plain_type

__all__ = ["Hashes", "all_valid", "as_text", "hashed", "is_number"]

#: Ids as numbers of 128 bits: shape (n, 2), uint64, the high half first.
Hashes = NDArray[np.uint64]


def is_number(kind: pa.DataType) -> bool:
    """Tell whether ids of a type are integers, in whatever form.

    >>> is_number(pa.uint8()), is_number(pa.float64()), is_number(pa.string())
    (True, True, False)
    """
    kind = plain_type(kind)
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or (pa.types.is_decimal(kind) and not kind.scale)


def as_text(ids: pa.Array | pa.ChunkedArray, *, numeric: bool) -> pa.Array:
    """Give ids as texts that are equal where the ids are.

    Parameters
    ----------
    ids : pyarrow.Array
        Of any type.
    numeric : bool
        True where the ids on one of the two sides are integers: a text that says a number then loses leading zeros.

    Returns
    -------
    pyarrow.Array of string
        Null for a null, and for a float that is no integer.

    Examples
    --------
    >>> as_text(pa.array([42.0, None, 0.5]), numeric=True).to_pylist()
    ['42', None, None]
    >>> as_text(pa.array(["000000042", "0a"]), numeric=True).to_pylist()
    ['42', '0a']
    """
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    plain, _ = converted(ids, plain_type(ids.type))
    if pa.types.is_floating(plain.type):  # integers that pandas once saw a null among
        plain = plain.cast(pa.float64())
        whole = pc.and_(pc.equal(pc.floor(plain), plain), pc.less(pc.abs(plain), 2.0**63))
        plain = pc.if_else(whole, plain, pa.scalar(None, pa.float64())).cast(pa.int64(), safe=False)
    text, _ = converted(plain, pa.string())
    if numeric and not is_number(ids.type):
        text = pc.replace_substring_regex(text, r"^(-?)0+([0-9]+)$", r"\1\2")
    return text


def all_valid(texts: Sequence[pa.Array]) -> NDArray[np.bool_]:
    """Tell where none of the parts of an id is null."""
    valid: NDArray[np.bool_] = np.all([text.is_valid().to_numpy(zero_copy_only=False) for text in texts], axis=0)
    return valid


def hashed(texts: Sequence[pa.Array]) -> Hashes:
    """Hash ids, given as texts without nulls, one array for each part of a composite id.

    Two of a billion ids have the same hash once in 10**20 tables: nothing compares the texts again.

    Returns
    -------
    array of shape (n, 2), uint64

    Examples
    --------
    >>> hashed([pa.array(["a", "b"]), pa.array(["b", "a"])]).shape
    (2, 2)
    """
    parts = [_digests(text.cast(pa.binary()).to_pylist()) for text in texts]
    if len(parts) > 1:  # hashes of equal length, side by side, so that ("ab", "c") is not ("a", "bc")
        row = 16 * len(parts)
        data = np.concatenate(parts, axis=1).tobytes()
        parts = [_digests([data[start : start + row] for start in range(0, len(data), row)])]
    return parts[0].view(">u8").astype(np.uint64)


def _digests(items: Sequence[bytes]) -> NDArray[np.uint8]:
    digests = b"".join(map(xxhash.xxh3_128_digest, items))
    return np.frombuffer(digests, np.uint8).reshape(-1, 16)
