"""Which pictures are most alike to one, by their embeddings."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.columns import matrix, regular
from imagecurate.errors import ParameterError
from imagecurate.explore.best import Best
from imagecurate.explore.look import Seen
from imagecurate.images import Decoder, ImageInfo
from imagecurate.images.decoder import plain_info
from imagecurate.images.header import jpeg_header
from imagecurate.plan.plan import Plan
from imagecurate.plan.prepared import Prepared
from imagecurate.plan.stage import ImageStage

__all__ = ["SIMILARITY", "MostAlike", "cosine", "embedded", "file_of"]

#: How the gallery calls the cosine.
SIMILARITY = "similarity"


@dataclass(frozen=True, eq=False)
class MostAlike(Best):
    """Chooses the rows whose vectors have the greatest cosine to one.

    Parameters
    ----------
    value : str
        The column of vectors.
    query : array of shape (d,), float32
    """

    query: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def values(self, seen: Seen) -> pa.Array:
        column = seen.columns[str(self.value)]
        whole = regular(column)
        vectors, valid = matrix(column.filter(pa.array(whole)))
        if len(vectors) and vectors.shape[1] != len(self.query):
            raise ParameterError(
                f"the query is a vector of {len(self.query)} numbers, but {self.value!r} has {vectors.shape[1]} of them"
            )
        similarity = np.full(len(column), np.nan)
        rows = np.flatnonzero(whole)[valid]
        if len(rows):
            similarity[rows] = cosine(vectors, self.query)
        return pa.array(similarity)


def cosine(vectors: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosines to one vector; NaN where either is zero.

    >>> cosine(np.array([[3.0, 0.0], [0.0, 0.0]], np.float32), np.array([1.0, 1.0], np.float32)).round(3).tolist()
    [0.707, nan]
    """
    dots = vectors.astype(np.float64) @ query.astype(np.float64)
    norms = np.linalg.norm(vectors, axis=1).astype(np.float64) * np.linalg.norm(query)
    cosines = np.full(len(dots), np.nan)
    np.divide(dots, norms, out=cosines, where=norms > 0)
    return cosines


def file_of(query: Any) -> bytes | None:
    """The bytes of an image file that a query is or names; None where it is something else.

    Raises
    ------
    ParameterError
        It is a path, and there is no file.
    """
    if isinstance(query, bytes | bytearray | memoryview):
        return bytes(query)
    if not isinstance(query, str | os.PathLike):
        return None
    path = os.path.expanduser(query)  # noqa: PTH111 - which leaves "~nobody" as it is, for it may be a key
    if os.path.isfile(path):  # noqa: PTH113 - which takes a key of any length
        return Path(path).read_bytes()
    if isinstance(query, str):
        return None
    raise ParameterError(f"there is no image file {os.fspath(query)!r}")


def embedded(plan: Plan, column: str, data: bytes) -> NDArray[np.float32]:
    """Embed an image file as the stage that makes a column does.

    Raises
    ------
    ParameterError
        The column came with the data, or the file is no picture.
    """
    stage = plan.stage_of(column)
    if not isinstance(stage, ImageStage):
        raise ParameterError.because(
            f"{column!r} came with the data, so no model is known that would embed another picture",
            "name a sample of the dataset, or give a vector",
        )
    one = np.zeros(1, np.int64)
    prepared = Prepared(stage, one, np.ones(1, np.bool_), plan.policy)
    info = ImageInfo()
    header = jpeg_header(data)
    if stage.looks_at == "bytes":
        prepared.prepare(0, data)
    elif header is not None and prepared.takes(data, header) and not prepared.prepare_files([0], [data], [header]):
        info = plain_info(header)  # as the pictures of the dataset were prepared
    else:
        with Decoder(plan.policy) as decoder:
            decoded = decoder.decode(data, header)
        info = decoded.info
        prepared.take(0, decoded)
    (row,) = prepared.run(one, one, [info]).to_pylist()
    if row[column] is None:
        raise ParameterError(f"the picture cannot be embedded: {row['_error'] or 'it gave no vector'}")
    return np.asarray(row[column], np.float32)
