"""The invariants of the design, over generated shards and plans."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import member_digests, picture, write_tar
from toys import Brightness, Corner, Picky, Twice

import imagecurate as ic

BROKEN = [b"", b"<html>not found</html>", picture(9)[:300]]

samples = st.fixed_dictionaries(
    {
        "image": st.sampled_from(["good", "good", "good", "broken", "missing"]),
        "seed": st.integers(0, 20),
        "caption": st.sampled_from([None, "a dog", "a cat", ""]),
        "q": st.sampled_from([None, 0, 1, 2, 3]),
    }
)
datasets = st.lists(st.lists(samples, max_size=6), min_size=1, max_size=4)
filters = st.lists(
    st.sampled_from(
        [
            "q >= 2",
            "not (q >= 2)",
            "brightness > 120",
            "contains(caption, 'dog')",
            "caption is not null",
            "len(caption) > 0 or q < 1",
        ]
    ).map(lambda text: text.replace("contains(caption, 'dog')", "caption contains 'dog'")),
    max_size=3,
    unique=True,
)


def write(folder: Path, shards: list[list[dict[str, object]]], offset: int = 0) -> Path:
    """Write generated samples as shards; the keys count up over all of them."""
    number = offset
    for shard, rows in enumerate(shards):
        members: list[tuple[str, bytes]] = []
        for row in rows:
            key, seed = f"{number:05d}", int(row["seed"])  # type: ignore[call-overload]
            if row["image"] == "good":
                members.append((f"{key}.jpg", picture(seed, (32 + seed, 32))))
            elif row["image"] == "broken":
                members.append((f"{key}.jpg", BROKEN[seed % 3]))
            if row["caption"] is not None:
                members.append((f"{key}.txt", str(row["caption"]).encode()))
            q = "null" if row["q"] is None else row["q"]
            members.append((f"{key}.json", f'{{"q": {q}}}'.encode()))
            number += 1
        write_tar(folder / f"{shard:03d}.tar", members)
    return folder


def planned(folder: Path, conditions: list[str], workdir: Path | None = None) -> ic.ImageTextPairDataset:
    """A dataset with an image stage, filters, a column stage and a later image stage."""
    ds = ic.read_webdataset(str(folder), workdir=workdir, schema={"q": "int64"}).pipe(Brightness(), Picky(limit=160.0))
    for condition in conditions:
        ds = ds.filter(condition)
    return ds.pipe(Twice(), Corner())


@settings(max_examples=25)
@given(shards=datasets, conditions=filters)
def test_every_sample_is_accounted_for_and_exported_untouched(
    shards: list[list[dict[str, object]]], conditions: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Invariants 1 and 4: in = kept + dropped + failed; kept members are the bytes that came in, no other is there."""
    folder = tmp_path_factory.mktemp("invariants")
    source = write(folder / "data", shards)
    ds = planned(source, conditions)
    summary = ds.to_webdataset(folder / "out", samples_per_shard=3)
    ledger = pd.concat([pd.read_parquet(path) for path in sorted((folder / "out/ledger").glob("*.parquet"))])
    pd.testing.assert_frame_equal(
        ledger.reset_index(drop=True), ds.ledger().compute().reset_index(drop=True), check_dtype=False
    )
    counts = ledger.status.value_counts()
    assert len(ledger) == len(ds) == sum(len(rows) for rows in shards)
    assert ledger.sample_id.is_unique
    assert set(counts.index) <= {"kept", "dropped", "failed"}
    assert summary.samples == counts.get("kept", 0)
    assert (ledger.reason.isna() == (ledger.status == "kept")).all()
    waterfall = ds.counts()
    assert waterfall.left.iloc[-1] == summary.samples
    assert waterfall.failed.sum() == counts.get("failed", 0)
    kept = set(ledger.key[ledger.status == "kept"])
    before, after = member_digests(source), member_digests(folder / "out")
    assert after == {name: digest for name, digest in before.items() if name.split(".")[0] in kept}


@settings(max_examples=15)
@given(shards=datasets, conditions=filters)
def test_the_cut_into_shards_does_not_matter(
    shards: list[list[dict[str, object]]], conditions: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Invariant 3: the same samples in one shard or in many have the same fate and the same values."""
    folder = tmp_path_factory.mktemp("invariants")
    many = planned(write(folder / "many", shards), conditions)
    one = planned(write(folder / "one", [[row for rows in shards for row in rows]]), conditions)
    columns = ["key", "status", "reason", "detail"]
    left, right = (ds.ledger().compute()[columns].reset_index(drop=True) for ds in (many, one))
    pd.testing.assert_frame_equal(left, right)
    columns = ["key", "caption", "q", "brightness", "twice"]
    left, right = (ds.metadata[columns].compute().reset_index(drop=True) for ds in (many, one))
    pd.testing.assert_frame_equal(left, right)


@settings(max_examples=15)
@given(shards=datasets, condition=st.sampled_from(["q >= 2", "brightness > 120", "caption contains 'dog' and q < 3"]))
def test_a_filter_and_its_opposite_share_out_what_is_not_null(
    shards: list[list[dict[str, object]]], condition: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Invariant 5: e, not e and null are a partition, and nothing is decoded for the second question."""
    folder = tmp_path_factory.mktemp("invariants")
    write(folder / "data", shards)
    base = ic.read_webdataset(str(folder / "data"), workdir=folder / "work", schema={"q": "int64"}).pipe(Brightness())
    yes, no = (base.filter(text, name="e").ledger().compute() for text in (condition, f"not ({condition})"))
    alive = base.ledger().compute().status == "kept"
    passed, opposite = (ledger.status[alive] == "kept" for ledger in (yes, no))
    null = yes.detail[alive] == "null"
    assert (passed.astype(int) + opposite.astype(int) + null.astype(int) == 1).all()
    assert (null == (no.detail[alive] == "null")).all()
    stats = base.filter(condition, name="again").compute().last_run
    assert stats is not None
    assert stats.decoded == 0


@settings(max_examples=20)
@given(rows=st.lists(samples, min_size=2, max_size=8), data=st.data())
def test_one_bad_image_costs_one_row(
    rows: list[dict[str, object]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Invariant 6: breaking one picture changes the outcome of that sample alone."""
    folder = tmp_path_factory.mktemp("invariants")
    victim = data.draw(st.integers(0, len(rows) - 1))
    whole = [row | {"image": "good"} if number == victim else row for number, row in enumerate(rows)]
    broken = [row | {"image": "broken"} if number == victim else row for number, row in enumerate(rows)]
    frames = [
        ic.read_webdataset(str(write(folder / name, [chosen])), workdir=None).pipe(Brightness()).ledger().compute()
        for name, chosen in (("whole", whole), ("broken", broken))
    ]
    assert frames[1].status[victim] == "failed"
    others = [number for number in range(len(rows)) if number != victim]
    pd.testing.assert_frame_equal(frames[0].iloc[others], frames[1].iloc[others])


def test_killed_anywhere_and_run_again(tmp_path: Path) -> None:
    """Invariant 2: kill -9 at several moments, run again, the output is that of an undisturbed run, byte for byte."""
    rows = [{"image": "good" if n % 9 else "broken", "seed": n % 21, "caption": "a dog", "q": n % 4} for n in range(60)]
    write(tmp_path / "data", [rows[:25], rows[25:]])
    code = textwrap.dedent(f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import imagecurate as ic
        from imagecurate import store
        from toys import Brightness, Corner
        from imagecurate.images import Decoder
        work, out, pause = sys.argv[1:]
        decode = Decoder.decode
        Decoder.decode = lambda *given: time.sleep(float(pause)) or decode(*given)
        from imagecurate.plan import shard_pass
        from imagecurate.store import files, values
        shard_pass.PART_ROWS = values.PART_ROWS = files.PART_ROWS = 5
        ds = ic.read_webdataset({str(tmp_path / "data")!r}, workdir=work)
        ds = ds.pipe(Brightness()).filter("brightness > 90").pipe(Corner())
        print("ready", flush=True)
        ds.to_webdataset(out, samples_per_shard=7)
        print("decoded", ds.last_run.decoded)
    """)

    def run(name: str, pause: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, str(tmp_path / f"work-{name}"), str(tmp_path / name), str(pause)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    undisturbed = run("calm", 0.0)
    output, errors = undisturbed.communicate()
    assert undisturbed.returncode == 0, errors
    columns = tmp_path / "work-killed/store/columns"
    for files in (0, 1, 4):
        process = run("killed", 0.02)
        assert process.stdout is not None
        process.stdout.readline()
        while process.poll() is None and len(list(columns.rglob("*.parquet"))) < files:
            time.sleep(0.005)
        process.kill()
        process.communicate()
    last = run("killed", 0.0)
    last_output, errors = last.communicate()
    assert last.returncode == 0, errors
    decoded = [int(text.split()[-1]) for text in (output, last_output)]
    assert decoded[1] < decoded[0]
    calm, killed = (
        {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in sorted((tmp_path / name).rglob("*"))
            if path.is_file() and path.name != "timings.json"
        }
        for name in ("calm", "killed")
    )
    assert list(calm) == list(killed)
    assert [name for name in calm if calm[name] != killed[name]] == []


def test_vectors_survive_the_way_out_and_back(tmp_path: Path) -> None:
    """An exported dataset opens again, with its vectors, under new sample ids."""
    rows = [{"image": "good", "seed": n, "caption": "a dog", "q": n} for n in range(7)]
    write(tmp_path / "data", [rows])
    ds = ic.read_webdataset(str(tmp_path / "data"), workdir=None).pipe(Corner()).filter("q > 2")
    ds.to_webdataset(tmp_path / "out", samples_per_shard=3)
    again = ic.read_webdataset(str(tmp_path / "out"), workdir=None)
    left, right = ds.metadata.compute(), again.metadata.compute()
    assert left.key.tolist() == right.key.tolist()
    assert np.array_equal(np.stack(left.corner), np.stack(right.corner))
    assert right.input_sample_id.tolist() == left.sample_id.tolist()
    assert again.pipe(Brightness()).counts().left.iloc[-1] == 4
