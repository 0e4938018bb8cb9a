"""Samples of which several images have a row each, and are exported as one sample."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import write_folder, write_tar
from tar_survivors import TarSurvivors, contents, is_image, split, tree
from webdataset.tariterators import group_by_keys, tar_file_expander

from imagecurate.export import reading, to_webdataset, verify
from imagecurate.shards.shard import Shard
from imagecurate.shards.sources import ByteSource, RangeSource

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
IMAGES = ["jpg", "0.jpg", "1.PNG", "2.png", "depth.png", "i" * 110 + ".jpg"]
SIDECARS = ["txt", "json", "1.txt", "f" * 40]


class Input(NamedTuple):
    """A tar to be written."""

    kind: int
    time: float
    members: list[tuple[str, bytes]]


class Sample(NamedTuple):
    """What is expected of an exported sample."""

    shard: int
    key: str
    members: list[tuple[str, bytes]]
    images: list[str | None]


@st.composite
def inputs(draw: st.DrawFn) -> list[Input]:
    """Shards whose samples have any number of images and sidecars, in any order, interleaved or not."""
    repeats = draw(st.booleans())  # keys, in other shards
    shards = []
    for number in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(FORMATS))
        fields = [field for field in IMAGES + SIDECARS if len(field) < 90 or kind != tarfile.USTAR_FORMAT]
        members = []
        for sample in range(draw(st.integers(0, 5))):
            key = f"{draw(st.sampled_from(['', 'v1.0/']))}{'' if repeats else number}{sample:03d}"
            for field in draw(st.lists(st.sampled_from(fields), min_size=1, max_size=6, unique=True)):
                data = hashlib.sha256(f"{number}/{key}.{field}".encode()).digest() * draw(st.integers(0, 40))
                members.append((f"{key}.{field}", json.dumps({"key": key}).encode() if field == "json" else data))
        if draw(st.booleans()):
            random.Random(draw(st.integers(0, 99))).shuffle(members)
        shards.append(Input(kind, draw(st.sampled_from([0.0, 1_700_000_000.25])), members))
    return shards


def expected(shards: list[Input], keep: Callable[[str, str, str], bool]) -> list[Sample]:
    """The samples of which an image is kept, or which have none and are kept, without the images that are not."""
    found = []
    for number, shard in enumerate(shards):
        by_key: dict[str, list[tuple[str, bytes]]] = {}
        for name, data in shard.members:
            by_key.setdefault(split(name)[0], []).append((name, data))
        for key, members in by_key.items():
            images = [name for name, _ in members if is_image(name)]
            kept = {name for name in images or [key] if keep("default", f"{number:05d}", name)}
            if kept:
                chosen = [(name, data) for name, data in members if not is_image(name) or name in kept]
                rows: list[str | None] = [split(name)[1] for name in images if name in kept]
                found.append(Sample(number, key, chosen, rows or [None]))
    return found


class Fetched(TarSurvivors):
    """Shards that are fetched in ranges."""

    def open(self, shard: Shard) -> ByteSource:
        return RangeSource(shard.url, shard.size)


class Stopped(Exception):  # noqa: N818  # it is no error
    """Somebody stopped the export."""


def stopping_at(number: int) -> Callable[[Path, Path], Path]:
    """A rename that does not happen, the given one and all that follow."""
    renames, replace = iter(range(10**6)), Path.replace

    def counted(self: Path, target: Path) -> Path:
        if next(renames) >= number:
            raise Stopped
        return replace(self, target)

    return counted


@settings(max_examples=40)
@given(
    inputs(),
    st.integers(0, 4),
    st.integers(1, 5),
    st.sampled_from([None, 10_240, 20_480]),
    st.booleans(),
    st.sampled_from([TarSurvivors, Fetched]),
    st.integers(1, 3),
    st.integers(0, 12),
)
def test_every_sample_once_with_its_kept_images(
    shards: list[Input],
    dropped: int,
    per_shard: int,
    limit: int | None,
    renumbered: bool,
    kind: type[TarSurvivors],
    threads: int,
    stop: int,
) -> None:
    """For any grouping and any kept images: members, order, shards, keys, index, parquet, manifest and ledger."""

    def keep(source: str, shard: str, name: str) -> bool:
        return hashlib.md5(f"{shard}/{name}".encode()).digest()[0] % 5 >= dropped

    with tempfile.TemporaryDirectory() as scratch, patch.object(reading, "AHEAD", 1000):
        folder, out = Path(scratch, "in"), Path(scratch, "out")
        for number, shard in enumerate(shards):
            write_tar(folder / f"{number:05d}.tar", shard.members, shard.kind, shard.time)
        survivors = kind.of(folder, keep=keep, grouped=True)

        def export(path: Path) -> int:
            return to_webdataset(
                survivors,
                path,
                samples_per_shard=per_shard,
                bytes_per_shard=limit,
                old_id_col="old" if renumbered else None,
                threads=threads,
            ).samples

        samples = expected(shards, keep)
        assert export(out) == len(samples)
        count = Counter(sample.key for sample in samples)
        manifest = json.loads((out / "manifest.json").read_text())
        tars = sorted(out.glob("*.tar"))
        done = 0
        for number, path in enumerate(tars):
            here = samples[done : done + manifest["files"][path.name]["samples"]]
            done += len(here)
            keys = [f"{number:05d}{place if per_shard > 1 else ''}" for place in range(len(here))]
            if not renumbered:
                keys = [
                    f"{sample.key}-default-{sample.shard:05d}" if count[sample.key] > 1 else sample.key
                    for sample in here
                ]
            assert list(contents(path).items()) == [
                (
                    f"{key}{name.removeprefix(sample.key)}",
                    json.dumps({"key": key}).encode() if renumbered and name.endswith(".json") else data,
                )
                for key, sample in zip(keys, here, strict=True)
                for name, data in sample.members
            ]
            table = pq.read_table(path.with_suffix(".parquet"))
            assert list(zip(table["key"].to_pylist(), table["image_field"].to_pylist(), strict=True)) == [
                (key, image) for key, sample in zip(keys, here, strict=True) for image in sample.images
            ]
            first, *lines = path.with_suffix(".idx").read_text().splitlines()
            assert first == f"v1.2 {len(lines)}"
            assert [len(line.split()) for line in lines] == [4 * len(sample.members) for sample in here]
            assert 0 < len(here) <= per_shard and (limit is None or path.stat().st_size <= limit or len(here) == 1)
            assert limit is not None or len(here) == per_shard or number == len(tars) - 1
        assert done == len(samples) == manifest["samples"]
        status = Counter(pq.read_table(out / "ledger")["status"].to_pylist())
        assert status["kept"] == sum(len(sample.images) for sample in samples)
        assert verify(out) == []

        with patch.object(Path, "replace", stopping_at(stop)), suppress(Stopped):
            export(Path(scratch, "again"))
        export(Path(scratch, "again"))
        assert tree(Path(scratch, "again")) == tree(out)


def test_one_sample_in_detail(tmp_path: Path) -> None:
    """The order of members is the input's though rows share some; what is renamed is renamed once; webdataset reads it.

    The image that was dropped is gone, though a hard link to it was kept: that becomes a file.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("a.0.jpg", "b.jpg", "a.txt", "a.1.jpg", "a.json"):
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
        info = tarfile.TarInfo("a.2.jpg")
        info.type, info.linkname = tarfile.LNKTYPE, "a.0.jpg"
        tar.addfile(info)
    for number in range(2):
        (tmp_path / f"{number:05d}.tar").write_bytes(buffer.getvalue())
    survivors = TarSurvivors.of(tmp_path, keep=lambda source, shard, name: name != "a.0.jpg", grouped=True)
    summary = to_webdataset(survivors, tmp_path / "out", samples_per_shard=1)
    assert (summary.samples, summary.shards, summary.renamed) == (4, 4, 4)
    key = "a-default-00000"
    assert list(contents(tmp_path / "out/00000.tar").items()) == [
        (f"{key}.txt", b"a.txt"),
        (f"{key}.1.jpg", b"a.1.jpg"),
        (f"{key}.json", b"a.json"),
        (f"{key}.2.jpg", b"a.0.jpg"),
    ]
    rows = pq.read_table(tmp_path / "out/00000.parquet", columns=["sample_id", "key", "original_key", "image_field"])
    assert rows.to_pylist() == [
        {"sample_id": f"default/00000/{place}", "key": key, "original_key": "a", "image_field": f"{place}.jpg"}
        for place in (1, 2)
    ]
    with (tmp_path / "out/00000.tar").open("rb") as stream:
        (read,) = group_by_keys(tar_file_expander([{"url": "00000.tar", "stream": stream}]))
    assert {name: read[name] for name in ("1.jpg", "2.jpg")} == {"1.jpg": b"a.1.jpg", "2.jpg": b"a.0.jpg"}


@pytest.mark.parametrize("options", [{}, {"bytes_per_shard": 10_240}, {"old_id_col": "old"}])
def test_one_image_each_is_no_other_export(tmp_path: Path, options: dict[str, object]) -> None:
    """Where no sample has several images, the files are those of a dataset that is not grouped."""
    write_folder(tmp_path / "in", shards=3, samples_per_shard=5)

    def keep(source: str, shard: str, name: str) -> bool:
        return name.partition(".")[0][-1] not in "27"

    for grouped in (False, True):
        survivors = TarSurvivors.of(tmp_path / "in", keep=keep, grouped=grouped)
        survivors.columns = {name: kind for name, kind in survivors.columns.items() if name != "image_field"}
        to_webdataset(survivors, tmp_path / f"{grouped}", samples_per_shard=4, **options)  # type: ignore[arg-type]
    assert tree(tmp_path / "True") == tree(tmp_path / "False")
