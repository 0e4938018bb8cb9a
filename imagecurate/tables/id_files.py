"""Files that hold nothing but ids: text, CSV and NumPy arrays."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as pacsv

from imagecurate.errors import ColumnNotFoundError, ParameterError, listed

__all__ = ["READERS", "extension_of", "ids_in_array"]

#: Gives the ids in a file, some at a time; the name is that of the column of ids, where a file has columns.
IdReader: TypeAlias = Callable[[io.RawIOBase, str], Iterator[pa.Array]]

#: Ids read at a time, and bytes.
_IDS = 64 << 10
_BUFFER = 4 << 20


def ids_in_array(array: NDArray[Any]) -> pa.Array:
    """Give the ids in a NumPy array.

    Parameters
    ----------
    array : array of shape (n,)
        Texts, bytes, integers, or pairs of uint64 (dtype ``u8,u8``), which are the halves of a number of 128 bits, the
        high one first, as DataComp writes its subsets of uids.

    Returns
    -------
    pyarrow.Array
        Pairs as texts of 32 hexadecimal digits.

    Raises
    ------
    ParameterError
        It holds none of these.

    Examples
    --------
    >>> ids_in_array(np.array([(1, 0xF)], "u8,u8")).to_pylist()
    ['0000000000000001000000000000000f']
    """
    kinds = [array.dtype[name].str[1:] for name in array.dtype.names or ()]
    if kinds == ["u8", "u8"]:
        halves = np.stack([array[name] for name in array.dtype.names or ()], axis=1).astype(">u8")
        starts = np.arange(len(array) + 1, dtype=np.int64) * 32
        digits = pa.py_buffer(halves.tobytes().hex().encode())
        return pa.LargeStringArray.from_buffers(len(array), pa.py_buffer(starts), digits)
    if kinds or array.dtype.kind not in "iufUS":
        raise ParameterError.because(
            f"an array of ids holds texts, integers or pairs 'u8,u8', not {array.dtype}",
            "save the ids as texts: numpy.save(path, numpy.array(ids, dtype=str))",
        )
    return pa.array(array.astype(array.dtype.newbyteorder("=")), from_pandas=True)


def _read_text(stream: io.RawIOBase, on: str) -> Iterator[pa.Array]:
    lines = (line.strip() for line in io.TextIOWrapper(io.BufferedReader(stream, _BUFFER), "utf-8-sig"))
    ids = filter(None, lines)
    while some := list(islice(ids, _IDS)):
        yield pa.array(some, pa.string())


def _read_csv(stream: io.RawIOBase, on: str) -> Iterator[pa.Array]:
    file = io.BufferedReader(stream, _BUFFER)
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    names = next(csv.reader(text), [])
    text.detach()
    file.seek(0)
    if not names:
        raise ValueError("it has no header")
    if on not in names:
        raise _without_column(on, names)
    with pacsv.open_csv(
        pa.PythonFile(file, mode="r"),
        pacsv.ReadOptions(use_threads=False, block_size=_BUFFER),
        pacsv.ParseOptions(newlines_in_values=True),
        pacsv.ConvertOptions(column_types={on: pa.string()}, include_columns=[on]),
    ) as reader:
        for batch in reader:
            yield batch[0]


def _without_column(on: str, names: list[str]) -> ColumnNotFoundError:
    """Say what the first line of a CSV holds: of a single column it may be an id, or not be cut where it should be."""
    hint = "name the column of ids so"
    other = next((mark for mark in ";\t|" if mark in names[0]), None)
    if len(names) == 1 and other:
        hint = f"a .csv is read with commas between columns, and here there is {other!r}"
    elif len(names) == 1:
        hint = f"write {on!r} into the first line, or, where that is an id, call the file .txt, which has no header"
    return ColumnNotFoundError.because(
        f"column {on!r} not found among those of the list, by its first line: {listed(map(repr, names), 20)}", hint
    )


def _read_npy(stream: io.RawIOBase, on: str) -> Iterator[pa.Array]:
    file = io.BufferedReader(stream, _BUFFER)
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read_header(file)
    if kind.hasobject:
        raise ParameterError.because(
            "an array of Python objects was saved by pickle, which is not read",
            "save the ids as texts: numpy.save(path, numpy.array(ids, dtype=str))",
        )
    if len(shape) != 1:
        raise ParameterError(f"expected an array of ids in one dimension, found one of shape {shape}")
    for start in range(0, max(shape[0], 1), _IDS):  # once for an array without ids too: its type tells
        count = min(_IDS, shape[0] - start)
        data = file.read(count * kind.itemsize)
        if len(data) < count * kind.itemsize:
            raise ValueError(f"it ends before the {shape[0]} ids that its header promises")
        yield ids_in_array(np.frombuffer(data, kind, count))


def extension_of(path: str) -> str:
    """Give the extension of a path or URL, in small letters.

    >>> extension_of("s3://lists/Seen.TXT"), extension_of("000000042")
    ('.txt', '')
    """
    return PurePosixPath(path.split("?")[0] if "://" in path else path).suffix.lower()


#: How to read a list, by the extension of its file.
READERS: dict[str, IdReader] = {".txt": _read_text, ".csv": _read_csv, ".npy": _read_npy}
