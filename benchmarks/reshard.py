"""Filter and reshard: ours, webdataset's reader and ``ShardWriter``, NeMo Curator's stages, a process that only copies.

The input is 40 shards of photographs, repeated, of which every second sample is kept.  All read from the page cache
and leave what they write there: none calls fsync, none makes reflinks (``shutil.copyfile`` uses sendfile on Linux).
What is counted is the bytes of the shards that are written.  Ours writes more beside them: parquet, index, ledger, a
manifest with a digest of every file; the time of the digest is in it, and told apart.  NeMo Curator decodes and
encodes each picture; it is given a tenth of the shards, and counts the bytes that its samples had.

    python -m benchmarks reshard [--gigabytes 4] [--rounds 7] [--threads 2] [--quick] [--folder /scratch]
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from benchmarks.harness.contest import Contender, Outcome, compete
from benchmarks.harness.figures import Case, Line
from benchmarks.harness.inputs import add, photographs
from benchmarks.harness.options import options_of, parser_for

SHARDS = 40
SAMPLES_PER_SHARD = 1000


def main(arguments: list[str]) -> list[Case]:
    """Make the input and run everything in turn."""
    parser = parser_for("reshard", rounds=7, quick="0.2 GB, 1 round")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the input")
    options = options_of(parser, arguments)
    gigabytes = 0.2 if options.quick else options.gigabytes
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="reshard-") as scratch:
        return measure(Path(scratch), gigabytes, options.threads, options.rounds)


def measure(scratch: Path, gigabytes: float, threads: int, rounds: int) -> list[Case]:
    """Run the contenders in turn, and check what ours wrote."""
    source, out = scratch / "in", scratch / "out"
    kept, kept_of_part = write_input(source, gigabytes)
    tars = sorted(source.glob("*.tar"))
    place = {"source": str(source), "out": str(out)}
    ours = [
        Contender(
            f"imagecurate{note}",
            "ours",
            "export",
            place | {"work": f"{scratch}/{digest}", "digest": digest},
            is_ours=True,
        )
        for digest, note in (("xxh3_128", ""), ("sha256", ", sha256 in the manifest"))
    ]
    peer = Contender(
        "webdataset reader, ShardWriter",
        "webdataset_shards",
        "reshard",
        place | {"samples_per_shard": SAMPLES_PER_SHARD},
    )
    nemo = Contender(
        "NeMo Curator reader, writer",
        "nemo_curator_shards",
        "reshard",
        place | {"shards": SHARDS // 10, "threads": threads, "kept_bytes": kept_of_part},
        "nemo-curator",
    )
    copy = Contender("shutil.copyfile, one process", "bare", "copy", place | {"most": kept})

    def prepare() -> None:
        shutil.rmtree(out, ignore_errors=True)
        os.sync()  # what the last one left to write is not the next one's to pay
        time.sleep(0.2)

    found = compete([*ours, peer, nemo, copy], rounds, prepare=prepare)
    prepare()
    compete(ours[:1], 1, warm_up=False)
    samples = check(tars, out)
    digests = compete(
        [
            Contender(f"{name} alone", "bare", "digest", {"source": str(source), "name": name, "most": kept})
            for name in ("xxh3_128", "sha256")
        ],
        1,
    )
    size = sum(path.stat().st_size for path in tars)
    for name, outcome in digests.items():
        print(f"{name}: {outcome.rounds[0]['seconds']:.2f} s on one core for the bytes kept", flush=True)
    title = f"{size / 1e9:.1f} GB, {SHARDS} shards, {samples:,} samples kept"
    one, other = (found[each.name] for each in ours)
    lines = [
        megabytes(one, ours[0].name),
        megabytes(other, ours[1].name),
        megabytes(found[peer.name], peer.name, goal=6),
        megabytes(found[nemo.name], nemo.name, goal=15),
        megabytes(found[copy.name], copy.name, is_limit=True),
    ]
    apart = without(one, digests["xxh3_128 alone"], threads).line("imagecurate, digest taken off")
    case_apart = [scaled(apart), megabytes(found[copy.name], copy.name, goal=0.8, is_limit=True)]
    return [
        Case("reshard", title, "MB/s", lines),
        Case("reshard", "the same, the digest's time taken off", "MB/s", case_apart),
    ]


def without(whole: Outcome, digest: Outcome, threads: int) -> Outcome:
    """The rounds less the time that the digest takes, which the export's threads share."""
    seconds = digest.rounds[0]["seconds"] / threads
    return Outcome([each | {"seconds": each["seconds"] - seconds} for each in whole.rounds], whole.versions)


def megabytes(outcome: Outcome, name: str, *, goal: float | None = None, is_limit: bool = False) -> Line:
    """Bytes that were counted, as MB a second."""
    return scaled(outcome.line(name, goal=goal, is_limit=is_limit))


def scaled(line: Line) -> Line:
    """Bytes to megabytes."""
    return Line(
        line.contender,
        [value / 1e6 for value in line.values],
        line.goal,
        line.is_limit,
        line.reason,
        line.note,
        line.versions,
    )


def is_kept(key: str) -> bool:
    """Every second sample of a shard is."""
    return int(key) % 2 == 0


def write_input(folder: Path, gigabytes: float) -> tuple[int, int]:
    """Write the shards, each with a parquet that says which samples are to be kept.

    Returns
    -------
    (int, int)
        Bytes that the kept samples take in tars, of all shards and of the first tenth of them.
    """
    folder.mkdir()
    pictures = photographs()
    number = kept = kept_of_part = 0
    for shard in range(SHARDS):
        keys: list[str] = []
        with tarfile.open(folder / f"{shard:05d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            while tar.offset < gigabytes * 1e9 / SHARDS:
                keys.append(f"{shard:05d}{len(keys):05d}")
                began = tar.offset
                add(tar, keys[-1], pictures[number % len(pictures)])
                kept += (tar.offset - began) * is_kept(keys[-1])
                number += 1
        if shard < SHARDS // 10:
            kept_of_part = kept
        table = pa.table({"key": keys, "keep": [is_kept(key) for key in keys]})
        pq.write_table(table, folder / f"{shard:05d}.parquet")
    return kept, kept_of_part


def check(tars: list[Path], out: Path) -> int:
    """Compare every exported member with its source; the number of samples."""
    expected = members(tars)
    kept = {name: digest for name, digest in expected.items() if is_kept(name.partition(".")[0])}
    if members(sorted(out.glob("*.tar"))) != kept:
        raise SystemExit("the export does not hold the bytes that went in")
    return len({name.partition(".")[0] for name in kept})


def members(tars: list[Path]) -> dict[str, str]:
    """Digest of each member by its name."""
    found = {}
    for path in tars:
        with tarfile.open(path) as tar:
            for member in tar:
                file = tar.extractfile(member)
                if file is not None:
                    found[member.name] = xxhash.xxh3_128_hexdigest(file.read())
    return found
