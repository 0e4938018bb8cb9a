"""The export as a whole."""

# ruff: noqa: A001, A002  # tarfile calls it ``format`` too

from __future__ import annotations

import hashlib
import io
import json
import logging
import random
import subprocess
import tarfile
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import samples, write_folder, write_shard, write_tar
from tar_survivors import COLUMNS, TarSurvivors, contents, split, tree
from webdataset.tariterators import group_by_keys, tar_file_expander

from imagecurate.errors import ColumnExistsError, OutputError, ParameterError, ShardError
from imagecurate.export import reading, to_webdataset, verify
from imagecurate.shards.shard import Shard
from imagecurate.shards.sources import ByteSource, RangeSource

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def even(source: str, shard: str, key: str) -> bool:
    """Keep every second sample."""
    return int(key) % 2 == 0


def exported(folder: Path) -> dict[str, bytes]:
    """Members of all output tars."""
    return contents(*sorted(folder.glob("*.tar")))


def kept_members(survivors: TarSurvivors) -> dict[str, bytes]:
    """What the members of kept samples hold in the input, where no key repeats."""
    every = contents(*(path for _, _, path in survivors.paths))
    kept = {key for number in range(len(survivors.shards)) for key in survivors.kept(number)}
    return {name: data for name, data in every.items() if split(name)[0] in kept}


@st.composite
def inputs(draw: st.DrawFn) -> list[tuple[int, float, list[tuple[str, bytes]]]]:
    """Shards (format, time, members) with odd names, sidecars of any length, and members of samples interleaved."""
    shards = []
    for number in range(draw(st.integers(1, 4))):
        members = []
        for sample in range(draw(st.integers(0, 5))):
            folder = draw(st.sampled_from(["", "a/", "v1.0/", "ü/" + "long" * 30 + "/"]))
            for extension in draw(
                st.lists(st.sampled_from(["jpg", "txt", "json", "seg.PNG", "f" * 40]), min_size=1, unique=True)
            ):
                members.append((f"{folder}{number}{sample:03d}.{extension}", draw(st.binary(max_size=1500))))
        if draw(st.booleans()):
            members.sort(key=lambda member: member[0].rpartition(".")[2])
        time = draw(st.sampled_from([0.0, 1_700_000_000.25]))
        shards.append((draw(st.sampled_from(FORMATS)), time, members))
    return shards


@settings(max_examples=25)
@given(inputs(), st.integers(1, 7), st.integers(0, 4), st.booleans(), st.integers(1, 3))
def test_members_come_out_as_they_went_in(
    shards: list[tuple[int, float, list[tuple[str, bytes]]]], per_shard: int, dropped: int, by_bytes: bool, threads: int
) -> None:
    """For any input: bytes equal, shards full, index and parquet and manifest right, every sample accounted for."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch, "in"), Path(scratch, "out")
        for number, (format, time, members) in enumerate(shards):
            fitting = [name for name, _ in members if len(name.encode()) < 100 or format != tarfile.USTAR_FORMAT]
            write_tar(folder / f"{number:05d}.tar", [each for each in members if each[0] in fitting], format, time)
        survivors = TarSurvivors.of(
            folder, keep=lambda source, shard, key: hashlib.md5(key.encode()).digest()[0] % 5 >= dropped
        )
        limit = 20_480 if by_bytes else None
        summary = to_webdataset(survivors, out, samples_per_shard=per_shard, bytes_per_shard=limit, threads=threads)

        kept = [key for number in range(len(shards)) for key in survivors.kept(number)]
        assert exported(out) == kept_members(survivors)
        assert summary.samples == len(kept)
        tars = sorted(out.glob("*.tar"))
        assert [path.name for path in tars] == [f"{number:05d}.tar" for number in range(summary.shards)]
        order = []
        for path in tars:
            names = list(contents(path))
            keys = list(dict.fromkeys(split(name)[0] for name in names))
            assert [split(name)[0] for name in names] == sorted((split(name)[0] for name in names), key=keys.index)
            assert keys == pq.read_table(path.with_suffix(".parquet"))["key"].to_pylist()
            check_index(path, keys)
            assert path.stat().st_size % 10_240 == 0
            assert len(keys) <= per_shard and (limit is None or path.stat().st_size <= limit or len(keys) == 1)
            order.append(keys)
        assert [key for keys in order for key in keys] == kept
        if not by_bytes:
            assert all(len(keys) == per_shard for keys in order[:-1])
        ledger = pq.read_table(out / "ledger")
        assert Counter(ledger["status"].to_pylist())["kept"] == len(kept)
        assert len(ledger) == len({split(name)[0] for _, _, path in survivors.paths for name in contents(path)})
        assert verify(out) == []


def check_index(path: Path, keys: list[str]) -> None:
    """DALI's index has a line a sample, and its offsets point at the data."""
    data = path.read_bytes()
    first, *lines = path.with_suffix(".idx").read_text().splitlines()
    assert first == f"v1.2 {len(keys)}" and len(lines) == len(keys)
    found = {}
    for key, line in zip(keys, lines, strict=True):
        words = line.split()
        for extension, offset, size, name in zip(words[::4], words[1::4], words[2::4], words[3::4], strict=True):
            assert name == f"{key}.{extension}" and int(offset) % 512 == 0
            found[name] = data[int(offset) : int(offset) + int(size)]
    assert found == contents(path)


@pytest.mark.parametrize("format", FORMATS)
def test_all_readers_agree(tmp_path: Path, format: int) -> None:
    """GNU tar and webdataset read what the standard library reads."""
    for number in range(3):
        write_shard(tmp_path / f"in/{number:05d}.tar", samples(5, first=5 * number), format=format, mtime=1.5)
    survivors = TarSurvivors.of(tmp_path / "in", keep=even)
    to_webdataset(survivors, tmp_path / "out", samples_per_shard=3)
    expected = kept_members(survivors)
    assert exported(tmp_path / "out") == expected
    for path in sorted((tmp_path / "out").glob("*.tar")):
        listed = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=True)
        assert listed.stdout.split() == list(contents(path)) and not listed.stderr
    read = []
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with path.open("rb") as stream:  # WebDataset(path) leaves it to the garbage collector
            read += list(group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}])))
    assert {f"{each['__key__']}.{kind}": each[kind] for each in read for kind in ("jpg", "txt", "json")} == expected


def test_headers_are_kept_byte_for_byte(tmp_path: Path) -> None:
    """Adjacent kept samples are one range of the input, headers, owners and fractional times included."""
    source = write_shard(tmp_path / "in/00000.tar", samples(4), format=tarfile.PAX_FORMAT, mtime=1_700_000_000.25)
    to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out")
    assert (tmp_path / "out/00000.tar").read_bytes() == source.read_bytes()


def test_hard_links_and_global_headers(tmp_path: Path) -> None:
    """Members that mean something only in their own tar become plain files; the others keep their headers."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "of all"}) as tar:
        for name in ("1.jpg", "2.jpg"):
            info = tarfile.TarInfo(name)
            info.mtime, info.mode, info.size = 1_600_000_000, 0o640, 3
            tar.addfile(info, io.BytesIO(name[:1].encode() * 3))
        info = tarfile.TarInfo("2.seg.jpg")
        info.type, info.linkname = tarfile.LNKTYPE, "1.jpg"
        tar.addfile(info)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/00000.tar").write_bytes(buffer.getvalue())
    to_webdataset(TarSurvivors.of(tmp_path / "in", keep=lambda *names: names[-1] == "2"), tmp_path / "out")
    assert exported(tmp_path / "out") == {"2.jpg": b"222", "2.seg.jpg": b"111"}
    with tarfile.open(tmp_path / "out/00000.tar") as tar:
        assert not tar.pax_headers
        assert [(member.mtime, member.mode, member.isreg()) for member in tar] == [(1_600_000_000, 0o640, True)] * 2
    check_index(tmp_path / "out/00000.tar", ["2"])


def write_sources(folder: Path) -> TarSurvivors:
    """Two sources with two shards each, in which keys count up from zero in each source."""
    paths = []
    for source in ("cc12m", "laion-2b"):
        for number in range(2):
            made = [(f"a/{key}", fields) for key, fields in samples(3, first=3 * number)]
            made = [(f"{key}x" if source == "cc12m" and number else key, fields) for key, fields in made]
            path = write_shard(folder / source / f"{number:05d}.tar", made, format=tarfile.PAX_FORMAT, mtime=3.5)
            paths.append((source, f"{number:05d}", path))
    return TarSurvivors(paths)


def test_repeated_keys_are_told_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """All samples that share a key are named by source and shard as well, the others keep theirs, and it is said."""
    survivors = write_sources(tmp_path / "in")
    with caplog.at_level(logging.WARNING):
        summary = to_webdataset(survivors, tmp_path / "out", samples_per_shard=5)
    assert summary.renamed == 6 and "6 samples share their keys" in caplog.text
    table = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet")))
    assert table["key"].to_pylist() == [
        *(f"a/00000000{number}-cc12m-00000" for number in range(3)),
        *(f"a/00000000{number}x" for number in range(3, 6)),
        *(f"a/00000000{number}-laion_2b-00000" for number in range(3)),
        *(f"a/00000000{number}" for number in range(3, 6)),
    ]
    assert table["original_key"].to_pylist()[6] == "a/000000000"
    assert table.column_names == [*list(COLUMNS)[:2], "original_key", *list(COLUMNS)[2:]]
    members = exported(tmp_path / "out")
    assert len(members) == 36
    for (source, _, path), suffix in zip(survivors.paths[::2], ("cc12m", "laion_2b"), strict=True):
        for name, data in contents(path).items():
            key, field = split(name)
            assert members[f"{key}-{suffix}-00000.{field}"] == data, source
    for path in sorted((tmp_path / "out").glob("*.tar")):
        check_index(path, pq.read_table(path.with_suffix(".parquet"))["key"].to_pylist())
    assert json.loads((tmp_path / "out/run.json").read_text())["export"]["renamed"] == 6


def test_telling_keys_apart_respects_bytes_per_shard(tmp_path: Path) -> None:
    """Tars whose members get longer headers stay within the limit."""
    name = "k" * 90
    for number in range(2):
        write_tar(tmp_path / f"in/{number:05d}.tar", [(f"{name}{key}.jpg", b"x" * 512) for key in range(20)])
    summary = to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out", bytes_per_shard=20_480)
    sizes = [path.stat().st_size for path in sorted((tmp_path / "out").glob("*.tar"))]
    assert sizes == [20_480] * 4 + [10_240] and summary.renamed == 40


def test_a_column_called_original_key_is_left_alone(tmp_path: Path) -> None:
    """What came in under that name stays, the keys as they were go into the next free one."""
    survivors = write_sources(tmp_path / "in")
    survivors.columns = dict(COLUMNS) | {"original_key": pa.string()}
    to_webdataset(survivors, tmp_path / "out")
    table = pq.read_table(tmp_path / "out/00000.parquet")
    assert table["original_key"].null_count == 12 and table["original_key_2"][0].as_py() == "a/000000000"


def test_renumbering(tmp_path: Path) -> None:
    """Samples get shard and number as their id, everywhere, and keep the old one in a column."""
    write_folder(tmp_path / "in", shards=3, samples_per_shard=8)
    survivors = TarSurvivors.of(tmp_path / "in", keep=even)
    survivors.columns = dict(COLUMNS) | {"uid": pa.string(), "number": pa.int64()}
    read = survivors.read

    def with_ids(shard: Shard, columns: list[str]) -> pa.Table:
        table = read(shard, columns)
        for name in {"uid", "number"} & set(columns):
            ids = table["key"].cast(survivors.columns[name])
            table = table.set_column(table.column_names.index(name), name, ids)
        return table

    survivors.read = with_ids  # type: ignore[method-assign, assignment]
    before = kept_members(survivors)
    summary = to_webdataset(survivors, tmp_path / "out", samples_per_shard=5, old_id_col="old", id_col="uid")
    tables = [pq.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    keys = [key for table in tables for key in table["key"].to_pylist()]
    assert keys == [f"{shard:05d}{sample}" for shard, count in enumerate((5, 5, 2)) for sample in range(count)]
    assert [key for table in tables for key in table["uid"].to_pylist()] == keys
    assert summary.renamed == 12
    old = [key for table in tables for key in table["old"].to_pylist()]
    assert old == [key for number in range(3) for key in survivors.kept(number)]
    after = exported(tmp_path / "out")
    for new, key in zip(keys, old, strict=True):
        assert after[f"{new}.jpg"] == before[f"{key}.jpg"] and after[f"{new}.txt"] == before[f"{key}.txt"]
        assert after[f"{new}.json"] == before[f"{key}.json"]  # its id is called "key", not "uid"

    to_webdataset(survivors, tmp_path / "second", samples_per_shard=5, old_id_col="old", id_col="number")
    assert pq.read_table(tmp_path / "second/00001.parquet")["number"].to_pylist() == [10, 11, 12, 13, 14]


def test_renumbering_reaches_into_json(tmp_path: Path) -> None:
    """The id in the JSON follows, the other bytes of it do not change, and sizes are right everywhere."""
    write_folder(tmp_path / "in", shards=2, samples_per_shard=7)
    survivors = TarSurvivors.of(tmp_path / "in")
    before = kept_members(survivors)
    to_webdataset(survivors, tmp_path / "out", old_id_col="old_id", bytes_per_shard=20_480)
    for path in sorted((tmp_path / "out").glob("*.tar")):
        table, members = pq.read_table(path.with_suffix(".parquet")), contents(path)
        check_index(path, table["key"].to_pylist())
        assert path.stat().st_size <= 20_480
        for key, old in zip(table["key"].to_pylist(), table["old_id"].to_pylist(), strict=True):
            assert len(key) == 9
            assert members[f"{key}.json"] == before[f"{old}.json"].replace(old.encode(), key.encode())


def test_columns_of_the_parquet(tmp_path: Path) -> None:
    """All columns with their types, embeddings as lists, no pandas metadata, rows beside their tar."""
    write_folder(tmp_path / "in", shards=2, samples_per_shard=6)
    to_webdataset(TarSurvivors.of(tmp_path / "in", keep=even), tmp_path / "out", samples_per_shard=4)
    schema = pq.read_schema(tmp_path / "out/00000.parquet")
    assert dict(zip(schema.names, schema.types, strict=True)) == COLUMNS and not schema.metadata
    table = pq.read_table(tmp_path / "out/00000.parquet")
    assert table["sample_id"].to_pylist() == [
        "default/00000/0",
        "default/00000/2",
        "default/00000/4",
        "default/00001/0",
    ]
    assert table["image_embedding"].to_pylist() == [[0.0, 0.0], [0.0, 1.0], [0.0, 2.0], [1.0, 0.0]]


def test_nothing_kept(tmp_path: Path) -> None:
    """No tar; manifest, ledger and run record all the same."""
    write_folder(tmp_path / "in", shards=2, samples_per_shard=3)
    summary = to_webdataset(TarSurvivors.of(tmp_path / "in", keep=lambda *names: False), tmp_path / "out")
    assert sorted(tree(tmp_path / "out")) == ["ledger/00000.parquet", "manifest.json", "run.json"]
    assert summary.shards == 0 and "no sample was kept" in str(summary)
    assert set(pq.read_table(tmp_path / "out/ledger")["status"].to_pylist()) == {"dropped"}


def test_the_result_does_not_depend_on_threads(tmp_path: Path) -> None:
    """Any number of threads writes the same bytes; a shard's rows are read for planning and once for writing."""
    write_folder(tmp_path / "in", shards=5, samples_per_shard=6)
    for threads in (1, 4):
        survivors = TarSurvivors.of(tmp_path / "in", keep=even)
        to_webdataset(survivors, tmp_path / f"{threads}", samples_per_shard=2, threads=threads)
        assert Counter(number for number, _ in survivors.asked) == dict.fromkeys(range(5), 2)
    assert tree(tmp_path / "1") == tree(tmp_path / "4")


def test_ledger_files_hold_many_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger file takes shards until it is large enough; rows are in the order of the input."""
    monkeypatch.setattr("imagecurate.export.ledger.ROWS_PER_FILE", 7)
    write_folder(tmp_path / "in", shards=5, samples_per_shard=3)
    to_webdataset(TarSurvivors.of(tmp_path / "in", keep=even), tmp_path / "out")
    files = sorted((tmp_path / "out/ledger").glob("*"))
    assert [pq.read_metadata(path).num_rows for path in files] == [9, 6]
    keys = [key for path in files for key in pq.read_table(path)["key"].to_pylist()]
    assert keys == [f"{number:09d}" for number in range(15)]


class Unpacked(ByteSource):
    """A tar that was compressed, as far as reads have reached: its size is not asked for, it may not be known yet."""

    def __init__(self, path: str) -> None:
        self._data = Path(path).read_bytes()

    def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    def read_many(self, ranges: object) -> list[bytes]:
        raise AssertionError("what lies in a file here is read in place")

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("is_remote", [True, False])
def test_shards_that_are_no_local_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_remote: bool) -> None:
    """Fetched in ranges, some kilobytes at a time, or unpacked, shards give the same bytes as tars read in place."""

    class Elsewhere(TarSurvivors):
        def open(self, shard: Shard) -> ByteSource:
            return RangeSource(shard.url, shard.size) if is_remote else Unpacked(shard.url)

    monkeypatch.setattr(reading, "AHEAD", 1000)
    paths = write_sources(tmp_path / "in").paths
    to_webdataset(TarSurvivors(paths), tmp_path / "expected", samples_per_shard=4)
    to_webdataset(Elsewhere(paths), tmp_path / "out", samples_per_shard=4)
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")


@pytest.mark.parametrize("renamed", [False, True])
def test_members_larger_than_any_buffer(tmp_path: Path, renamed: bool) -> None:
    """Large members come out whole, with the headers they had and with new ones."""
    data = {name: random.Random(name).randbytes(300_000 + len(name)) for name in ("1.jpg", "2.jpg", "2.f.npy", "3.jpg")}
    for number in range(1 + renamed):
        write_tar(tmp_path / f"in/{number:05d}.tar", data.items())
    survivors = TarSurvivors.of(tmp_path / "in", keep=lambda source, shard, key: key != "1")
    to_webdataset(survivors, tmp_path / "out", samples_per_shard=2)
    for number in range(1 + renamed):
        suffix = f"-default-{number:05d}" if renamed else ""
        assert contents(tmp_path / f"out/{number:05d}.tar") == {
            f"2{suffix}.jpg": data["2.jpg"], f"2{suffix}.f.npy": data["2.f.npy"], f"3{suffix}.jpg": data["3.jpg"]
        }  # fmt: skip


def test_only_the_samples_own_json_is_edited(tmp_path: Path) -> None:
    """Other sidecars keep their bytes, whatever is in them; what is no JSON does too."""
    members = [("a/7.JSON", b'{"key": "a/7"}'), ("a/7.meta.json", b'{"key": "a/7"}'), ("a/8.json", b"no json")]
    write_tar(tmp_path / "in/00000.tar", members)
    to_webdataset(TarSurvivors.of(tmp_path / "in"), tmp_path / "out", old_id_col="old")
    assert exported(tmp_path / "out") == {
        "000000000.JSON": b'{"key": "000000000"}',
        "000000000.meta.json": b'{"key": "a/7"}',
        "000000001.json": b"no json",
    }


def test_an_input_that_changed(tmp_path: Path) -> None:
    """A shard that is not what was indexed stops the export with its name."""
    write_folder(tmp_path / "in", shards=1)
    survivors = TarSurvivors.of(tmp_path / "in")
    with (tmp_path / "in/00000.tar").open("r+b") as file:
        file.truncate(2000)
    with pytest.raises(
        ShardError, match="shard '00000' of source 'default' was indexed with 20480 bytes and now has 2000"
    ):
        to_webdataset(survivors, tmp_path / "out")


def test_arguments_are_checked_first(tmp_path: Path) -> None:
    """Values out of range, a taken column and too few digits are said before anything is written."""
    write_folder(tmp_path / "in", shards=2, samples_per_shard=6)
    survivors, out = TarSurvivors.of(tmp_path / "in"), tmp_path / "out"
    with pytest.raises(ParameterError, match="samples_per_shard must be a whole number of at least 1, but is 0"):
        to_webdataset(survivors, out, samples_per_shard=0)
    with pytest.raises(ParameterError, match="bytes_per_shard must be a whole number of at least 10240, but is 1000"):
        to_webdataset(survivors, out, bytes_per_shard=1000)
    with pytest.raises(ParameterError, match="digest must be one of xxh3_128, sha256, but is 'md5'"):
        to_webdataset(survivors, out, digest="md5")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="threads must be a whole number of at least 1, but is 0"):
        to_webdataset(survivors, out, threads=0)
    with pytest.raises(ColumnExistsError, match="old_id_col='caption' is a column of the dataset already"):
        to_webdataset(survivors, out, old_id_col="caption")
    with pytest.raises(
        ParameterError, match=r"12 samples make 12 shards, more than 1 digits.*\n\nHint: shard_digits=2"
    ):
        to_webdataset(survivors, out, samples_per_shard=1, shard_digits=1)
    assert tree(out) == {}
    with pytest.raises(OutputError, match="the input lies there"):
        to_webdataset(survivors, tmp_path / "out/../in")


def test_progress_counts_samples(tmp_path: Path) -> None:
    """Whoever waits hears of samples written and their total."""
    write_folder(tmp_path / "in", shards=2, samples_per_shard=5)
    seen: list[tuple[int, int]] = []
    to_webdataset(
        TarSurvivors.of(tmp_path / "in"),
        tmp_path / "out",
        samples_per_shard=4,
        progress=lambda *counts: seen.append(counts),
    )
    assert seen == [(4, 10), (8, 10), (10, 10)]


@pytest.mark.shared
def test_photographs(shared: Path, tmp_path: Path) -> None:
    """Every second of 460 photographs: each member's sha256 is that of its source."""
    survivors = TarSurvivors.of(shared / "data/photos", keep=lambda source, shard, key: int(key[-1]) % 2 == 0)
    to_webdataset(survivors, tmp_path / "out", samples_per_shard=100, digest="sha256")
    assert exported(tmp_path / "out") == kept_members(survivors)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest()
