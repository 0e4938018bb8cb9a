"""Lists of ids: what may be given, and what is on them."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagecurate.errors import ColumnNotFoundError, ParameterError, ShardError
from imagecurate.tables import IdList, index

UIDS = ["a" * 32, "0123456789abcdef0123456789ABCDEF".lower(), "0" * 31 + "1"]
PAIRS = np.array([(int(uid[:16], 16), int(uid[16:32], 16)) for uid in UIDS], np.dtype("u8,u8"))


def contained(ids: Any, asked: list[Any], folder: Path, on: str = "key") -> list[bool]:
    """Open a list, send it to a worker, ask."""
    opened = pickle.loads(pickle.dumps(IdList.open(ids, on, folder)))
    found: list[bool] = opened.contains(pa.array(asked), folder).tolist()
    return found


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        set,
        iter,
        dict.fromkeys,
        np.array,
        lambda ids: np.array(ids, object),
        pd.Series,
        lambda ids: pd.Series(ids, dtype=object),
        lambda ids: pd.Series([*ids, None, pd.NA, float("nan")], dtype=object),
        lambda ids: [*ids, None, pd.NA],
        lambda ids: pd.Series(ids, dtype="category"),
        lambda ids: pd.Series(ids, dtype=pd.ArrowDtype(pa.string())),
        pd.Index,
        pa.array,
        lambda ids: pa.chunked_array([ids, ids]),
        lambda ids: pa.array(ids).dictionary_encode(),
        lambda ids: dd.from_pandas(pd.Series(ids), npartitions=2),
    ],
)
def test_texts_in_any_form(tmp_path: Path, make: Callable[[list[str]], Any]) -> None:
    """They are found, and all forms are one list."""
    ids = ["a", "007", "ü"]
    assert contained(make(ids), ["a", "7", "007", "ü", "", None], tmp_path) == [True, False, True, True, False, False]
    assert contained(make(ids), [7, 8, None], tmp_path) == [True, False, False]
    assert IdList.open(make(ids), "key", tmp_path) == IdList.open(ids, "key", tmp_path)


@pytest.mark.parametrize(
    "make",
    [
        list,
        np.array,
        lambda ids: np.array(ids, ">u2"),
        lambda ids: np.array(ids, float),
        lambda ids: [np.int32(number) for number in ids],
        lambda ids: [float("nan"), np.float32("nan"), 0.5, None, *ids],
        pd.Series,
        lambda ids: pd.Series([*ids, None]),
        lambda ids: pd.Series([*ids, None], dtype="Int64"),
        pd.Index,
        pa.array,
    ],
)
def test_integers_in_any_form(tmp_path: Path, make: Callable[[list[int]], Any]) -> None:
    """They match texts that say the same number."""
    assert contained(make([7, 42]), ["000000042", "7", "70", "x", None], tmp_path) == [True, True, False, False, False]
    assert contained(make([7, 42]), [42.0, 7.5, None], tmp_path) == [True, False, False]
    assert IdList.open(make([7, 42]), "key", tmp_path) == IdList.open([42, 7], "key", tmp_path)


def test_texts_and_integers_together(tmp_path: Path) -> None:
    """Where some are integers all are compared as integers."""
    assert contained([7, "008", "x"], ["07", "8", "x"], tmp_path) == [True, True, True]
    assert contained([uuid.UUID(int=5)], [str(uuid.UUID(int=5))], tmp_path) == [True]
    assert contained(np.array([b"x", b"yy"]), ["x", "yy", "y"], tmp_path) == [True, True, False]
    assert contained(["ü".encode()], ["ü"], tmp_path) == [True]


@given(st.lists(st.text(max_size=3) | st.integers(), max_size=20), st.randoms())
def test_same_ids_are_the_same_list(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str | int], random: Any
) -> None:
    """In any order, with repeats and nulls; ids of another list are another."""
    folder = tmp_path_factory.getbasetemp() / "lists"
    shuffled: list[Any] = [*ids, *ids[:3], None]
    random.shuffle(shuffled)
    identity = IdList.open(ids, "key", folder).identity()
    assert IdList.open(shuffled, "key", folder).identity() == identity
    assert IdList.open([*ids, "another"], "key", folder).identity() != identity


def test_no_ids(tmp_path: Path) -> None:
    """A list may be empty."""
    for ids in ([], np.array([], "u8,u8"), pd.Series([], dtype=object), pa.nulls(2)):
        assert contained(ids, ["a", None], tmp_path) == [False, False]
    assert contained(["a"], [], tmp_path) == []
    (tmp_path / "none.txt").touch()
    assert contained(tmp_path / "none.txt", ["a"], tmp_path) == [False]


def test_subset_of_datacomp(tmp_path: Path) -> None:
    """Pairs of halves, sorted and saved as its baselines do; uids come as texts."""
    pairs = PAIRS.copy()
    pairs.sort()
    np.save(tmp_path / "subset.npy", pairs)
    asked = [UIDS[2], "b" * 32, UIDS[0], None, UIDS[1], "1"]
    for ids in (tmp_path / "subset.npy", PAIRS, UIDS):
        assert contained(ids, asked, tmp_path / "tables", "uid") == [True, False, True, False, True, False]
    given_ids, listed = IdList.open(PAIRS, "uid", tmp_path), IdList.open(UIDS, "uid", tmp_path)
    assert given_ids.identity() == listed.identity()


@pytest.mark.parametrize("dtype", ["U", "S", "<i8", ">u4", "f8"])
def test_other_arrays_on_disk(tmp_path: Path, dtype: str) -> None:
    """Texts and numbers as NumPy saves them."""
    np.save(tmp_path / "ids.npy", np.array([7, 42]).astype(dtype))
    expected = [dtype not in "US", True, False]
    assert contained(tmp_path / "ids.npy", ["042", "42", "4"], tmp_path) == expected
    assert contained(str(tmp_path / "ids.npy"), [42, 7, 9], tmp_path) == [True, True, False]


def test_text_file(tmp_path: Path) -> None:
    """One id a line; blank lines, blanks around, a byte-order mark and line ends of any system are none of them."""
    path = tmp_path / "seen.TXT"
    path.write_bytes("\ufeffa b\r\n\n  \n000042\nü\nlast".encode())
    assert contained(path, ["a b", "", "000042", "42", "ü", "last"], tmp_path) == [True, False, True, False, True, True]
    assert contained(path, [42, 43], tmp_path) == [True, False]


def test_csv_file(tmp_path: Path) -> None:
    """The column of that name; ids stay texts."""
    path = tmp_path / "drop.csv"
    path.write_bytes('\ufeffreason,key\r\n"blurred, \nand dark",00042\r\n,ü\r\n'.encode())
    assert contained(path, ["00042", "42", "ü", ""], tmp_path) == [True, False, True, False]
    with pytest.raises(ColumnNotFoundError, match=r"column 'uid' not found .*: 'reason', 'key'\n\nHint: name"):
        IdList.open(path, "uid", tmp_path)
    path.write_text("key\n00042\n7\n")
    assert contained(path, ["00042", "7", "key"], tmp_path) == [True, True, False]


@pytest.mark.parametrize(
    ("first_line", "message"),
    [
        ("000000007", r"'000000007'\n\nHint: write 'key' into the first line, or, .* call the file \.txt"),
        ("key;why", r"'key;why'\n\nHint: a \.csv is read with commas between columns, and here there is ';'"),
        ("key\twhy", r"Hint: a \.csv is read with commas between columns, and here there is '\\t'"),
    ],
)
def test_csv_file_without_the_column(tmp_path: Path, first_line: str, message: str) -> None:
    """The first line is shown: an id that was taken for a header would be lost without a word."""
    (tmp_path / "drop.csv").write_text(f"{first_line}\n000000008\n")
    with pytest.raises(ColumnNotFoundError, match=message):
        IdList.open(tmp_path / "drop.csv", "key", tmp_path)


def test_a_list_of_paths_is_no_list_of_ids(tmp_path: Path) -> None:
    """Whether the file is there or not; ids among them, and ids that look like files, are ids."""
    (tmp_path / "leaked").write_text("x\n")
    for ids in (["leaked.txt"], [tmp_path / "leaked"], {"a.npy", "b.npy"}, [str(tmp_path / "leaked")]):
        with pytest.raises(ParameterError, match=r"found a list of paths: .*\n\nHint: give the path itself"):
            IdList.open(ids, "key", tmp_path)
    for ids in (["leaked.txt", "a"], ["leaked"], ["https://example.com/a.jpg"], ["00000.tar.gz"]):
        assert contained(ids, [*ids, "x"], tmp_path) == [True] * len(ids) + [False]


@pytest.mark.parametrize("name", ["a.json", "a.tsv", "a.txt.gz", "a.npz"])
def test_forms_that_are_not_read(tmp_path: Path, name: str) -> None:
    """The error says which are."""
    (tmp_path / name).write_bytes(b'["000000007", "000000008"]')
    with pytest.raises(
        ShardError, match=rf"{name}' cannot be read: .*\n\nHint: .* a list of ids is \.txt, \.csv, \.np"
    ):
        IdList.open(tmp_path / name, "key", tmp_path)


def test_views(tmp_path: Path) -> None:
    """As polars gives them, in memory and in a file."""
    views = pa.array(["a", None, "b"], pa.string_view())
    assert contained(views, ["a", "c", "b"], tmp_path) == [True, False, True]
    assert contained(pa.chunked_array([views, views]), ["a", "c", "b"], tmp_path) == [True, False, True]
    pq.write_table(pa.table({"key": views}), tmp_path / "views.parquet")
    assert contained(tmp_path / "views.parquet", ["a", "c", "b"], tmp_path) == [True, False, True]


def test_long_csv_file(tmp_path: Path) -> None:
    """It is read block by block."""
    path = tmp_path / "drop.csv"
    path.write_text("key,why\n" + "".join(f"{number:09},{'because ' * 9}\n" for number in range(100_000)))
    assert path.stat().st_size > 7 << 20
    assert contained(path, ["000000000", "000099999", "000100000"], tmp_path) == [True, True, False]


def test_parquet_files(tmp_path: Path) -> None:
    """The column of that name, or the only one, of a file or a folder."""
    (tmp_path / "lists").mkdir()
    pq.write_table(pa.table({"sha256": ["aa", "bb"]}), tmp_path / "lists" / "a.parquet")
    pq.write_table(pa.table({"sha256": ["cc"]}), tmp_path / "lists" / "b.parquet")
    assert contained(tmp_path / "lists", ["aa", "cc", "dd", None], tmp_path, "sha256") == [True, True, False, False]
    assert contained(tmp_path / "lists" / "b.parquet", ["aa", "cc"], tmp_path, "hash") == [False, True]
    pq.write_table(pa.table({"n": [1], "Key": ["a"]}), tmp_path / "two.parquet")
    with pytest.raises(
        ColumnNotFoundError, match=r"column 'key' not found in .*two.parquet.*\n\nHint: did you mean 'Key'"
    ):
        IdList.open(tmp_path / "two.parquet", "key", tmp_path)


def test_file_is_known_by_name_size_and_time(tmp_path: Path) -> None:
    """Not by where it lies; an edited one is another."""
    path = tmp_path / "a" / "ids.txt"
    path.parent.mkdir()
    path.write_text("x\n")
    identity = IdList.open(path, "key", tmp_path).identity()
    moved = path.rename(tmp_path / "ids.txt")
    assert IdList.open(moved, "key", tmp_path).identity() == identity
    moved.write_text("x\ny\n")
    assert IdList.open(moved, "key", tmp_path).identity() != identity


def test_lost_list(tmp_path: Path) -> None:
    """Ids that were given cannot be had again from anywhere else."""
    ids = IdList.open(["a"], "key", tmp_path)
    for path in tmp_path.glob("*.arrow"):
        path.unlink()
    index._mapped.cache_clear()
    with pytest.raises(ShardError, match=r"a list of ids was kept at .*which is not there or damaged"):
        ids.contains(pa.array(["a"]), tmp_path)
    assert IdList.open(["a"], "key", tmp_path) == ids
    assert ids.contains(pa.array(["a"]), tmp_path).all()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (b"abc", "expected ids, found bytes"),
        (3, "expected ids, found int"),
        (None, "expected ids, found NoneType"),
        (pd.DataFrame({"key": ["a"]}), "expected ids, found DataFrame"),
        (pa.table({"key": ["a"]}), "expected ids, found Table"),
        ([b"\xff"], "bytes that are no text in UTF-8"),
        (pa.array([b"\xff" * 32]), "bytes that are no text in UTF-8"),
        ([True], "ids are texts or integers, not True"),
        ([["a"]], "ids are texts or integers, not"),
        (np.ones((2, 2)), "expected ids, found ndarray"),
        (np.array([(1, 2.0)], "u8,f8"), "holds texts, integers or pairs"),
        (np.array([True]), "holds texts, integers or pairs"),
        (pa.array([[1]]), "ids are texts or integers, not list"),
        (pd.Series(pd.to_datetime(["2024-01-01"])), "ids are texts or integers, not timestamp"),
    ],
)
def test_what_is_no_list(tmp_path: Path, ids: Any, message: str) -> None:
    """It is told when the list is made."""
    with pytest.raises(ParameterError, match=message):
        IdList.open(ids, "key", tmp_path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """They are named when the list is made."""
    with pytest.raises(ShardError, match=r"no file '.*gone.txt'"):
        IdList.open(tmp_path / "gone.txt", "key", tmp_path)
    with pytest.raises(ShardError, match=r"no .parquet file at '000000042'"):
        IdList.open("000000042", "key", tmp_path)
    for name, content in {"a.npy": b"junk", "b.npy": b"\x93NUMPY", "c.csv": b"", "d.txt": b"\xff\xfe\n"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ShardError, match=f"{name}' cannot be read"):
            IdList.open(tmp_path / name, "key", tmp_path)
    np.save(tmp_path / "e.npy", np.array([{"a": 1}], object))
    with pytest.raises(ParameterError, match="saved by pickle, which is not read"):
        IdList.open(tmp_path / "e.npy", "key", tmp_path)
    np.save(tmp_path / "g.npy", np.ones((2, 2)))
    with pytest.raises(ParameterError, match="in one dimension, found one of shape"):
        IdList.open(tmp_path / "g.npy", "key", tmp_path)
    np.save(tmp_path / "f.npy", PAIRS)
    (tmp_path / "f.npy").write_bytes((tmp_path / "f.npy").read_bytes()[:-1])
    with pytest.raises(ShardError, match=r"f.npy' cannot be read: it ends before the 3 ids"):
        IdList.open(tmp_path / "f.npy", "key", tmp_path)
