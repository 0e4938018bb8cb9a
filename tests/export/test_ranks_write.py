"""Several ranks write one export: each output shard one of them, and the rest the first that is through."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from making import write_folder
from tar_survivors import tree

import imagecurate as ic

#: As many ranks as it is told, in children of its own; each tells in a log which shards it wrote.  The first to write
#: waits for another one or, if it is told so, dies, or stands still until the others have done all, who took its claim.
PROGRAM = """
import os, pathlib, sys, time
import imagecurate as ic
from imagecurate.export.shard_writer import ShardWriter
from imagecurate.plan.ranks import working_as

folder, world, fate = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
write = ShardWriter._write

def told(self, shard):
    (folder / f"writes-{rank}").touch()
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        pass
    else:
        if fate == "dies":
            os._exit(9)
        if fate == "stands still":
            for claim in (folder / "work/store/claims").glob(f"export-*/{shard.number:09d}.claim"):
                claim.unlink()
            while not (folder / "out/manifest.json").exists():
                time.sleep(0.01)
            return write(self, shard)
        while len(list(folder.glob("writes-*"))) < 2:
            time.sleep(0.01)
    with (folder / "log").open("ab", buffering=0) as log:
        log.write(f"{rank} {shard.name}\\n".encode())
    return write(self, shard)

ShardWriter._write = told
pids = []
for rank in range(world):
    if not (pid := os.fork()):
        with working_as(rank, world):
            ds = ic.read_webdataset(str(folder / "in"), workdir=folder / "work").filter("width > 40", name="wide")
            summary = ds.to_webdataset(folder / "out", samples_per_shard=2, progress=False)
        os.write(1, f"{summary.samples}\\n".encode())
        os._exit(0)
    pids.append(pid)
print(*(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids))
"""


def ranks(folder: Path, world: int, fate: str = "") -> tuple[list[str], list[str]]:
    """Run the program; what it printed, and the log."""
    here = Path(__file__).parent
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder, str(world), fate],
        env=os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{here.parent}"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return ended.stdout.splitlines(), (folder / "log").read_text().splitlines()


def test_ranks_share_the_writing(tmp_path: Path) -> None:
    """Every shard is written once, by more than one rank, and the output is that of one process."""
    write_folder(tmp_path / "in", shards=6, samples_per_shard=6)
    ds = ic.read_webdataset(str(tmp_path / "in"), workdir=tmp_path / "work").filter("width > 40", name="wide")
    expected = ds.to_webdataset(tmp_path / "expected", samples_per_shard=2)
    told, log = ranks(tmp_path, 3)
    assert told == [str(expected.samples)] * 3 + ["0 0 0"]
    written = Counter(line.split()[1] for line in log)
    assert len(written) == expected.shards and set(written.values()) == {1}
    assert len({line.split()[0] for line in log}) > 1
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")


def test_a_rank_that_dies_while_it_writes(tmp_path: Path) -> None:
    """The others write its shards, and what is left of it goes."""
    write_folder(tmp_path / "in", shards=4, samples_per_shard=6)
    ds = ic.read_webdataset(str(tmp_path / "in"), workdir=tmp_path / "work").filter("width > 40", name="wide")
    ds.to_webdataset(tmp_path / "expected", samples_per_shard=2)
    told, log = ranks(tmp_path, 3, "dies")
    statuses = told[-1].split()
    assert sorted(statuses) == ["0", "0", "9"]
    assert str(statuses.index("9")) not in {line.split()[0] for line in log}
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")


def test_a_rank_that_was_taken_for_dead(tmp_path: Path) -> None:
    """It finds the export complete, which it does not spoil, and ends well."""
    write_folder(tmp_path / "in", shards=4, samples_per_shard=6)
    ds = ic.read_webdataset(str(tmp_path / "in"), workdir=tmp_path / "work").filter("width > 40", name="wide")
    expected = ds.to_webdataset(tmp_path / "expected", samples_per_shard=2)
    told, _ = ranks(tmp_path, 3, "stands still")
    assert told == [str(expected.samples)] * 3 + ["0 0 0"]
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")
