"""Several sources in one dataset: named in a mapping, or opened apart and concatenated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from making import samples, write_folder, write_shard
from opening import opened
from toys import Brightness

import imagecurate as ic
from imagecurate.errors import ParameterError


def two_sources(tmp_path: Path) -> dict[str, str]:
    return {
        "cc12m": str(write_folder(tmp_path / "cc12m", shards=2, samples_per_shard=3)),
        "relaion": str(write_folder(tmp_path / "relaion", shards=1, samples_per_shard=5)),
    }


def test_counts_and_yields_by_source(tmp_path: Path) -> None:
    """Each source has its own waterfall; together they are the whole one."""
    ds = ic.read_webdataset(two_sources(tmp_path), workdir=tmp_path / "work").filter("width >= 56", name="wide")
    assert "(cc12m 2, relaion 1)" in repr(ds)
    counts = ds.counts(by="source")
    assert counts.columns.tolist()[:3] == ["source", "kind", "step"]
    last = counts.groupby("source").last()
    frame = ds.metadata.compute()
    assert last.left.to_dict() == frame.source.value_counts().to_dict()
    assert last.loc["cc12m", "share"] == last.loc["cc12m", "left"] / 6
    assert ds.counts().left.iloc[-1] == last.left.sum()
    with pytest.raises(ParameterError, match="not by 'shard'"):
        ds.counts(by="shard")  # type: ignore[arg-type]


def test_keys_that_collide_between_sources_stay_apart(tmp_path: Path) -> None:
    """Both are rows with ids of their own, and both are exported, told apart."""
    paths = two_sources(tmp_path)
    ds = ic.read_webdataset(paths, workdir=tmp_path / "work")
    frame = ds.metadata.compute()
    assert frame.key.duplicated().any()
    assert frame.sample_id.is_unique
    summary = ds.to_webdataset(tmp_path / "out")
    assert summary.samples == 11
    again = ic.read_webdataset(str(tmp_path / "out"), workdir=None).metadata.compute()
    assert again.key.is_unique
    assert sorted(again.original_key) == sorted(frame.key)


def test_concat_reads_each_as_it_was_opened(tmp_path: Path) -> None:
    """Own id columns, own metadata; columns of all, null where a source lacks one, one type for all."""
    first = write_shard(
        tmp_path / "a" / "0.tar", samples(3), [{"uid": key, "score": n} for n, (key, _) in enumerate(samples(3))]
    )
    second = write_shard(tmp_path / "b" / "0.tar", samples(2, first=7))
    a = ic.read_webdataset(str(first.parent), id_col="uid", metadata="parquet", workdir=tmp_path / "work")
    b = ic.read_webdataset(str(second.parent), metadata="json", workdir=tmp_path / "work")
    ds = ic.concat({"a": a, "b": b})
    frame = ds.metadata.compute()
    assert frame.source.tolist() == ["a"] * 3 + ["b"] * 2
    assert frame.sample_id.tolist()[2:4] == ["a/0#2", "b/0#0"]
    assert frame.score.tolist() == [0.0, 1.0, 2.0, 1.75, 2.0]
    assert frame.uid.isna().tolist() == [False] * 3 + [True] * 2
    assert frame.width.isna().tolist() == [True] * 3 + [False] * 2
    assert (frame.dtypes == ds.metadata.dtypes).all()
    done = ds.filter("source != 'b' or width >= 72", name="wide").pipe(Brightness())
    assert done.counts(by="source").groupby("source").left.last().to_dict() == {"a": 3, "b": 1}
    done.to_webdataset(tmp_path / "out")


def test_what_cannot_be_concatenated(folder: Path, tmp_path: Path) -> None:
    """A clear word, with the way out."""
    ds, other = opened(folder), opened(write_folder(tmp_path / "other"))
    with pytest.raises(ParameterError, match=r"two of the datasets have a source named 'default'"):
        ic.concat([ds, other])
    with pytest.raises(ParameterError, match="dataset 'a' has steps already: 'width > 5'"):
        ic.concat({"a": ds.filter("width > 5"), "b": other})
    with pytest.raises(ParameterError, match="need one images="):
        ic.concat({"a": ds, "b": opened(folder, images="all")})
    with pytest.raises(ParameterError, match="need one decode_policy"):
        ic.concat({"a": ds, "b": opened(folder, decode_policy=ic.DecodePolicy(timeout_s=1.0))})
    with pytest.raises(ParameterError, match="has sources of its own: x, y"):
        ic.concat({"a": ic.read_webdataset({"x": str(folder), "y": str(tmp_path / "other")}, workdir=None)})
    with pytest.raises(ParameterError, match="a source needs a name"):
        ic.concat({"a/b": ds})
    with pytest.raises(ParameterError, match="expects datasets"):
        ic.concat([folder])  # type: ignore[list-item]
    with pytest.raises(ParameterError, match=r"a source needs a name .*, not 1"):
        ic.concat({1: ds})  # type: ignore[dict-item]
    with pytest.raises(
        ParameterError, match="expects several datasets, but got ImageTextPairDataset\n\nHint: give them"
    ):
        ic.concat(ds)  # type: ignore[arg-type]


def test_types_that_differ_between_datasets_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the log when they are put together, and wherever differences are told; a column that one lacks is none."""
    write_shard(tmp_path / "a" / "0.tar", samples(2), [{"key": key, "n": 1, "mine": 1} for key, _ in samples(2)])
    write_shard(tmp_path / "b" / "0.tar", samples(2), [{"key": key, "n": "one"} for key, _ in samples(2)])
    a, b = (opened(tmp_path / name, metadata="parquet") for name in "ab")
    assert caplog.text == ""
    ds = ic.concat({"a": a, "b": b})
    sentence = "column 'n': int64 in a, string in b; read as string"
    assert [record.message for record in caplog.records] == [sentence]
    assert ds.check().attrs["notes"][0] == sentence
    ds.to_webdataset(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "run.json").read_text())["inputs"]["differences"] == [sentence]
    assert [record.message for record in caplog.records].count(sentence) == 1
