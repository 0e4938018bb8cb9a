"""``imagecurate store``: what is there, and what of it can go."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from making import picture, write_folder, write_tar
from typer.testing import CliRunner, Result

from imagecurate import TimmImageEmbedder, read_webdataset
from imagecurate.backend.machines import POSSIBLE, assuming
from imagecurate.cli import app
from imagecurate.plan.claims import Owner

TEXT = "input: data\noutput: out\nworkdir: work\nstages:\n  - ThumbnailEmbedder\n"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with two shards, a pipeline that ran, and another that ran in the same workdir."""
    write_folder(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "curate.yaml").write_text(TEXT)
    (tmp_path / "other.yaml").write_text(TEXT.replace("ThumbnailEmbedder", "PixelDigest").replace(": out", ": out2"))
    for name in ("curate.yaml", "other.yaml"):
        assert run("run", name, "-q").exit_code == 0
    return tmp_path


def garbage(*arguments: str) -> dict[str, str]:
    done = run("store", "gc", "work", "--json", *arguments)
    assert done.exit_code == 0, done.stderr
    return {each["folder"].partition("-")[0]: each["why"] for each in json.loads(done.stdout)["garbage"]}


def test_what_is_there() -> None:
    """Stages with their parameters, shards, parts and bytes; other folders; the sum is that of all files."""
    found = json.loads(run("store", "ls", "work", "--json").stdout)
    assert {stage["name"].partition("-")[0]: stage["shards"] for stage in found["columns"]} == {
        "PixelFacts": 2, "ThumbnailEmbedder": 2, "PixelDigest": 2,
    }  # fmt: skip
    assert found["others"]["index"]["files"] == 2
    files = [path for path in Path("work/store").rglob("*") if path.is_file()]
    sizes = [each["bytes"] for each in [*found["columns"], *found["others"].values()]]
    assert sum(sizes) == sum(path.stat().st_size for path in files)
    assert "ThumbnailEmbedder()" in run("store", "ls", "work").stdout
    assert run("store", "ls", "nowhere").exit_code == 2


def test_nothing_goes_unasked() -> None:
    """Without a choice only what killed processes left behind, and that not while it may be written."""
    assert garbage() == {}
    assert run("store", "gc", "work").stdout == "nothing can go\n"
    left = next(Path("work/store/columns").glob("Thumb*/default")) / ".x.parquet.0.tmp"
    left.write_bytes(b"PAR1")
    assert garbage() == {}
    os.utime(left, (time.time() - 7200, time.time() - 7200))
    assert garbage() == {"columns/ThumbnailEmbedder": "left by a killed process"}
    assert left.exists()
    assert run("store", "gc", "work", "--delete").stdout.endswith("removed 4 B\n")
    assert not left.exists()


def test_parts_that_were_taken_in_go() -> None:
    """Of a process that was killed before it removed them; they are never looked at again, and those of others stay."""
    finished = next(Path("work/store/columns").glob("Thumb*/default/*.parquet"))
    part, of_another = (
        finished.with_name(f"{name}.part-00000.parquet") for name in (finished.stem, "other-" + "0" * 12)
    )
    for path in (part, of_another):
        path.write_bytes(finished.read_bytes())
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    assert garbage("--delete") == {"columns/ThumbnailEmbedder": "left by a killed process"}
    assert of_another.exists() and finished.exists() and not part.exists()


def test_what_a_pipeline_needs_stays() -> None:
    """The other's columns go, and the run after it computes nothing."""
    assert garbage("--keep", "curate.yaml", "--keep", "other.yaml") == {}
    assert garbage("--keep", "curate.yaml") == {"columns/PixelDigest": "read by no pipeline that is kept"}
    assert run("store", "gc", "work", "--keep", "curate.yaml", "--delete").exit_code == 0
    assert not list(Path("work/store/columns").glob("PixelDigest*"))
    assert "decoded 0 images; computed nothing" in run("run", "curate.yaml").stdout


def test_what_other_hardware_computed_stays() -> None:
    """A login node without a GPU puts a store in order, in which columns are named after the cluster's hardware."""
    embedder = "TimmImageEmbedder: {model_name: test_vit, pretrained: false}"
    Path("embed.yaml").write_text(TEXT.replace("ThumbnailEmbedder", embedder))
    names = set()
    for hardware in POSSIBLE:
        with assuming(hardware):
            ds = read_webdataset("data", workdir="work").pipe(TimmImageEmbedder("test_vit", pretrained=False))
            names.add(ds._ready.plan.resolved.steps[-1].fingerprint)
    assert len(names) == 4  # float32 and bfloat16, large files decoded by the CPU and by the GPU
    for name in [*names, "TimmImageEmbedder-0000"]:
        Path("work/store/columns", name).mkdir()
        Path("work/store/columns", name, "stage.json").write_text("{}")
    found = json.loads(run("store", "gc", "work", "--json", "--keep", "embed.yaml").stdout)["garbage"]
    gone = {each["folder"].removeprefix("columns/") for each in found}
    assert "TimmImageEmbedder-0000" in gone
    assert not gone & names


def test_what_was_found_out_long_ago_goes() -> None:
    """A file that says which columns some shards have, by its own time; it is made again when they are opened."""
    (file,) = Path("work/store/schemas").iterdir()
    assert garbage("--older-than", "1h") == {}
    os.utime(file, (time.time() - 7200, time.time() - 7200))
    log = Path("work/store/claims/a/b.done")
    log.parent.mkdir(parents=True)
    log.touch()
    assert garbage() == {}
    assert garbage("--older-than", "1h", "--delete") == {"schemas": "not written to for long"}
    assert not file.exists()
    assert run("run", "curate.yaml", "--set", "output=out3", "-q").exit_code == 0
    assert file.exists()


def test_shards_that_were_changed() -> None:
    """Their older columns go; those of others stay."""
    write_tar(Path("data/00001.tar"), [("a.jpg", picture(1))])
    assert run("run", "curate.yaml", "--set", "output=out3", "-q").exit_code == 0
    before = len(list(Path("work/store/columns").glob("Thumb*/default/*.parquet")))
    found = garbage("--keep", "curate.yaml", "--keep", "other.yaml", "--delete")
    assert found["columns/ThumbnailEmbedder"] == "of shards that were changed or are not read"
    assert len(list(Path("work/store/columns").glob("Thumb*/default/*.parquet"))) == before - 1


def test_notes_of_who_lives_stay() -> None:
    """What a process notes of its work is not touched while it idles: only those of the dead go."""
    notes = Path("work/store/working")
    notes.mkdir(exist_ok=True)
    me = Owner.me()
    owners = {"me": me, "elsewhere": replace(me, host="node7"), "dead": replace(me, pid=2**22 + 1)}
    for name, owner in owners.items():
        (notes / f"{name}.json").write_text(json.dumps(asdict(owner)) + "\n")
        os.utime(notes / f"{name}.json", (time.time() - 7200, time.time() - 7200))
    assert garbage("--delete")["working"] == "of processes that have ended"
    assert (notes / "me.json").exists() and (notes / "elsewhere.json").exists() and not (notes / "dead.json").exists()


def test_what_ranks_leave() -> None:
    """Claims and logs go once nothing was written for an hour; the next rank looks for itself."""
    claims, logs = Path("work/store/claims"), []
    for arguments in (["--rank", "0", "--world", "2"], ["--rank", "1", "--world", "2"]):
        assert run("run", "curate.yaml", "--set", "output=out3", "-q", *arguments).exit_code == 0
        logs.append(sorted(claims.rglob("*.done")))
    assert logs[0] == logs[1] != []  # the second found everything done
    assert garbage() == {}
    for path in claims.rglob("*"):
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    found = json.loads(run("store", "gc", "work", "--json", "--delete").stdout)["garbage"]
    assert {each["why"] for each in found} == {"of processes that have ended"}
    assert not [path for path in claims.rglob("*") if path.is_file()]
    assert "rank 1 of 2: decoded 0 images; computed nothing" in run("run", "curate.yaml", *arguments).stdout


def test_ranks_hear_of_columns_that_go() -> None:
    """What says that they are there goes with them: the next rank computes them again."""
    rank = ["--rank", "0", "--world", "2"]
    assert run("run", "curate.yaml", "-q", *rank).exit_code == 0
    found = garbage("--keep", "other.yaml", "--delete")
    assert found.keys() == {"columns/ThumbnailEmbedder", *(key for key in found if key.startswith("claims/"))}
    assert set(found.values()) == {"read by no pipeline that is kept", "tells ranks of columns that go"}
    assert not list(Path("work/store/claims").rglob("*.done"))
    assert "rank 0 of 2: decoded 8 images; computed ThumbnailEmbedder 8" in run("run", "curate.yaml", *rank).stdout


def test_what_is_old() -> None:
    """By the last write to a stage."""
    for path in Path("work/store").rglob("PixelDigest*/**/*"):
        os.utime(path, (time.time() - 86_400 * 40, time.time() - 86_400 * 40))
    assert garbage("--older-than", "30d") == {"columns/PixelDigest": "not written to for long"}
    assert garbage("--older-than", "60d") == {}


def compacted() -> dict[str, int]:
    """Compact the store; files that went into packs, by folder."""
    done = run("store", "compact", "work", "--json")
    assert done.exit_code == 0, done.stderr
    return {name.partition("-")[0]: each["files"] for name, each in json.loads(done.stdout).items()}


def test_many_files_become_few() -> None:
    """A pack a folder; all commands tell of what is in it, and a run computes nothing."""
    status, listed = run("status", "work").stdout, json.loads(run("store", "ls", "work", "--json").stdout)
    (index,) = (path.name for path in Path("work/store/index").iterdir())
    stages = ("columns/PixelDigest", "columns/PixelFacts", "columns/ThumbnailEmbedder")
    assert compacted() == {**dict.fromkeys(stages, 2), f"index/{index}": 2}
    assert not list(Path("work/store").rglob("*.parquet"))
    assert run("store", "compact", "work").stdout == "nothing to put together\n"
    assert run("status", "work").stdout == status
    found = json.loads(run("store", "ls", "work", "--json").stdout)
    before = {stage["name"]: stage for stage in listed["columns"]}
    for stage in found["columns"]:
        loose = before.pop(stage["name"])
        assert (loose["packs"], stage["packs"]) == (0, 1)
        assert stage["bytes"] > loose["bytes"]  # by those of an index
        assert stage["newest"] == pytest.approx(loose["newest"], abs=1e-3)
        assert (stage["shards"], stage["parts"]) == (2, 0)
    assert not before
    files = [path for path in Path("work/store").rglob("*") if path.is_file()]
    sizes = [each["bytes"] for each in [*found["columns"], *found["others"].values()]]
    assert sum(sizes) == sum(path.stat().st_size for path in files)
    assert "ThumbnailEmbedder of 2 of 2 shards" in run("run", "curate.yaml", "--dry-run").stdout
    assert "decoded 0 images; computed nothing" in run("run", "curate.yaml").stdout


def test_a_stage_alone_is_compacted() -> None:
    """By its name, and what is put together is told."""
    done = run("store", "compact", "work", "--stage", "PixelDigest")
    assert done.stdout.endswith("put 2 files into 1\n")
    assert "columns/PixelDigest-" in done.stdout
    assert len(list(Path("work/store/columns").rglob("*.pack"))) == 1
    done = run("store", "compact", "work", "--stage", "PixelDigst")
    assert done.exit_code == 2
    assert "the store has no columns of 'PixelDigst'; it has: PixelDigest, PixelFacts" in done.stderr
    assert run("store", "compact", "nowhere").exit_code == 2


def test_what_can_go_of_packs() -> None:
    """Those that nobody needs; of others only what nobody needs, by writing them anew."""
    compacted()
    packs = set(Path("work/store/columns").rglob("*.pack"))
    assert garbage("--keep", "curate.yaml", "--keep", "other.yaml") == {}
    assert garbage("--keep", "curate.yaml", "--delete") == {"columns/PixelDigest": "read by no pipeline that is kept"}
    assert not list(Path("work/store/columns").glob("PixelDigest*"))
    write_tar(Path("data/00001.tar"), [("a.jpg", picture(1))])
    assert run("run", "curate.yaml", "--set", "output=out3", "-q").exit_code == 0
    found = json.loads(run("store", "gc", "work", "--json", "--keep", "curate.yaml").stdout)["garbage"]
    (listed,) = (each for each in found if "Thumbnail" in each["folder"])
    assert listed["why"] == "of shards that were changed or are not read"
    (name,) = listed["files"]
    assert "/default/00001-" in name
    assert packs > set(Path("work/store/columns").rglob("*.pack"))
    assert garbage("--keep", "curate.yaml", "--delete").keys() == {"columns/PixelFacts", "columns/ThumbnailEmbedder"}
    assert not packs & set(Path("work/store/columns").rglob("*.pack"))
    assert garbage("--keep", "curate.yaml") == {}
    assert "decoded 0 images; computed nothing" in run("run", "curate.yaml", "--set", "output=out4").stdout


def test_packs_that_were_left_behind() -> None:
    """One without its index, by a process that was killed; what is old in a pack is old."""
    past = time.time() - 86_400 * 40
    for path in Path("work/store").rglob("PixelDigest*/**/*"):
        os.utime(path, (past, past))
    compacted()
    assert garbage("--older-than", "30d") == {"columns/PixelDigest": "not written to for long"}
    pack = next(Path("work/store/columns").rglob("Thumb*/**/*.pack"))
    left = pack.with_name("000000-0.pack")
    left.write_bytes(b"PAR1")
    assert garbage() == {}
    os.utime(left, (past, past))
    assert garbage("--delete") == {"columns/ThumbnailEmbedder": "left by a killed process"}
    assert pack.exists()
    assert not left.exists()


def test_mistakes(folder: Path) -> None:
    """A time that is none; a pipeline of another workdir."""
    assert "--older-than expects a time, but got 'long'" in run("store", "gc", "work", "--older-than", "long").stderr
    Path("far.yaml").write_text(TEXT.replace("work\n", "elsewhere\n"))
    done = run("store", "gc", "work", "--keep", "far.yaml", "--delete")
    assert done.exit_code == 2
    assert "the pipeline keeps its columns in" in done.stderr
