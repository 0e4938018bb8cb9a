"""What was found out about the columns of some shards is kept, and holds as long as they are what they were."""

from __future__ import annotations

import configparser
from dataclasses import fields
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import datacomp_pool, img2dataset_shard, laion_pool, write_folder
from opening import opened

import imagecurate as ic
from imagecurate.dataset import known_schema, opening
from imagecurate.errors import OutputError, ParameterError
from imagecurate.shards import InputSchema


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many shards were looked into, for each time that some were."""
    found = []
    discover = opening.discover_schema

    def counted(shards: Any, **reading: Any) -> InputSchema:
        found.append(len(shards))
        return discover(shards, **reading)

    monkeypatch.setattr(opening, "discover_schema", counted)
    return found


def all_of(schema: InputSchema) -> dict[str, Any]:
    """Every field, those that do not count in a comparison, too; and the order of the columns."""
    return {each.name: getattr(schema, each.name) for each in fields(schema)} | {"order": list(schema.fields)}


def schema_of(ds: ic.ImageTextPairDataset) -> dict[str, Any]:
    """Of a dataset with one source."""
    (schema,) = ds._work.schemas.values()
    return all_of(schema)


@pytest.mark.parametrize("write", [img2dataset_shard, datacomp_pool, laion_pool, write_folder])
def test_the_second_opening_looks_into_no_shard(tmp_path: Path, looks: list[int], write: Any) -> None:
    """It knows all that the first one found out, for each way to read."""
    write(tmp_path / "in")
    for number, reading in enumerate([{}, {"metadata": "json"}, {"images": "all"}, {"schema": {"width": "float32"}}]):
        first = opened(tmp_path / "in", **reading)
        again = opened(tmp_path / "in", **reading)
        assert len(looks) == number + 1
        assert schema_of(again) == schema_of(first)
        assert again._plan == first._plan


def test_what_changes_is_looked_into_again(tmp_path: Path, looks: list[int]) -> None:
    """A parquet that is written anew, a shard that comes, one that goes."""
    folder = tmp_path / "in"
    img2dataset_shard(folder, 0)
    before = opened(folder)
    parquet = folder / "00000.parquet"
    pq.write_table(
        pq.read_table(parquet).append_column("score", pa.array([0.5] * pq.read_metadata(parquet).num_rows)), parquet
    )
    assert "score" in opened(folder).columns
    assert "score" not in before.columns
    img2dataset_shard(folder, 1)
    opened(folder)
    (folder / "00000.tar").unlink()
    parquet.unlink()
    assert "score" not in opened(folder).columns
    assert looks == [1, 1, 2, 1]


def test_what_differs_is_told_each_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A sentence about the data is no news of the first opening alone."""
    for number, value in enumerate([1, "one"]):
        img2dataset_shard(tmp_path / "in", number)
        parquet = tmp_path / "in" / f"{number:05d}.parquet"
        table = pq.read_table(parquet)
        pq.write_table(table.append_column("rank", pa.array([value] * len(table))), parquet)
    told = []
    for _ in range(2):
        caplog.clear()
        opened(tmp_path / "in")
        told.append([record.getMessage() for record in caplog.records])
    assert told[0] == told[1]
    assert any("rank" in sentence for sentence in told[0])


def test_a_store_that_was_damaged_or_is_only_read(
    tmp_path: Path, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was cut off is found out again; where nothing can be written, nothing is kept."""
    write_folder(tmp_path / "in")
    kept = tmp_path / "work" / "store" / "schemas"
    first = opened(tmp_path / "in")
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    damaged = [whole[:size] for size in (0, 4, 20, len(whole) // 2)]
    damaged += [whole[:-100] + bytes(100), bytes(len(whole)), whole[:40] + b"?" + whole[41:]]
    for content in damaged:
        file.write_bytes(content)
        assert schema_of(opened(tmp_path / "in")) == schema_of(first)
    assert looks == [2] * (1 + len(damaged))
    assert file.read_bytes() == whole
    file.unlink()

    def refused(path: Path, write: Any) -> None:
        raise OutputError(f"{path} cannot be written")

    monkeypatch.setattr(known_schema, "write_atomically", refused)
    assert schema_of(opened(tmp_path / "in")) == schema_of(first)


def test_types_that_are_stated_count(tmp_path: Path, looks: list[int]) -> None:
    """Whatever kind of mapping names them, and not where it lies in memory."""
    write_folder(tmp_path / "in")
    given = configparser.ConfigParser()
    for kind in ("float32", "string", "float32"):
        given["types"] = {"width": kind}
        assert str(opened(tmp_path / "in", schema=given["types"])._plan.schema["width"]) in (kind, "float")
    assert looks == [2, 2]


def test_a_bucket_is_looked_into_less_than_a_disk(tmp_path: Path, looks: list[int]) -> None:
    """What was found in few of its files is not taken for what all of a copy hold."""
    write_folder(tmp_path / "in", shards=1)
    files = fsspec.filesystem("memory")
    files.put(str(tmp_path / "in"), "/known-schema", recursive=True)
    for path in ("memory://known-schema", str(tmp_path / "in"), "memory://known-schema"):
        ic.read_webdataset(path, workdir=tmp_path / "work", shard_identity="size")
    assert looks == [1, 1]
    files.rm("/known-schema", recursive=True)


@pytest.mark.parametrize("wrong", [{"metadata": "jsn"}, {"id_col": ""}, {"schema": {"width": "no type"}}])
def test_wrong_arguments_leave_no_store(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """They are told before anything is made."""
    write_folder(tmp_path / "in")
    with pytest.raises(ParameterError):
        opened(tmp_path / "in", **wrong)
    assert not (tmp_path / "work").exists()
