"""What a table is made of, and what is told early."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from imagecurate.errors import ColumnNotFoundError, ParameterError, ShardError
from imagecurate.tables import Table


@pytest.fixture
def laion(tmp_path: Path) -> Path:
    """Two files as LAION has them: one lacks a column, and types differ."""
    folder = tmp_path / "laion"
    folder.mkdir()
    first = {
        "URL": ["u1", "u2"],
        "TEXT": ["one", None],
        "WIDTH": pa.array([640, 320], pa.int32()),
        "punsafe": [0.5, 0.25],
    }
    second = {"URL": ["u3"], "TEXT": ["three"], "WIDTH": [1024.5]}
    pq.write_table(pa.table(first), folder / "part-00000.snappy.parquet")
    pq.write_table(pa.table(second), folder / "part-00001.snappy.parquet")
    (folder / "_SUCCESS").touch()
    return folder


def test_all_columns_by_default(laion: Path) -> None:
    """All but the id, each with the type that takes the values of all files."""
    table = Table.open(laion, "URL")
    assert table.columns == {
        "TEXT": ("TEXT", pa.string()),
        "WIDTH": ("WIDTH", pa.float64()),
        "punsafe": ("punsafe", pa.float64()),
    }
    assert table.rows == 3
    assert [file.name for file in table.files] == ["part-00000.snappy.parquet", "part-00001.snappy.parquet"]
    values, matched = table.look_up([pa.array(["u3", "u1", "u9"])], laion / "tables")
    assert values["WIDTH"].to_pylist() == [1024.5, 640.0, None]
    assert values["punsafe"].to_pylist() == [None, 0.5, None]
    assert matched.tolist() == [True, True, False]


def test_columns_by_new_names(laion: Path) -> None:
    """A mapping renames, a list or a single name chooses, the id may be had too."""
    table = Table.open(laion, "URL", {"WIDTH": "laion_width", "URL": "url"})
    assert table.columns == {"laion_width": ("WIDTH", pa.float64()), "url": ("URL", pa.string())}
    assert list(Table.open(laion, ["URL"], "punsafe").columns) == ["punsafe"]
    values, _ = table.look_up([pa.array(["u2"])], laion / "tables")
    assert {name: column.to_pylist() for name, column in values.items()} == {"laion_width": [320.0], "url": ["u2"]}


@pytest.mark.parametrize(
    "path", ["", "*.parquet", "part-{00000..00001}.snappy.parquet", "part-0000[01]*", "../laion", "../*"]
)
def test_ways_to_name_files(laion: Path, path: str) -> None:
    """A folder, globs, braces; a folder of folders."""
    assert [file.name for file in Table.open(f"{laion}/{path}", "URL").files] == [
        "part-00000.snappy.parquet",
        "part-00001.snappy.parquet",
    ]


def test_files_below_a_folder(laion: Path) -> None:
    """Names are relative to what the files share; several paths keep their order; a file named twice counts once."""
    other = laion.parent / "other.parquet"
    pq.write_table(pa.table({"URL": ["u1"], "TEXT": ["again"]}), other)
    table = Table.open([other, laion, laion / "part-00001.snappy.parquet"], "URL", "TEXT")
    names = ["other.parquet", "laion/part-00000.snappy.parquet", "laion/part-00001.snappy.parquet"]
    assert [file.name for file in table.files] == names
    assert table.look_up([pa.array(["u1"])], laion / "tables")[0]["TEXT"].to_pylist() == ["again"]
    assert [file.name for file in Table.open(laion.parent, "URL").files] == ["other.parquet"]
    assert len(Table.open(f"file://{laion.parent}/**/*.parquet", "URL").files) == 3


def test_folder_called_like_a_file(laion: Path) -> None:
    """Spark writes a table as a folder."""
    assert len(Table.open(laion.rename(laion.parent / "laion.parquet"), "URL").files) == 2


def test_identity_is_of_the_content(laion: Path) -> None:
    """Moving the folder changes nothing; another file, column or id does; options and places are not in it."""
    table = Table.open(laion, "URL", ["WIDTH"], storage_options={"secret": "s"})
    identity = table.identity()
    moved = Table.open(laion.rename(laion.parent / "moved"), "URL", ["WIDTH"])
    assert moved.identity() == identity
    assert str(laion.parent) not in str(identity)
    assert "secret" not in str(identity) + repr(table)
    others = [
        Table.open(laion.parent / "moved" / "*1.snappy.parquet", "URL", ["WIDTH"]),
        Table.open(laion.parent / "moved", "URL", ["TEXT"]),
        Table.open(laion.parent / "moved", "URL", {"WIDTH": "w"}),
        Table.open(laion.parent / "moved", "TEXT", ["WIDTH"]),
    ]
    assert len({str(other.identity()) for other in [table, *others]}) == 5


def test_goes_to_workers(laion: Path) -> None:
    """It is small when pickled, and equal afterwards."""
    table = Table.open(laion, "URL")
    again = pickle.loads(pickle.dumps(table))
    assert again == table
    assert len(pickle.dumps(table)) < 2000


def test_column_that_is_not_there(laion: Path) -> None:
    """The near miss is told, by case as well."""
    with pytest.raises(
        ColumnNotFoundError, match=r"column 'url' not found in '.*part-00000.*'; it has: URL, TEXT"
    ) as told:
        Table.open(laion, "url")
    assert "did you mean 'URL'?" in str(told.value)
    with pytest.raises(
        ColumnNotFoundError, match=r"column 'width' not found in the table; .*\n\nHint: did you mean 'WIDTH'"
    ):
        Table.open(laion, "URL", ["width"])
    with pytest.raises(ColumnNotFoundError, match="did you mean 'punsafe'"):
        Table.open(laion, "URL", {"p_unsafe": "p"})


def test_file_without_the_id(laion: Path) -> None:
    """A foreign file among the others is named."""
    pq.write_table(pa.table({"x": [1]}), laion / "zzz.parquet")
    with pytest.raises(ColumnNotFoundError, match=r"column 'URL' not found in '.*zzz.parquet'; it has: x"):
        Table.open(laion, "URL")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all", b"PAR1" + bytes(100) + b"PAR1"])
def test_damaged_file(laion: Path, content: bytes) -> None:
    """It is named."""
    (laion / "broken.parquet").write_bytes(content)
    with pytest.raises(ShardError, match=r"'.*broken.parquet' cannot be read: "):
        Table.open(laion, "URL")


def test_damage_behind_the_footer(laion: Path) -> None:
    """A file that can be opened and not be read is named by the look-up."""
    path = laion / "part-00000.snappy.parquet"
    data = bytearray(path.read_bytes())
    data[4:60] = bytes([255]) * 56
    path.write_bytes(data)
    table = Table.open(path, "URL")
    with pytest.raises(ShardError, match=r"part-00000.*' cannot be read"):
        table.look_up([pa.array(["u1"])], laion / "tables")
    assert not list((laion / "tables").glob("*.arrow"))


def test_file_that_changed(laion: Path) -> None:
    """What is looked up in another file than the one opened would be kept under a wrong name."""
    table = Table.open(laion, "URL")
    pq.write_table(pa.table({"URL": ["u3"], "TEXT": ["new"], "WIDTH": [1.0]}), laion / "part-00001.snappy.parquet")
    with pytest.raises(ShardError, match="changed after it was found"):
        table.look_up([pa.array(["u1"])], laion / "tables")
    (laion / "part-00000.snappy.parquet").unlink()
    with pytest.raises(ShardError, match=r"part-00000.* cannot be opened: No such file"):
        table.look_up([pa.array(["u1"])], laion / "tables")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on": []}, "on names no column"),
        ({"on": ["URL", "URL"]}, "on names 'URL' twice"),
        ({"on": 3}, "on must be the name of a column or several, not 3"),
        ({"columns": ["TEXT", "TEXT"]}, "columns names 'TEXT' twice"),
        ({"columns": {"TEXT": "a", "WIDTH": "a"}}, "columns names 'a' twice"),
        ({"columns": [None]}, "columns must be the name of a column or several"),
        ({"path": []}, "expected at least one path"),
        ({"path": ["ok", ""]}, "expected a path or URL, not ''"),
        ({"path": pa.table({"URL": ["u"]})}, "expected a path or several, found Table"),
        ({"path": "a/{0..3.parquet"}, "the braces in .* do not match"),
        ({"path": "nosuch://x/y.parquet"}, "nosuch"),
    ],
)
def test_arguments(laion: Path, arguments: dict[str, object], message: str) -> None:
    """What cannot be meant is told."""
    with pytest.raises(ParameterError, match=message):
        Table.open(**{"path": laion, "on": "URL", **arguments})


def test_nothing_found(laion: Path) -> None:
    """What was looked for, and what is there."""
    with pytest.raises(
        ShardError, match=r"no .parquet file at '.*part-9.parquet'\n\nHint: in '.*laion' there is: part-00000"
    ):
        Table.open(laion / "part-9.parquet", "URL")
    with pytest.raises(ShardError, match=r"no .parquet file matches '.*x\*.parquet'"):
        Table.open(laion / "x*.parquet", "URL")
    (laion.parent / "empty").mkdir()
    with pytest.raises(ShardError, match=r"no .parquet file in folder '.*empty' or below it"):
        Table.open(laion.parent / "empty", "URL")


def test_columns_of_views(tmp_path: Path) -> None:
    """Other libraries write texts and bytes as views, which Arrow can neither filter nor take."""
    columns = {
        "id": pa.array(["a", None, "b"], pa.string_view()),
        "text": pa.array(["x", "y", None], pa.string_view()),
        "data": pa.array([b"x", b"y", b"z"], pa.binary_view()),
        "tags": pa.array([["x"], [], None], pa.list_(pa.string_view())),
        "pairs": pa.array([[("x", "y")], [], None], pa.map_(pa.string(), pa.string_view())),
    }
    pq.write_table(pa.table(columns), tmp_path / "views.parquet")
    table = Table.open(tmp_path / "views.parquet", "id")
    values, matched = table.look_up([pa.array(["b", "a", "c"], pa.string_view())], tmp_path)
    assert matched.tolist() == [True, True, False]
    assert values["text"].to_pylist() == [None, "x", None]
    assert values["data"].to_pylist() == [b"z", b"x", None]
    assert values["tags"].to_pylist() == [None, ["x"], None]
    assert values["pairs"].to_pylist() == [None, [("x", "y")], None]


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    """The error says what is read."""
    (tmp_path / "scores.csv").write_text("id,score\na,1\n")
    with pytest.raises(ShardError, match=r"scores.csv' cannot be read: .*\n\nHint: a join reads parquet, a list of"):
        Table.open(tmp_path / "scores.csv", "id")
