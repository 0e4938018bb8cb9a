"""Columns and lists from elsewhere, as people use them: ``join``, ``include`` and ``exclude``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import write_folder, write_shard
from opening import opened, statuses
from toys import Brightness

import imagecurate as ic
from imagecurate.errors import ColumnExistsError, ColumnNotFoundError, ParameterError, ShardError
from imagecurate.plan.plan import Plan


def scores(path: Path, keys: list[str], **columns: list[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"id": keys, **columns}), path)
    return path


def test_join_adds_columns_that_filters_and_exports_know(folder: Path, tmp_path: Path) -> None:
    """Matched by id whatever the order; those without a row have nulls and are counted; the columns go out, too."""
    table = scores(tmp_path / "scores.parquet", [f"{n:09d}" for n in (6, 0, 2, 99)], similarity=[0.6, 0.0, 0.2, 9.0])
    ds = opened(folder).join(table, on="key", right_on="id")
    assert ds.columns[-1] == "similarity"
    frame = ds.metadata.compute()
    assert frame.similarity.tolist()[0] == 0.0
    assert frame.similarity.isna().tolist() == [False, True, False, True, True, True, False, True]
    kept = ds.filter("similarity >= 0.2", name="similarity")
    counts = kept.counts().set_index("step")
    assert counts.loc["join on key", "unmatched"] == 5
    assert counts.loc["similarity"].to_dict() == {
        "kind": "filter", "dropped": 6, "null": 5, "unmatched": 0, "failed": 0, "left": 2, "share": 0.25,
    }  # fmt: skip
    kept.to_webdataset(tmp_path / "out")
    assert ic.read_webdataset(str(tmp_path / "out"), workdir=None).metadata.compute().similarity.tolist() == [0.2, 0.6]


def test_join_is_lazy_and_stays_in_the_store(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked up until a column is asked for, then once a row, by whichever dataset asks."""
    from imagecurate.tables import Table

    looked_up: list[int] = []
    look_up = Table.look_up

    def counted(self: Table, ids: list[pa.Array], where: Path) -> object:
        looked_up.append(len(ids[0]))
        return look_up(self, ids, where)

    monkeypatch.setattr(Table, "look_up", counted)
    table = scores(tmp_path / "scores.parquet", [f"{n:09d}" for n in range(8)], similarity=[n / 10 for n in range(8)])
    ds = opened(folder).filter("width >= 56").join(table, on="key", right_on="id")
    assert looked_up == []
    ds.metadata[["caption"]].compute()
    assert looked_up == []
    expected = int((opened(folder).metadata.width >= 56).sum().compute())
    ds.metadata.similarity.compute()
    assert sum(looked_up) == expected
    ds.filter("similarity > 0.3").counts()
    opened(folder).filter("width >= 56").join(table, on="key", right_on="id").compute()
    assert sum(looked_up) == expected


def test_join_takes_and_renames_columns(folder: Path, tmp_path: Path) -> None:
    """A list takes some; a mapping gives new names, also where the old one is taken."""
    keys = [f"{n:09d}" for n in range(8)]
    table = scores(tmp_path / "meta" / "a.parquet", keys, width=list(range(8)), a=[1] * 8, b=["x"] * 8)
    ds = opened(folder)
    assert ds.join(table.parent, on="key", columns=["b"], right_on="id").columns[-1] == "b"
    joined = ds.join(table.parent, on="key", columns={"width": "other_width"}, right_on="id")
    assert joined.metadata.other_width.compute().tolist() == list(range(8))
    with pytest.raises(ColumnExistsError, match="join would overwrite the column 'width'") as raised:
        ds.join(table.parent, on="key", right_on="id")
    assert "columns={'width': 'another_name'}" in str(raised.value)
    with pytest.raises(ColumnNotFoundError, match="'uid' not found"):
        ds.join(table, on="uid")
    with pytest.raises(ColumnNotFoundError, match="'key'"):
        ds.join(table, on="key")
    with pytest.raises(ParameterError, match="as many columns"):
        ds.join(table, on=["source", "key"], right_on="id")
    with pytest.raises(ShardError, match="nothing"):
        ds.join(tmp_path / "nothing*.parquet", on="key")


def test_ids_of_integers_and_of_several_columns(folder: Path, tmp_path: Path) -> None:
    """42 is 000000042; where keys repeat between shards, shard and key together are the id."""
    table = scores(tmp_path / "numbers.parquet", [], similarity=[])
    pq.write_table(pa.table({"id": [3, 5], "similarity": [0.3, 0.5]}), table)
    frame = opened(folder).join(table, on="key", right_on="id").metadata[["key", "similarity"]].compute()
    assert frame.dropna().key.tolist() == ["000000003", "000000005"]
    both = tmp_path / "both.parquet"
    pq.write_table(pa.table({"shard": ["00001", "00000"], "key": ["000000005", "000000005"], "n": [1, 2]}), both)
    frame = opened(folder).join(both, on=["shard", "key"]).metadata.compute()
    assert frame.n.dropna().tolist() == [1]
    assert frame.key[frame.n.notna()].tolist() == ["000000005"]


def test_exclude_and_include_share_out_the_samples(folder: Path, tmp_path: Path) -> None:
    """What is on the list goes or stays, for a reason that names the list; an id that is null is on no list."""
    ds = opened(folder)
    listed = ["000000001", "000000006", "nowhere"]
    without = ds.exclude(listed, on="key", name="leaked")
    assert [key for key, (status, _) in statuses(without).items() if status == "dropped"] == listed[:2]
    assert {reason for _, reason in statuses(without).values()} == {None, "leaked"}
    only = ds.include(set(listed), on="key")
    assert {reason for _, reason in statuses(only).values()} == {None, "include(key)"}
    kept = [set(each.metadata.key.compute()) for each in (without, only)]
    assert kept[0] | kept[1] == set(ds.metadata.key.compute())
    assert not kept[0] & kept[1]
    table = scores(tmp_path / "uids.parquet", ["000000001"], uid=["f" * 32])
    joined = ds.join(table, on="key", right_on="id")
    assert len(joined.exclude(["0" * 32], on="uid").metadata) == 8
    included = joined.include(["f" * 32], on="uid")
    assert included.metadata.key.compute().tolist() == ["000000001"]
    counts = included.counts().set_index("step").loc["include(uid)"]
    assert (counts.dropped, counts.null) == (7, 7)
    with pytest.raises(ParameterError, match="filter named 'leaked' already"):
        without.exclude(["x"], on="key", name="leaked")
    with pytest.raises(ColumnNotFoundError, match="'kee' not found"):
        ds.exclude(listed, on="kee")


@pytest.mark.parametrize("form", ["npy", "txt", "csv", "parquet", "subset"])
def test_lists_in_files(folder: Path, tmp_path: Path, form: str) -> None:
    """A list may lie in a file; DataComp's subsets are pairs of 64-bit halves of a uid."""
    uids = [f"{n:032x}" for n in range(0, 8 << 96, 1 << 96)]
    table = scores(tmp_path / "uids.parquet", [f"{n:09d}" for n in range(8)], uid=uids)
    path = tmp_path / f"list.{'npy' if form == 'subset' else form}"
    chosen = [uids[2], uids[7]]
    if form == "npy":
        np.save(path, np.array(chosen))
    elif form == "txt":
        path.write_text("\n".join(chosen) + "\n\n")
    elif form == "csv":
        pd.DataFrame({"uid": chosen, "why": "leaked"}).to_csv(path, index=False)
    elif form == "parquet":
        pq.write_table(pa.table({"n": [1, 2], "uid": chosen}), path)
    else:
        halves = [(int(uid[:16], 16), int(uid[16:], 16)) for uid in chosen]
        np.save(path, np.array(halves, np.dtype("u8,u8")))
    ds = opened(folder).join(table, on="key", right_on="id").include(path, on="uid")
    assert ds.metadata.key.compute().tolist() == ["000000002", "000000007"]


def test_a_pipeline_joins_and_excludes(folder: Path, tmp_path: Path) -> None:
    """The same in YAML, with errors that name the line."""
    table = scores(tmp_path / "scores.parquet", [f"{n:09d}" for n in range(8)], similarity=[n / 10 for n in range(8)])
    (tmp_path / "leaked.txt").write_text("000000007\n")
    file = tmp_path / "curate.yaml"
    file.write_text(f"""
input: {folder}
output: {tmp_path / "out"}
workdir: {tmp_path / "work"}
stages:
  - Join: {{path: {table}, on: key, right_on: id, columns: {{similarity: clip_score}}, name: clip}}
  - Exclude: {{path: {tmp_path / "leaked.txt"}, on: key, name: leaked}}
  - Filter: {{expr: clip_score >= 0.3, name: similarity}}
""")
    dataset, summary = ic.Pipeline.from_yaml(file).run(progress=False)
    assert summary.samples == 4
    assert dataset.counts().dropped.tolist() == [0, 0, 1, 3]
    assert dataset.counts().step.tolist() == ["shards", "clip", "leaked", "similarity"]
    file.write_text(file.read_text().replace("leaked.txt", "lost.txt"))
    with pytest.raises(ShardError, match=r"curate.yaml:7: .*lost.txt"):
        ic.Pipeline.from_yaml(file).dataset()
    file.write_text(file.read_text().replace("columns: {similarity: clip_score}", "columns: 5"))
    with pytest.raises(ParameterError, match=r"curate.yaml:6: Join: columns should be text or a list of text or"):
        ic.Pipeline.from_yaml(file)


def test_a_join_beside_pixels(folder: Path, tmp_path: Path, decodes: list[int]) -> None:
    """A filter on a joined column spares the embedder behind it."""
    table = scores(tmp_path / "scores.parquet", ["000000001", "000000004"], similarity=[0.9, 0.8])
    ds = opened(folder).join(table, on="key", right_on="id").filter("similarity > 0.5").pipe(Brightness()).compute()
    assert len(decodes) == 2
    masked = ds[ds.metadata.similarity > 0.85]
    assert masked.metadata.key.compute().tolist() == ["000000001"]


def test_another_table_is_another_join(folder: Path, tmp_path: Path) -> None:
    """What is stored belongs to the files as they were."""
    keys = [f"{n:09d}" for n in range(8)]
    path = scores(tmp_path / "scores.parquet", keys, similarity=[1.0] * 8)
    assert opened(folder).join(path, on="key", right_on="id").metadata.similarity.sum().compute() == 8
    scores(path, keys, similarity=[2.0] * 7 + [3.5])
    assert opened(folder).join(path, on="key", right_on="id").metadata.similarity.sum().compute() == 17.5


def test_join_of_nothing_is_told(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A join in which no sample finds a row is most likely a mistake."""
    write_folder(tmp_path / "more", shards=1)
    table = scores(tmp_path / "scores.parquet", ["a"], similarity=[1.0])
    opened(folder).join(table, on="key", right_on="id").counts()
    assert "join on key: no sample has the id of a row" in caplog.text


def test_joins_have_names(folder: Path, tmp_path: Path) -> None:
    """Of one's own, or numbered; they are told apart in the waterfall."""
    table = scores(tmp_path / "scores.parquet", ["000000001"], a=[1], b=[2], c=[3])
    ds = opened(folder).join(table, "key", ["a"], right_on="id").join(table, "key", ["b"], right_on="id")
    ds = ds.join(table, "key", ["c"], right_on="id", name="quality")
    counts = ds.counts().set_index("step").unmatched
    assert counts.to_dict() == {"shards": 0, "join on key": 7, "join on key (2)": 7, "quality": 7}
    with pytest.raises(ParameterError, match="there is a join named 'quality' already"):
        ds.filter("a > 0", name="quality")
    for wrong in (5, ""):
        with pytest.raises(ParameterError, match="a step is named by a text, not by"):
            ds.exclude(["x"], "key", name=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("column", ["image_width", "image_error", "image_is_truncated", "image_mode"])
def test_columns_of_our_own_cannot_be_brought(folder: Path, tmp_path: Path, column: str) -> None:
    """A join or an expression under such a name would hide what decoding finds, failures among it."""
    table = scores(tmp_path / "scores.parquet", ["000000001"], **{column: ["x"]})
    ds = opened(folder)
    with pytest.raises(ParameterError, match=f"join cannot write a column named '{column}'.*\n\nHint: .*rename it by"):
        ds.join(table, "key", right_on="id")
    renamed = ds.join(table, "key", {column: "theirs"}, right_on="id").filter("image_width > 0")
    assert renamed.counts().failed.sum() == 0
    with pytest.raises(ParameterError, match=f"with_column cannot write a column named '{column}'"):
        ds.with_column(column, "1")


def test_the_hint_names_the_column_of_the_file(folder: Path, tmp_path: Path) -> None:
    """So that what it says can be typed."""
    table = scores(tmp_path / "scores.parquet", ["000000001"], s=[1])
    with pytest.raises(ColumnExistsError, match=r"columns=\{'s': 'another_name'\}"):
        opened(folder).join(table, "key", {"s": "width"}, right_on="id")


def test_arguments_that_cannot_be_meant(folder: Path, tmp_path: Path) -> None:
    """They are told before a file is looked for."""
    ds = opened(folder)
    for wrong in (None, [], 5, [None]):
        with pytest.raises(ParameterError, match="join expects the name of a column, or a list of them, in on"):
            ds.join(tmp_path / "gone.parquet", wrong)  # type: ignore[arg-type]
    for wrong in (None, ["key"], 5):
        for method in (ds.exclude, ds.include):
            with pytest.raises(ParameterError, match="a list of ids expects the name of one column in on, but got"):
                method(["a"], wrong)  # type: ignore[arg-type]


def test_unmatched_counts_rows_that_came_sound(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither what a filter dropped nor what failed before was looked for, or missed."""
    write_shard(folder / "00002.tar", [("8", {"txt": "no image"}), ("9", {"jpg": b"<html>"})])
    table = scores(tmp_path / "scores.parquet", ["a"], similarity=[1.0])
    ds = opened(folder).filter("image_width >= 64", name="wide")
    came = int(ds.counts().left.iloc[-1])
    assert 0 < came < 8
    assert "no sample has the id" not in caplog.text
    joined = ds.join(table, on="key", right_on="id")
    assert joined.counts().set_index("step").unmatched["join on key"] == came
    assert "join on key: no sample has the id of a row" in caplog.text
    failed = opened(folder).filter("image_width > 0 or image_width is null").join(table, on="key", right_on="id")
    assert failed.counts().unmatched.iloc[-1] == 8


def test_lists_of_nothing_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As a join is: nothing dropped, or nothing kept, of samples that came there."""
    ds = opened(folder)
    ds.exclude(["000000001"], "key").include(["000000002"], "key").exclude(["x"], "key", "third").counts()
    assert caplog.text.count("no sample is on the list") == 1
    assert "third: no sample is on the list, so none is dropped" in caplog.text
    caplog.clear()
    ds.include(["x"], "key").exclude(["y"], "key").counts()
    assert caplog.text.count("no sample is on the list") == 1
    assert "include(key): no sample is on the list, so every one is dropped" in caplog.text


def test_a_store_without_credentials(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the store says, as an error of ours."""
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nobody"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    words = r"cannot be read: there are no credentials that work"
    with pytest.raises(ShardError, match=rf"s3://nowhere/0\.tar' {words}"):
        ic.read_webdataset("s3://nowhere/0.tar", workdir=None)
    ds = opened(folder)
    with pytest.raises(ShardError, match=rf"s3://nowhere/meta' {words}"):
        ds.join("s3://nowhere/meta", "key")
    with pytest.raises(ShardError, match=rf"s3://nowhere/ids\.txt' {words}"):
        ds.exclude("s3://nowhere/ids.txt", "key")
    pipeline = ic.Pipeline(input="s3://nowhere/data", output=str(tmp_path / "out"), workdir=str(tmp_path / "work"))
    with pytest.raises(ShardError, match=rf"s3://nowhere/data' {words}"):
        pipeline.run(progress=False)


def test_what_decoding_finds_never_replaces_a_column() -> None:
    """Should one of its names be taken all the same, that is an error and no column is lost."""
    inputs = pa.schema([("key", pa.string()), ("image_height", pa.int64())])
    with pytest.raises(ColumnExistsError, match="decoding would overwrite the column 'image_height'"):
        Plan(inputs, "", ic.DecodePolicy()).with_filter("image_width > 3", None)
