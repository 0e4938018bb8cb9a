"""Finding shards: folders, patterns, lists, sources."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.registry import known_implementations
from making import write_folder

from imagecurate.errors import MissingDependencyError, ParameterError, ShardError
from imagecurate.shards import Shard, find_shards
from imagecurate.shards.listing import Folder, LocalPlace


def touch(folder: Path, *names: str) -> Path:
    """Make files that hold their own name."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def names(path: Any, **options: Any) -> list[str]:
    """Names of the shards found."""
    return [shard.name for shard in find_shards(path, **options)]


@pytest.fixture
def memory() -> Iterator[Any]:
    """An fsspec file system in memory, emptied after the test."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


def test_a_folder_holds_its_tars_in_order(tmp_path: Path) -> None:
    """Each with the parquet of its stem; other and hidden files do not count."""
    touch(tmp_path, "10.tar", "2.tar", "2.parquet", "3.parquet", "._2.tar", "2.tar.part", "sub/9.tar")
    first, second = find_shards(tmp_path)
    status, beside = (tmp_path / "2.tar").stat(), (tmp_path / "2.parquet").stat()
    assert (first.name, first.parquet_url, first.parquet_stamp) == ("10", None, "")
    assert second == Shard(
        source="default",
        name="2",
        url=str(tmp_path / "2.tar"),
        size=5,
        stamp=str(status.st_mtime_ns),
        parquet_url=str(tmp_path / "2.parquet"),
        parquet_stamp=f"9-{beside.st_mtime_ns}",
    )
    assert pickle.loads(pickle.dumps(second)) == second


def test_folders_below_are_searched_where_the_folder_has_no_tar(tmp_path: Path) -> None:
    """Through links, each real folder once, hidden ones not at all."""
    touch(tmp_path / "data", "b/1.tar", "a/c/2.tar", "a/c/2.parquet", ".trash/3.tar", "a/notes.txt")
    (tmp_path / "data" / "a" / "loop").symlink_to(tmp_path / "data")
    touch(tmp_path / "elsewhere", "4.tar")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "data") == ["a/c/2", "b/1", "linked/4"]


@pytest.mark.parametrize("is_reversed", [False, True])
def test_names_do_not_depend_on_the_order_of_a_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_reversed: bool
) -> None:
    """A folder goes before a link to it wherever that lies, and of two links the first by name."""
    touch(tmp_path / "data", "m/1.tar", "x/notes.txt")
    touch(tmp_path / "elsewhere", "2.tar")
    for link, target in (("a", "data/m"), ("z", "data/m"), ("x/m", "data/m"), ("p", "elsewhere"), ("q", "elsewhere")):
        (tmp_path / "data" / link).symlink_to(tmp_path / target)
    scan = LocalPlace._scan

    def ordered(self: LocalPlace, path: str) -> tuple[Folder, list[str]]:
        folder, below = scan(self, path)
        return folder, sorted(below, reverse=is_reversed)

    monkeypatch.setattr(LocalPlace, "_scan", ordered)
    assert names(tmp_path / "data") == ["m/1", "p/2"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["0"]),
        ("0.tar", ["0"]),
        ("*.tar", ["0"]),
        ("a/*.tar", ["1", "2"]),
        ("a/?.tar", ["1", "2"]),
        ("a/[2-9].tar", ["2"]),
        ("a/*", ["1", "2"]),
        ("*/*.tar", ["a/1", "a/2", "b.c/1"]),
        ("**/*.tar", ["0", "a/1", "a/2", "b.c/1", "deep/er/3"]),
        ("**", ["0", "a/1", "a/2", "b.c/1", "deep/er/3"]),
        ("?", ["a/1", "a/2"]),
        ("a/{1..2}.tar", ["1", "2"]),
        ("{a,b.c}/1.tar", ["a/1", "b.c/1"]),
        ("{a/{1..2},deep/er/3}.tar", ["a/1", "a/2", "deep/er/3"]),
        ("{a,b.c}/*.tar", ["a/1", "a/2", "b.c/1"]),
        ("{a,deep}", ["a/1", "a/2", "deep/er/3"]),
    ],
)
@pytest.mark.parametrize("place", ["local", "file://", "memory://"])
def test_patterns(tmp_path: Path, memory: Any, place: str, pattern: str, expected: list[str]) -> None:
    """Locally and elsewhere the same shards under the same names."""
    touch(tmp_path, "0.tar", "a/1.tar", "a/2.tar", "a/readme.md", "b.c/1.tar", "deep/er/3.tar")
    root = str(tmp_path)
    if place == "memory://":
        memory.put(root, "/data", recursive=True)
        root = "memory://data"
    elif place == "file://":
        root = f"file://{root}"
    assert names(f"{root}/{pattern}") == expected


def test_compressed_tars_are_shards_of_their_own(tmp_path: Path, memory: Any) -> None:
    """In folders, globs, braces and by name; the endings stay in their names, and the parquet belongs to all."""
    endings = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd", ".tzst", ".tar.bz2", ".tbz2"]
    touch(tmp_path, "0.parquet", "1.tgz.txt", "notes.gz", *(f"0{ending}" for ending in endings))
    memory.put(str(tmp_path), "/data", recursive=True)
    expected = sorted(f"0{ending}" for ending in endings)
    expected[expected.index("0.tar")] = "0"
    for root in (str(tmp_path), "memory://data"):
        shards = find_shards(root)
        assert [shard.name for shard in shards] == expected
        assert [shard.is_compressed for shard in shards] == [name != "0" for name in expected]
        assert {shard.parquet_url for shard in shards} == {f"{root}/0.parquet"}
        assert names(f"{root}/*") == expected
        assert names(f"{root}/*.tar.*") == ["0.tar.bz2", "0.tar.gz", "0.tar.zst", "0.tar.zstd"]
        assert find_shards(f"{root}/0.tgz") == find_shards(f"{root}/{{0..0}}.tgz") == (shards[expected.index("0.tgz")],)
        assert names([f"{root}/0{ending}" for ending in endings]) == ["0", *(f"0{end}" for end in endings[1:])]


def test_what_is_named_in_full_may_be_compressed_in_any_way(tmp_path: Path) -> None:
    """What cannot be read is then a row that says so; in a folder it is no shard."""
    touch(tmp_path, "0.tar.xz", "1.tar")
    assert names(tmp_path / "0.tar.xz") == ["0.tar.xz"]
    assert names(tmp_path) == ["1"]


def test_names_in_braces_may_be_padded(tmp_path: Path) -> None:
    """As in every README of a data set."""
    touch(tmp_path, *(f"{number:05d}.tar" for number in range(30)))
    assert names(f"{tmp_path}/{{00007..00010}}.tar") == ["00007", "00008", "00009", "00010"]
    assert names(f"{tmp_path}/{{00000..00029}}.tar") == [f"{number:05d}" for number in range(30)]


def test_a_name_does_not_depend_on_what_else_is_found(tmp_path: Path) -> None:
    """A glob's root is what stands before the wildcard: more shards change no name."""
    touch(tmp_path, "a/1.tar")
    assert names(f"{tmp_path}/*/*.tar") == ["a/1"]


def test_a_list_keeps_its_order(tmp_path: Path) -> None:
    """Folders, files and patterns in one; names are relative to what they share."""
    touch(tmp_path, "a/2.tar", "a/1.tar", "b/3.tar", "c/4.tar")
    assert names([f"{tmp_path}/c/4.tar", tmp_path / "a", f"{tmp_path}/b/*.tar"]) == ["c/4", "a/1", "a/2", "b/3"]
    assert names(path for path in [tmp_path / "a" / "2.tar", tmp_path / "a" / "1.tar"]) == ["2", "1"]


def test_paths_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs are absolute, since a worker may live in another folder."""
    touch(tmp_path, "data/0.tar", "home/1.tar")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for path in ("data", "data/", "./data/../data", Path("data"), "data/*.tar", "data/0.tar"):
        (shard,) = find_shards(path)
        assert (shard.url, shard.name) == (str(tmp_path / "data" / "0.tar"), "0")
    assert names("~") == ["1"]


def test_names_with_wildcards_in_them_are_meant_as_they_are(tmp_path: Path) -> None:
    """Where such a file or folder exists."""
    touch(tmp_path, "run[1]/0.tar", "run1/1.tar", "{x}/2.tar")
    assert names(tmp_path / "run[1]") == ["0"]
    assert names(tmp_path / "run[1]" / "0.tar") == ["0"]
    assert names(tmp_path / "{x}") == ["2"]


def test_sources_have_names(tmp_path: Path) -> None:
    """In the order given; the same name of a shard in two sources is no clash."""
    touch(tmp_path, "a/0.tar", "b/0.tar", "b/1.tar")
    shards = find_shards({"cc12m": tmp_path / "b", "cc3m": [tmp_path / "a"]})
    assert [(shard.source, shard.name) for shard in shards] == [("cc12m", "0"), ("cc12m", "1"), ("cc3m", "0")]
    assert len({shard.token for shard in shards}) == 3


def test_a_moved_dataset_keeps_its_tokens(tmp_path: Path) -> None:
    """And by name and size one whose times were changed; never one whose size was."""
    folder = write_folder(tmp_path / "here")
    before = find_shards(folder)
    folder = folder.rename(tmp_path / "there")
    assert [shard.token for shard in find_shards(folder)] == [shard.token for shard in before]
    sized = find_shards(folder, identity="size")
    os.utime(folder / "00000.tar", (1, 1))
    os.utime(folder / "00001.parquet", (1, 1))
    touched = find_shards(folder)
    assert [a.token == b.token for a, b in zip(before, touched, strict=True)] == [False, True]
    assert [a.metadata_token == b.metadata_token for a, b in zip(before, touched, strict=True)] == [False, False]
    assert find_shards(folder, identity="size") == sized
    assert {shard.stamp for shard in sized} == {""}


def test_a_link_to_nowhere_is_said(tmp_path: Path) -> None:
    """A shard that is not mounted must not go missing silently."""
    (tmp_path / "0.tar").symlink_to("/nowhere/0.tar")
    with pytest.raises(ShardError, match=r"0.tar' is a link to a file that does not exist\n\nHint: remove the link"):
        find_shards(tmp_path)


def test_names_become_text(tmp_path: Path) -> None:
    """A file name may be bytes that are no UTF-8; a column cannot."""
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.tar")).write_text("x")
    (shard,) = find_shards(tmp_path)
    assert shard.name == "caf\\xe9"
    assert len(shard.token) == 12


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("none", ShardError, "no file or folder '.*none'$"),
        ("data/000.tar", ShardError, "no file or folder '.*000.tar'\n\nHint: did you mean '.*data/00.tar'"),
        (
            "data/{00..03}.tar",
            ShardError,
            r"2 of the 4 shards that were named do not exist: '.*02.tar', '.*03.tar'\n\nHint: a wild",
        ),
        ("data/x*.tar", ShardError, r"no .tar file matches '.*x\*.tar'; there is: 1 .md\n"),
        ("empty", ShardError, "no .tar file in folder '.*empty' or below it; there are no files at all"),
        (
            "packed",
            ShardError,
            "there is: 2 .tar.xz, 1 .parquet, 1 without extension\n\nHint: a shard is a file whose name ends in .tar, ",
        ),
        ("data/{00..03.tar", ParameterError, "the braces in '.*' do not match"),
        ("data/00.md", ShardError, "'.*00.md' is no shard"),
        ([], ParameterError, "expected at least one path, found an empty list"),
        ({}, ParameterError, "no sources were given"),
        (3, ParameterError, "expected a path, an iterable of paths or a mapping of sources, not 3"),
        (None, ParameterError, "not None"),
        ([3], ParameterError, "expected a path or URL, not 3"),
        ("", ParameterError, "expected a path or URL, not ''"),
        ({"a/b": "data"}, ParameterError, "a source needs a name without '/'"),
        ({"": "data"}, ParameterError, "a source needs a name"),
        (["data", "data/0*.tar"], ParameterError, "shard '.*00.tar' is named twice"),
        ("nonsense://x/0.tar", ParameterError, "'nonsense://x/0.tar' cannot be opened: Protocol not known"),
    ],
)
def test_what_cannot_be_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any, error: type[Exception], message: str
) -> None:
    """Says what was looked for and what is there instead."""
    touch(tmp_path, "data/00.tar", "data/01.tar", "data/00.md")
    touch(tmp_path, "packed/0.tar.xz", "packed/1.tar.xz", "packed/0.parquet", "packed/README")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        find_shards(path)


def test_an_unknown_identity() -> None:
    """Is said before anything is listed."""
    with pytest.raises(ParameterError, match="identity must be 'mtime' or 'size', not 'etag'"):
        find_shards("nowhere", identity="etag")


def test_a_protocol_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names the package."""
    monkeypatch.setitem(known_implementations, "odd", {"class": "odd.Odd", "err": "Install oddfs"})
    with pytest.raises(MissingDependencyError, match="reading odd:// needs a package: Install oddfs"):
        find_shards("odd://x/0.tar")


def test_secrets_stay_out_of_shards_and_messages(memory: Any) -> None:
    """Options are for fsspec alone."""
    memory.pipe("/data/0.tar", b"x")
    secret = {"skip_instance_cache": True, "password": "hunter2"}
    (shard,) = find_shards("memory://data", storage_options=secret)
    assert "hunter2" not in repr(shard)
    with pytest.raises(ShardError) as error:
        find_shards("memory://other", storage_options=secret)
    assert "hunter2" not in str(error.value)


def test_a_remote_folder_is_listed_once(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are not asked for one by one, and new ones are seen the next time."""
    for number in range(40):
        memory.pipe(f"/data/{number:02d}.tar", b"x" * number)
        memory.pipe(f"/data/{number:02d}.parquet", b"x")
    calls: list[str] = []
    for name in ("ls", "info"):
        original = getattr(memory, name)
        monkeypatch.setattr(
            memory, name, lambda path, *a, _f=original, _n=name, **k: (calls.append(_n), _f(path, *a, **k))[1]
        )
    shards = find_shards("memory://data/{00..39}.tar")
    assert calls == ["ls"]
    assert [shard.size for shard in shards] == list(range(40))
    assert (shards[0].url, shards[0].parquet_url) == ("memory://data/00.tar", "memory://data/00.parquet")
    memory.pipe("/data/40.tar", b"")
    assert len(find_shards("memory://data/*.tar")) == 41
    del calls[:]
    assert len(find_shards("memory://data/{00..03}.tar")) == 4
    assert "ls" not in calls  # for a few files a bucket is not listed


def test_shards_of_several_file_systems_keep_their_places(tmp_path: Path, memory: Any) -> None:
    """Their names then tell where they are."""
    touch(tmp_path, "0.tar")
    memory.pipe("/data/0.tar", b"x")
    found = names([str(tmp_path), "memory://data"])
    assert found == [f"{tmp_path}/0".lstrip("/"), "memory:/data/0"]
