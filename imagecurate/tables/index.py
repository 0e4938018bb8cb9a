"""An index: rows sorted by the hash of their id, in an Arrow file that is mapped into memory."""

from __future__ import annotations

import fcntl
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.tables.ids import Hashes

__all__ = ["Index", "index_schema", "indexed", "open_index"]

#: Columns of an index before those of its values: the halves of the hashed id.
_ID = (pa.field("_high", pa.uint64(), nullable=False), pa.field("_low", pa.uint64(), nullable=False))
#: One index is built at a time: others would take the memory of another build.
_building = threading.Lock()


def index_schema(values: Sequence[pa.Field]) -> pa.Schema:
    """The schema of an index with some values."""
    return pa.schema([*_ID, *values])


def indexed(ids: Hashes, values: Sequence[pa.Array], schema: pa.Schema) -> pa.RecordBatch:
    """Put rows under their ids, as yet unsorted."""
    return pa.record_batch([pa.array(ids[:, 0]), pa.array(ids[:, 1]), *values], schema=schema)


class Index:
    """Rows by id.

    Parameters
    ----------
    batches : sequence of pyarrow.RecordBatch
        Sorted by id, each id once; two ids that share their high half lie in one batch.
    schema : pyarrow.Schema
        As ``index_schema`` gives it.
    """

    def __init__(self, batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> None:
        self._batches = [batch for batch in batches if len(batch)]
        self._starts = np.array([batch[0][0].as_py() for batch in self._batches], np.uint64)
        self._schema = schema

    def look_up(self, ids: Hashes) -> tuple[list[pa.Array], NDArray[np.int64]]:
        """Find rows.

        Parameters
        ----------
        ids : array of shape (n, 2), uint64

        Returns
        -------
        values : list of pyarrow.Array
            Values of the rows that were found, in no order.
        places : array of shape (n,), int64
            For each id the place of its row among those, -1 where there is none.
        """
        order = np.argsort(ids[:, 0])
        ids = ids[order]
        ends = [*np.searchsorted(ids[:, 0], self._starts[1:]).tolist(), len(ids)]
        found: list[list[pa.Array]] = [[pa.array([], field.type)] for field in list(self._schema)[len(_ID) :]]
        places = np.full(len(ids), -1, np.int64)
        count = start = 0
        for batch, end in zip(self._batches, ends, strict=False):
            rows = _rows(batch, ids[start:end])
            (matched,) = np.nonzero(rows >= 0)
            if len(matched):
                places[order[start + matched]] = np.arange(count, count + len(matched))
                count += len(matched)
                taken = pa.array(rows[matched])
                for column, pieces in zip(batch.columns[len(_ID) :], found, strict=True):
                    pieces.append(column.take(taken))
            start = end
        return [pa.concat_arrays(pieces) for pieces in found], places


def open_index(path: Path, schema: pa.Schema, build: Callable[[Path], None]) -> Index:
    """Open an index, and build it first where it is not there or damaged.

    Threads and processes that want the same one wait for the first to build it.  That only saves them the work: where
    files cannot be locked each builds, and writes the same bytes.

    Parameters
    ----------
    path : Path
        Named by what is in it, so that it is never stale.
    schema : pyarrow.Schema
        What it must look like.
    build : callable
        Writes the file, atomically.
    """
    index = _opened(path, schema)
    if index is None:
        with _building, _locked(path):
            index = _opened(path, schema)
            if index is None:
                build(path)
                index = _mapped(path, schema)
    return index


def _opened(path: Path, schema: pa.Schema) -> Index | None:
    try:
        return _mapped(path, schema)
    except (OSError, pa.ArrowException):  # not there, or cut off
        return None


@functools.lru_cache(maxsize=32)
def _mapped(path: Path, schema: pa.Schema) -> Index:
    with pa.ipc.open_file(pa.memory_map(str(path))) as file:
        if file.schema != schema:
            raise pa.ArrowInvalid(f"{path} has another schema")
        batches = [file.get_batch(number) for number in range(file.num_record_batches)]
    for batch in batches:
        batch.validate()
    return Index(batches, schema)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with ExitStack() as stack:
        with suppress(OSError):  # a folder that cannot be written, as building will tell, or one without locks
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(path.with_suffix(".lock").open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _rows(batch: pa.RecordBatch, ids: Hashes) -> NDArray[np.int64]:
    """Give the row of each id in a batch, -1 where it has none."""
    high, low = batch[0].to_numpy(), batch[1].to_numpy()
    rows = np.searchsorted(high, ids[:, 0])
    last = len(high) - 1
    while True:
        here = np.minimum(rows, last)
        same = (rows <= last) & (high[here] == ids[:, 0])
        behind = same & (low[here] < ids[:, 1])
        if not behind.any():
            return np.where(same & (low[here] == ids[:, 1]), rows, -1)
        rows += behind  # seldom: two ids share the high half
