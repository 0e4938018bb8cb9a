"""Files of many shards in few: read as before, whoever writes, compacts, removes or dies meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from compacting import SMALL_PACK
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from making import write_folder
from test_store_files import COUNT, SCHEMA, FakeShard, rows
from toys import Brightness, Corner

import imagecurate as ic
from imagecurate.errors import OutputError, ParameterError
from imagecurate.remote import RemotePath
from imagecurate.store import StageFiles, StageValues, Store, packs
from imagecurate.store import compact as compaction
from imagecurate.store.compact import compact, discard, folders_to_compact
from imagecurate.store.index_file import IndexFile
from imagecurate.store.inventory import files_below, shard_files
from imagecurate.store.packs import Packs, packs_of

SHARDS = [FakeShard(name=f"sub/{number:05d}", token=f"{number:012x}") for number in range(12)]


@pytest.fixture
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "PACK_BYTES", SMALL_PACK)


def stage(root: Path) -> StageFiles:
    return Store(root).stage("Toy-1", reads_metadata=False)


def values(root: Path, shard: FakeShard) -> StageValues:
    return StageValues(stage(root), shard, COUNT, SCHEMA)


def finish(root: Path, shards: Iterable[FakeShard], positions: Iterable[int] = range(COUNT)) -> None:
    """Compute rows of some shards, and finish them."""
    for shard in shards:
        state = values(root, shard)
        state.add(rows(np.array(sorted(positions))))
        state.finish()


def known(root: Path, shard: FakeShard) -> set[int]:
    """Positions that the store has; their values are looked at."""
    state = values(root, shard)
    found = np.flatnonzero(state.known(np.arange(COUNT)))
    assert state.column("score", found).to_pylist() == (found / 2).tolist()
    assert state.column("vector", found).to_pylist() == [[float(p), 1.0] for p in found]
    failed, reasons = state.failures(found)
    assert reasons == [f"bad {p}" for p in found if p % 100 == 99]
    assert failed.sum() == len(reasons)
    return set(found.tolist())


def files(root: Path) -> dict[str, int]:
    """How many files of each kind a stage has."""
    names = [file.path for file in files_below(stage(root).folder)]
    return {kind: sum(name.endswith(kind) for name in names) for kind in ("parquet", "pack", "index", "tmp")}


def contents(root: Path) -> dict[str, pa.Table]:
    """The rows of all shards."""
    found = {}
    for shard in SHARDS:
        finished, parts = stage(root).open(shard, COUNT)
        assert finished is not None, shard
        assert not parts
        found[shard.name] = finished.read()
    return found


class Histories(RuleBasedStateMachine):
    """Rows are computed, finished, compacted and removed in any order; what is left is what is read."""

    root: Path

    @initialize()
    def begin(self) -> None:
        self.finished: dict[FakeShard, set[int]] = {}
        self.parts: dict[FakeShard, set[int]] = {}

    shards = st.sampled_from(SHARDS[:5])
    positions = st.one_of(st.just(set(range(COUNT))), st.sets(st.integers(0, COUNT - 1), min_size=1, max_size=30))

    @rule(shard=shards, positions=positions, whole=st.booleans())
    def compute(self, shard: FakeShard, positions: set[int], whole: bool) -> None:
        state = values(self.root, shard)
        missing = np.array(sorted(positions))
        missing = missing[~state.known(missing)]
        if len(missing):
            state.add(rows(missing))
        state.save()
        self.parts.setdefault(shard, set()).update(missing.tolist())
        if whole and (state.has_parts or state.has_fresh):
            state.finish()
            self.finished[shard] = self.finished.get(shard, set()) | self.parts.pop(shard)

    @rule(size=st.sampled_from([2_000, 20_000, SMALL_PACK, 1 << 30]))
    def compact(self, size: int) -> None:
        before, compaction.PACK_BYTES = compaction.PACK_BYTES, size
        compact(stage(self.root).folder)
        compaction.PACK_BYTES = before

    @rule(chosen=st.sets(shards))
    def remove(self, chosen: set[FakeShard]) -> None:
        for shard in chosen:
            stage(self.root).path(shard).unlink(missing_ok=True)
            self.finished.pop(shard, None)
        discard(stage(self.root).folder, {stage(self.root)._name(shard) for shard in chosen})

    @invariant()
    def what_was_computed_is_there(self) -> None:
        for shard in SHARDS[:5]:
            expected = self.finished.get(shard, set()) | self.parts.get(shard, set())
            assert known(self.root, shard) == expected
            assert known(self.root, replace(shard, token="f" * 12)) == set()  # changed since
        there = [file for file in shard_files(stage(self.root).folder) if file.part is None]
        assert sorted(str(file.shard) for file in there) == sorted(f"default/{each.name}" for each in self.finished)
        found = Packs(stage(self.root).folder)  # a process that reads the indices now
        assert found.names() == packs_of(stage(self.root).folder).names()


def test_any_order_of_computing_compacting_and_removing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every row is found that was computed and not removed, and no other; by old readers and new ones."""

    class Here(Histories):
        @initialize()
        def begin(self) -> None:
            super().begin()
            self.root = tmp_path_factory.mktemp("store")

    run_state_machine_as_test(Here, settings=settings(max_examples=25, stateful_step_count=12, deadline=None))


@pytest.mark.usefixtures("small_packs")
def test_few_files_with_the_same_rows(tmp_path: Path) -> None:
    """Packs are filled; the next time only what is new, and the pack that is not full, is written."""
    finish(tmp_path, SHARDS[:9])
    finish(tmp_path, SHARDS[9:10], range(70))
    before = {shard.name: known(tmp_path, shard) for shard in SHARDS}
    sizes = [path.stat().st_size for path in stage(tmp_path).folder.rglob("*.parquet")]
    done = compact(stage(tmp_path).folder)
    assert (done.files, done.bytes) == (10, sum(sizes))
    assert files(tmp_path) == {"parquet": 0, "pack": done.packs, "index": done.packs, "tmp": 0}
    assert 1 < done.packs < 7
    assert {shard.name: known(tmp_path, shard) for shard in SHARDS} == before
    full = {path for path in stage(tmp_path).folder.rglob("*.pack") if path.stat().st_size > SMALL_PACK / 2}
    assert compact(stage(tmp_path).folder).packs == 0
    finish(tmp_path, SHARDS[10:])
    finish(tmp_path, SHARDS[9:10], range(90))
    assert compact(stage(tmp_path).folder).files == 3
    now = set(stage(tmp_path).folder.rglob("*.pack"))
    assert len(full - now) <= 1  # that of the shard that has more rows now
    assert sum(path.stat().st_size < SMALL_PACK / 2 for path in now) <= 1
    assert compact(stage(tmp_path).folder).packs == 0
    assert known(tmp_path, SHARDS[9]) == set(range(90))
    assert all(known(tmp_path, shard) == set(range(COUNT)) for shard in (*SHARDS[:9], *SHARDS[10:]))


def test_what_stays_loose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts; a file alone; a file of half a pack; one that a power loss cut off."""
    finish(tmp_path, SHARDS[:1])
    assert compact(stage(tmp_path).folder).packs == 0
    part = values(tmp_path, SHARDS[1])
    part.add(rows(np.arange(10)))
    part.save()
    finish(tmp_path, SHARDS[2:4])
    cut = stage(tmp_path).path(SHARDS[2])
    cut.write_bytes(cut.read_bytes()[:-1])
    assert compact(stage(tmp_path).folder).files == 2
    assert files(tmp_path) == {"parquet": 2, "pack": 1, "index": 1, "tmp": 0}
    assert known(tmp_path, SHARDS[1]) == set(range(10))
    assert known(tmp_path, SHARDS[2]) == set()
    finish(tmp_path, SHARDS[4:6])
    monkeypatch.setattr(compaction, "PACK_BYTES", 2 * stage(tmp_path).path(SHARDS[4]).stat().st_size - 1)
    assert compact(stage(tmp_path).folder).files == 0


def test_a_loose_file_counts_before_a_packed_one(tmp_path: Path) -> None:
    """More rows, or the same anew: it is read, and takes the other's place in the pack; with fewer it stays loose."""
    finish(tmp_path, SHARDS[:3], range(10))
    compact(stage(tmp_path).folder)
    finish(tmp_path, SHARDS[:1], range(20))
    assert known(tmp_path, SHARDS[0]) == set(range(20))
    newer = rows(np.arange(10)).set_column(2, "score", pa.array([-1.0] * 10))
    stage(tmp_path).finish(SHARDS[1], [newer], COUNT)
    stage(tmp_path).path(SHARDS[2]).parent.mkdir(exist_ok=True)
    (tmp_path / "other").mkdir()
    finish(tmp_path / "other", SHARDS[2:3], range(5, 12))
    os.replace(stage(tmp_path / "other").path(SHARDS[2]), stage(tmp_path).path(SHARDS[2]))  # noqa: PTH105
    compact(stage(tmp_path).folder)
    assert files(tmp_path)["parquet"] == 1
    assert known(tmp_path, SHARDS[0]) == set(range(20))
    assert values(tmp_path, SHARDS[1]).column("score", np.arange(10)).to_pylist() == [-1.0] * 10
    finish(tmp_path, SHARDS[2:3], range(30, 40))
    assert {*range(5, 12), *range(30, 40)} <= known(tmp_path, SHARDS[2])


def test_a_file_that_is_written_anew_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run finishes between the copy and the removal is not removed with what was copied."""
    write = compaction.write_atomically

    def written(path: Path, *more: object, **named: object) -> None:
        if path.suffix == ".index":
            finish(tmp_path, SHARDS[:1], range(20))
        write(path, *more, **named)  # type: ignore[arg-type]

    finish(tmp_path, SHARDS[:3], range(10))
    monkeypatch.setattr(compaction, "write_atomically", written)
    assert compact(stage(tmp_path).folder).files == 2
    assert files(tmp_path)["parquet"] == 1
    assert known(tmp_path, SHARDS[0]) == set(range(20))


def test_a_reader_opens_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index is read once a process, a pack with each look; where nothing is packed no file is opened for it."""
    read, opened = [], []

    def noting(what: list[str], function: Callable[..., object]) -> Callable[..., object]:
        return lambda path, *more: what.append(path) or function(path, *more)

    monkeypatch.setattr(packs, "_read", noting(read, packs._read))
    monkeypatch.setattr(packs, "_opened", noting(opened, packs._opened))
    finish(tmp_path, SHARDS)
    for shard in SHARDS:
        assert stage(tmp_path).has(shard)
        assert not stage(tmp_path).has(replace(shard, token="f" * 12))
    assert (read, opened) == ([], [])
    compact(stage(tmp_path).folder)
    read.clear()
    for shard in SHARDS:
        known(tmp_path, shard)
    assert len(read) == 1
    assert len(opened) == 2 * len(SHARDS)  # once more after parts were looked for, since not all rows are there


def test_large_files_are_read_by_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As vectors: what is not asked for is not read, and the pack is closed in the end."""
    descriptors = Path("/proc/self/fd")
    monkeypatch.setattr(packs, "_WHOLE_BYTES", 100)
    finish(tmp_path, SHARDS)
    expected = contents(tmp_path)
    compact(stage(tmp_path).folder)
    before = len(list(descriptors.iterdir())) if descriptors.is_dir() else 0
    for shard in SHARDS:
        known(tmp_path, shard)
    found = contents(tmp_path)
    assert all(found[name].equals(expected[name]) for name in expected)
    assert (len(list(descriptors.iterdir())) if descriptors.is_dir() else 0) == before


def compacting(folder: Path, how: str, other: Path) -> subprocess.Popen[str]:
    """Start the program that compacts."""
    program = Path(__file__).with_name("compacting.py")
    return subprocess.Popen([sys.executable, program, folder, how, other], stdout=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("small_packs")
def test_killed_at_every_moment(tmp_path: Path) -> None:
    """Nothing is lost, what is left is read by runs, and the next compaction brings it in order."""
    root = tmp_path / "root"
    finish(root, SHARDS[:8])
    compact(stage(root).folder)
    finish(root, SHARDS[8:])
    finish(root, SHARDS[:1])
    expected = contents(root)
    with compacting(stage(root).folder, "die", tmp_path / "copies") as program:
        copies = int(program.communicate()[0])
    assert copies > 15
    for moment in range(copies):
        copy = tmp_path / "copies" / f"{moment}"
        for _ in range(2):
            found = contents(copy)
            assert all(found[name].equals(expected[name]) for name in expected), moment
            compact(stage(copy).folder)
        assert files(copy)["parquet"] == 0
        assert files(copy)["tmp"] <= 1
        held = packs_of(stage(copy).folder).all()
        assert len({file.name for file in held}) == len(SHARDS)
        assert len(held) < 2 * len(SHARDS)


@pytest.mark.usefixtures("small_packs")
def test_several_compact_while_others_read_and_write(tmp_path: Path) -> None:
    """No reader misses a row that was finished, and in the end no file is loose."""
    folder, mark = stage(tmp_path).folder, tmp_path / "mark"
    finish(tmp_path, SHARDS, range(COUNT - 20))
    with compacting(folder, "until", mark) as one, compacting(folder, "until", mark) as two:
        try:
            while not list(folder.rglob("*.index")):  # both have begun, as good as
                time.sleep(0.01)
            for more in range(20, 0, -2):
                finish(tmp_path, SHARDS[more % 3 :: 3], range(COUNT - more))
                for shard in SHARDS:
                    assert known(tmp_path, shard) >= set(range(COUNT - 20))
        finally:
            mark.touch()
    assert (one.returncode, two.returncode) == (0, 0)
    finish(tmp_path, SHARDS)
    compact(folder)
    assert files(tmp_path)["parquet"] == files(tmp_path)["tmp"] == 0
    assert all(known(tmp_path, shard) == set(range(COUNT)) for shard in SHARDS)


def test_packs_that_lost_a_file(tmp_path: Path) -> None:
    """Without its pack, cut off, or not there, an index costs the rows that it names, and no more."""
    finish(tmp_path, SHARDS[:4])
    compact(stage(tmp_path).folder)
    (index,) = stage(tmp_path).folder.rglob("*.index")
    pack = index.with_suffix(".pack")
    data, table = pack.read_bytes(), index.read_bytes()
    for lost in (lambda: pack.unlink(), lambda: index.write_bytes(table[:40]), lambda: index.unlink()):
        packs.packs_of.cache_clear()
        lost()
        assert known(tmp_path, SHARDS[0]) == set()
        pack.write_bytes(data)
        index.write_bytes(table)
        packs.packs_of.cache_clear()
        assert known(tmp_path, SHARDS[0]) == set(range(COUNT))


def test_indices_of_shards_go_into_packs(tmp_path: Path) -> None:
    """By the same mechanism; large ones are read by range, and what was cut off is read from the pack."""
    store = Store(tmp_path)
    tables = {}
    for number, shard in enumerate(SHARDS):
        tables[shard] = pa.table({"key": [f"{row}" for row in range(10 if number else 50_000)]})
        IndexFile.write(store.index("x", shard), tables[shard])
    assert not store.has_index("y", SHARDS[0])
    (folder,) = folders_to_compact(store.root, "index")
    assert compact(folder).files == len(SHARDS)
    for shard, table in tables.items():
        assert store.has_index("x", shard)
        assert store.open_index("x", shard).column("key").equals(table["key"].combine_chunks())
    with pytest.raises(FileNotFoundError):
        store.open_index("x", replace(SHARDS[0], metadata_token="f" * 12))
    store.index("x", SHARDS[1]).write_bytes(b"ARROW1")
    assert len(store.open_index("x", SHARDS[1]).column("key")) == 10


def test_a_dataset_does_not_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows; a filter that is loosened computes what it admits, and the result is that of a fresh store."""
    write_folder(tmp_path / "data", shards=6)

    def curated(work: str, width: int) -> ic.ImageTextPairDataset:
        ds = ic.read_webdataset(str(tmp_path / "data"), workdir=tmp_path / work).pipe(Brightness())
        return ds.filter(f"image_width >= {width}", name="size").pipe(Corner())

    computed: list[int] = []
    process = Corner.process
    monkeypatch.setattr(Corner, "process", lambda self, batch: (computed.append(len(batch)), process(self, batch))[1])
    widths = ic.read_webdataset(str(tmp_path / "data"), workdir=None).metadata["width"].compute()
    tight, loose = int(widths.quantile(0.7)), int(widths.quantile(0.3))
    before = curated("work", tight).compute().metadata.compute()
    first = sum(computed)
    for folder in folders_to_compact(tmp_path / "work" / "store"):
        assert compact(folder).files == 6
    computed.clear()
    assert curated("work", tight).metadata.compute().equals(before)
    assert computed == []
    after = curated("work", loose).compute().metadata.compute()
    more = sum(computed)
    computed.clear()
    assert after.equals(curated("fresh", loose).compute().metadata.compute())
    assert first + more == sum(computed)
    for folder in folders_to_compact(tmp_path / "work" / "store"):
        compact(folder)
    assert curated("work", loose).metadata.compute().equals(after)
    assert not list((tmp_path / "work").rglob("default/*.parquet"))


def test_mistakes(tmp_path: Path) -> None:
    """A stage that is not there; a store behind a URL."""
    finish(tmp_path, SHARDS[:1])
    assert folders_to_compact(tmp_path, "Toy") == folders_to_compact(tmp_path, "Toy-1") == [stage(tmp_path).folder]
    with pytest.raises(ParameterError, match="no columns of 'Toi'; it has: Toy\n\nHint: did you mean 'Toy'"):
        folders_to_compact(tmp_path, "Toi")
    with pytest.raises(OutputError, match="files are put into packs on disks alone, not in 's3://b/store'"):
        folders_to_compact(RemotePath("s3://b/store"))
