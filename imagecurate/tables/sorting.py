"""Sorting more rows than fit into memory by their ids."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from imagecurate.errors import OutputError
from imagecurate.store import write_atomically

__all__ = ["sort_rows", "write_index"]

#: Bytes of rows that are sorted in memory at a time.
RUN_BYTES = 32 << 20
#: Bytes of a batch of the index, where its buckets are smaller.
BATCH_BYTES = 4 << 20
#: Each run is cut by the first bits of the ids, so that the same ids of all runs can be brought together: 12 bits make
#: batches of 25 MB out of a table of 100 GB.
_BUCKET_BITS = 12


def sort_rows(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Sort rows by id; of those with the same id the first is kept."""
    return rows.take(pa.array(_order(rows)))


def write_index(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Sort rows and write them as an index.

    Memory is two runs and, above 16 GB of rows, some 4096th of them, however many rows there are and however often an
    id repeats; the folder of ``path`` needs room for the rows twice.

    Parameters
    ----------
    path : Path
        Written atomically.
    schema : pyarrow.Schema
        Of the batches.
    batches : iterable of pyarrow.RecordBatch
        Rows in any order; of rows with the same id the first is kept.

    Raises
    ------
    OutputError
        No room, no permission, a disk that fails.
    """
    with _spool(path.parent) as spool:
        runs = _Runs(spool, schema)
        for batch in batches:
            runs.add(batch)
        runs.cut()

        def write(temporary: Path) -> None:
            with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, schema) as writer:
                for merged in runs.merged():
                    writer.write_batch(merged)

        write_atomically(path, write, durable=True)


class _Runs:
    """Sorted runs in one file, each in pieces by the first bits of the ids."""

    def __init__(self, spool: IO[bytes], schema: pa.Schema) -> None:
        self._spool = spool
        self._schema = schema
        self._gathered: list[pa.RecordBatch] = []
        self._size = 0
        self._end = 0
        #: For each run where its pieces begin, and the last one ends.
        self._offsets: list[NDArray[np.int64]] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Gather rows."""
        self._gathered.append(batch)
        self._size += batch.nbytes
        if self._size >= RUN_BYTES:
            self.cut()

    def cut(self) -> None:
        """Make a run of the rows gathered."""
        if not self._size:
            return
        rows = pa.concat_batches(self._gathered)
        self._gathered, self._size = [], 0
        order = _order(rows)
        buckets = np.arange(1, 1 << _BUCKET_BITS, dtype=np.uint64) << np.uint64(64 - _BUCKET_BITS)
        cuts = [0, *np.searchsorted(rows[0].to_numpy()[order], buckets).tolist(), len(order)]
        offsets = [self._end]
        try:
            for start, stop in pairwise(cuts):
                if stop > start:
                    self._end += self._spool.write(rows.take(pa.array(order[start:stop])).serialize())
                offsets.append(self._end)
            self._spool.flush()
        except OSError as error:
            raise _no_room(error) from error
        self._offsets.append(np.array(offsets))

    def merged(self) -> Iterator[pa.RecordBatch]:
        """Give all rows, sorted by id, each id once."""
        pieces: list[pa.RecordBatch] = []
        size = 0
        for bucket in range(1 << _BUCKET_BITS):
            spans = [(offsets[bucket], offsets[bucket + 1]) for offsets in self._offsets]
            pieces += [self._read(begin, end) for begin, end in spans if begin < end]
            size += sum(int(end - begin) for begin, end in spans)
            if size >= BATCH_BYTES:
                yield sort_rows(pa.concat_batches(pieces))
                pieces, size = [], 0
        if pieces:
            yield sort_rows(pa.concat_batches(pieces))

    def _read(self, begin: int, end: int) -> pa.RecordBatch:
        data = os.pread(self._spool.fileno(), end - begin, begin)
        return pa.ipc.read_record_batch(pa.py_buffer(data), self._schema)


def _order(rows: pa.RecordBatch) -> NDArray[np.int64]:
    """Give the rows in the order of their ids, of those with the same id the first."""
    high, low = rows[0].to_numpy(), rows[1].to_numpy()
    order = np.argsort(high)
    if _equal_to_next(high, order).any():  # seldom, and three times as slow
        order = np.lexsort((low, high))
        repeats = _equal_to_next(high, order) & _equal_to_next(low, order)
        order = np.concatenate([order[:1], order[1:][~repeats]])
    return order


def _equal_to_next(values: NDArray[np.uint64], order: NDArray[np.int64]) -> NDArray[np.bool_]:
    in_order = values[order]
    return np.equal(in_order[1:], in_order[:-1])


def _spool(folder: Path) -> IO[bytes]:
    """Open a file without a name: it goes with the process, however that ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> OutputError:
    return OutputError.because(
        f"an index of a table cannot be built in the store: {error}",
        "make room or get permission there, or name another folder by workdir=",
    )
