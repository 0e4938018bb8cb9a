"""What becomes of bad data: a row with a reason, its neighbours untouched, every sample accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from making import picture, samples, write_folder, write_shard, write_tar
from opening import opened, statuses
from toys import Brightness, Corner, Picky

import imagecurate as ic
from imagecurate.errors import (
    StageError,
)
from imagecurate.store import PART_ROWS


def test_filters_account_for_every_sample(tmp_path: Path) -> None:
    """Kept, dropped by the first filter in plan order, null counted, failed with a reason."""
    members = [
        ("a", b"x"),
        ("a.jpg", picture(1)),
        ("a.json", b'{"q": 1}'),
        ("b.jpg", picture(2)),
        ("b.json", b'{"q": 5}'),
    ]
    members += [
        ("c.jpg", picture(3)),
        ("d.jpg", b"<html>"),
        ("d.json", b'{"q": 9}'),
        ("e.txt", b"alone"),
        ("e.json", b'{"q": 9}'),
    ]
    members += [("f.jpg", b"<html>"), ("f.json", b'{"q": 1}')]
    write_tar(tmp_path / "data/s.tar", members)
    ds = opened(tmp_path / "data").filter("q > 2", name="q").pipe(Brightness()).filter("brightness >= 0", name="light")
    assert statuses(ds) == {
        "a": ("dropped", "q"),
        "b": ("kept", None),
        "c": ("dropped", "q"),
        "d": ("failed", "not an image"),
        "e": ("failed", "no image"),
        "f": ("dropped", "q"),
    }
    ledger = ds.ledger().compute().set_index("key")
    assert ledger.detail["c"] == "null"
    assert pd.isna(ledger.detail["a"])
    counts = ds.counts()
    assert counts.loc[0, ["dropped", "failed", "left"]].tolist() == [0, 1, 5]
    assert counts.set_index("step").loc["q", ["dropped", "null", "left"]].tolist() == [3, 1, 2]
    assert counts.left.iloc[-1] == 1
    assert len(ds) == len(ledger) == 6
    assert "d" not in ds.metadata.key.compute().tolist()  # null does not pass the last filter


def test_failed_samples_stay_in_metadata_with_nulls(tmp_path: Path) -> None:
    """A file that is no image is a row with nulls and an error until a filter asks for more."""
    write_tar(tmp_path / "data/s.tar", [("a.jpg", picture(1)), ("b.jpg", b"no image at all"), ("c.jpg", b"")])
    frame = opened(tmp_path / "data").pipe(Brightness()).metadata.compute().set_index("key")
    assert list(frame.index) == ["a", "b", "c"]
    assert frame.brightness.isna().tolist() == [False, True, True]
    assert frame.image_error.isna().tolist() == [True, False, True]
    assert frame.image_width.tolist()[0] == 64


def test_a_bad_row_costs_one_row(folder: Path) -> None:
    """A stage that raises for one picture, in prepare or for a whole batch, fails that sample alone."""
    bright = {
        key: value > 128
        for key, value in opened(folder)
        .pipe(Brightness())
        .metadata.compute()[["key", "brightness"]]
        .itertuples(index=False)
    }
    assert 0 < sum(bright.values()) < 8
    for late in (False, True):
        found = statuses(opened(folder).pipe(Picky(late=late)))
        assert found == {key: ("failed", "Picky") if bad else ("kept", None) for key, bad in bright.items()}


def test_a_stage_that_fails_every_row_of_a_block_is_an_error(tmp_path: Path) -> None:
    """Then the stage is at fault, not the data; a few rows are data."""
    many = write_folder(tmp_path / "many", shards=1, samples_per_shard=PART_ROWS)
    for late in (True, False):
        with pytest.raises(StageError, match=rf"Picky\(limit=-1.0.*failed each of {PART_ROWS} rows: .*too bright"):
            opened(many).pipe(Picky(limit=-1.0, late=late)).compute()
    few = write_folder(tmp_path / "few", shards=1, samples_per_shard=2)
    found = statuses(ic.read_webdataset(str(few), workdir=None).pipe(Picky(limit=-1.0, late=True)))
    assert set(found.values()) == {("failed", "Picky")}


def test_what_a_row_holds_does_not_depend_on_what_was_asked(folder: Path) -> None:
    """A stage that fails a row stops no other stage, whatever columns are asked for and whatever is stored."""
    counts = set()
    for first in ("everything", "length", "other plan"):
        ds = ic.read_webdataset(str(folder), workdir=None)
        if first == "other plan":
            ds.pipe(Brightness()).compute()
        plan = ds.pipe(Picky(), Brightness()).filter("brightness >= 0")
        if first == "length":
            counts.add(len(plan.metadata))
        counts.add(len(plan.metadata.compute()))
    assert counts == {8}


def test_a_later_decode_that_fails_is_a_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that was decoded once and is not this time fails with its reason; nothing is made of a black one."""
    from imagecurate.images import Decoded, Decoder, ImageInfo

    opened(folder).filter("image_width > 3").compute()
    monkeypatch.setattr(Decoder, "decode", lambda *given: Decoded(None, ImageInfo(error="decoder crashed")))
    found = statuses(opened(folder).filter("image_width > 3").pipe(Corner()))
    assert set(found.values()) == {("failed", "decoder crashed")}


def test_out_of_memory_is_nobodys_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the run and is not kept as a failure of the samples."""

    def fail(self: Brightness, pixels: object) -> float:
        raise MemoryError("no room")

    with monkeypatch.context() as patch, pytest.raises(MemoryError, match="no room"):
        patch.setattr(Brightness, "prepare", fail)
        opened(folder).pipe(Brightness()).compute()
    assert opened(folder).pipe(Brightness()).counts().left.iloc[-1] == 8


def test_vectors_that_came_with_the_data_may_be_broken(tmp_path: Path) -> None:
    """A vector of another length or with a hole fails its row alone; null stays null."""
    vectors = pa.array([[1.0, 2.0], [1.0], None, [1.0, None], [3.0, 4.0]], pa.list_(pa.float32()))
    table = pa.table({"key": [f"{n:09d}" for n in range(5)], "emb": vectors})
    write_shard(tmp_path / "data" / "0.tar", samples(5), table)

    class Total(ic.ColumnStage):
        def adds(self) -> dict[str, pa.DataType]:
            return {"total": pa.float64()}

        def reads(self) -> tuple[str, ...]:
            return ("emb",)

        def process(self, columns: Any) -> dict[str, Any]:
            return {"total": columns["emb"].sum(axis=1)}

    ds = opened(tmp_path / "data").pipe(Total())
    assert ds.metadata.total.compute().fillna(-1).tolist() == [3.0, -1, -1, -1, 7.0]
    assert [status for status, _ in statuses(ds).values()] == ["kept", "failed", "kept", "failed", "kept"]


def test_a_broken_off_run_ends_with_the_blocks_in_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in one shard does not wait for all blocks of the others."""
    folder = write_folder(tmp_path / "data", shards=2, samples_per_shard=20 * PART_ROWS)
    (folder / "00000.tar").write_bytes((folder / "00000.tar").read_bytes()[:20480])
    seen: list[int] = []

    class Broken(Brightness):
        def prepare(self, pixels: Any) -> float:
            seen.append(1)
            if len(seen) == 3:
                raise MemoryError("no room")
            return 1.0

    with pytest.raises(MemoryError):
        opened(folder).pipe(Broken()).compute()
    assert len(seen) < 10 * PART_ROWS


def test_more_time_is_tried_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that took too long stays failed, without a decode, until it is given more time."""
    from imagecurate.images import Decoded, DecodePolicy, Decoder, ImageInfo

    decode = Decoder.decode
    asked: list[float] = []

    def slow(self: Decoder, data: bytes, *header: object) -> Decoded:
        asked.append(self.policy.timeout_s)
        if self.policy.timeout_s < 5 and len(asked) % 8 == 3:
            return Decoded(None, ImageInfo(error=f"decoding took longer than {self.policy.timeout_s:g} s"))
        return decode(self, data)

    monkeypatch.setattr(Decoder, "decode", slow)
    for seconds, decoded, left in ((1.0, 8, 7), (1.0, 8, 7), (0.5, 8, 7), (10.0, 9, 8), (1.0, 9, 8)):
        ds = opened(folder, decode_policy=DecodePolicy(timeout_s=seconds)).pipe(Corner())
        assert ds.counts().left.iloc[-1] == left
        assert len(asked) == decoded


def test_metadata_that_belongs_to_no_sample_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Ids that match no key would make every column null without a word."""
    rows = [{"key": f"{n:09d}.jpg", "q": n} for n in range(3)]
    write_shard(tmp_path / "data" / "0.tar", samples(3), rows)
    opened(tmp_path / "data").counts()
    assert "no row of the parquet beside the tars has the key of a sample" in caplog.text
