"""What kinds of columns there are to look at."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["is_number", "is_vectors"]


def is_number(kind: pa.DataType) -> bool:
    """Whether a column holds numbers; truth values are none.

    >>> is_number(pa.float32()), is_number(pa.bool_())
    (True, False)
    """
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def is_vectors(kind: pa.DataType) -> bool:
    """Whether a column holds vectors, as embeddings are.

    >>> is_vectors(pa.list_(pa.float32())), is_vectors(pa.list_(pa.string()))
    (True, False)
    """
    return bool(pa.types.is_list(kind) and pa.types.is_floating(kind.value_type))
