"""Find the shards that a user means by a folder, a pattern, a list of these, or several named sources."""

from __future__ import annotations

import fnmatch
import operator
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from braceexpand import braceexpand

from imagecurate.errors import ImageCurateError, ParameterError, ShardError, listed, near_miss
from imagecurate.remote import StorageOptions, local_path
from imagecurate.shards.listing import File, Folder, Place, place_of
from imagecurate.shards.shard import TAR_ENDINGS, Shard, names_a_tar, parquet_beside

__all__ = ["ShardPath", "expand_braces", "find_shards", "shared_depth"]

#: A folder, file, glob or brace pattern.
OnePath: TypeAlias = str | os.PathLike[str]
#: What `find_shards` takes.
ShardPath: TypeAlias = OnePath | Iterable[OnePath] | Mapping[str, OnePath | Iterable[OnePath]]

DEFAULT_SOURCE = "default"

#: Up to so many named files of one folder are asked for one by one: cheaper than listing a bucket of 100,000.
MOST_LOOKED_UP = 16

_HINT = f"a shard is a file whose name ends in {', '.join(TAR_ENDINGS[:-1])} or {TAR_ENDINGS[-1]}"


class _Found(NamedTuple):
    """A tar and the parquet beside it, with paths in their place."""

    place: Place
    path: str
    file: File
    parquet: File | None


class _Named(NamedTuple):
    """A tar that was named in full and still has to be looked up."""

    place: Place
    path: str
    text: str


def find_shards(
    path: ShardPath, *, storage_options: StorageOptions = None, identity: str = "mtime"
) -> tuple[Shard, ...]:
    """Find tar shards.

    Parameters
    ----------
    path : str, path-like, iterable of these, or mapping of str to these
        A folder (its tars; where it has none, those of all folders below), a tar, a glob pattern (``data/*/*.tar``,
        ``data/**/*.tar``), a brace pattern (``data/{00000..00127}.tar``, ``{train,val}/{0..9}.tar``), or several of
        them; local or any URL that fsspec knows.  A mapping names sources: ``{"cc12m": "data/cc12m"}``.
    storage_options : mapping, optional
        For fsspec; kept nowhere.
    identity : {"mtime", "size"}, default="mtime"
        How a shard is known again: by name, size and modification time (remote: etag), or by name and size where
        copies and syncs change the times.

    Returns
    -------
    tuple of Shard
        Sources in the order given, and paths within them; what one folder or glob pattern finds is sorted.  A shard's
        name is relative to its folder, for a glob pattern to the part before the first wildcard; for several paths,
        and what braces stand for, to the deepest folder that they share.

    Raises
    ------
    ParameterError
        No path at all, a shard named twice, unbalanced braces, an unknown ``identity`` or protocol.
    ShardError
        Nothing was found, or a shard that was named does not exist.

    Notes
    -----
    A tar is a file called ``.tar``, or one that is compressed: ``.tar.gz``, ``.tgz``, ``.tar.zst``, ``.tar.zstd``,
    ``.tzst``, ``.tar.bz2``, ``.tbz2``.  Compressed ones keep their endings in the shard's name: ``00000.tar.gz`` is
    another shard than the ``00000.tar`` beside it, and ``00000.parquet`` belongs to both.

    Each folder is listed once, and files are not asked for one by one, but where only a few are named.  Hidden files
    (``._00000.tar``) do not count unless they are named.
    """
    if identity not in ("mtime", "size"):
        raise ParameterError.because(
            f"identity must be 'mtime' or 'size', not {identity!r}",
            "use 'size' where copies of the same shards have other modification times",
        )
    sources = path if isinstance(path, Mapping) else {DEFAULT_SOURCE: path}
    if not sources:
        raise ParameterError("no sources were given, expected a mapping of at least one name to a path")
    shards: list[Shard] = []
    for source, paths in sources.items():
        if not isinstance(source, str) or not source or "/" in source or source.startswith("."):
            raise ParameterError(f"a source needs a name without '/' and leading dot, not {source!r}")
        shards += _in_source(source, _texts(paths), storage_options, timed=identity == "mtime")
    return tuple(shards)


def _texts(paths: Any) -> list[str]:
    """Give the paths of one source as a list of text."""
    several = not isinstance(paths, str | os.PathLike)
    if several and not isinstance(paths, Iterable):
        raise ParameterError(f"expected a path, an iterable of paths or a mapping of sources, not {paths!r}")
    texts = [os.fspath(one) if isinstance(one, os.PathLike) else one for one in (paths if several else [paths])]
    for text in texts:
        if not isinstance(text, str) or not text:
            raise ParameterError(f"expected a path or URL, not {text!r}")
    if not texts:
        raise ParameterError.because("expected at least one path, found an empty list", "name a folder of .tar files")
    return texts


def _in_source(source: str, texts: list[str], storage_options: StorageOptions, *, timed: bool) -> list[Shard]:
    places: dict[str, Place] = {}
    roots: set[str] = set()
    meant: list[_Found | _Named] = []
    for text in texts:
        for pattern in expand_braces(text):
            host = "/".join(pattern.split("/")[:3]) if "://" in pattern else ""
            if host not in places:
                places[host] = place_of(pattern, storage_options)
            place = places[host]
            path = place.normal(pattern)
            wildcard = place.wildcard.search(path)
            if wildcard and not place.is_literal(path):
                roots.add(place.url(_split(path[: wildcard.start()])[0]))
                meant += _matching(place, path, text)
            elif not path.endswith(TAR_ENDINGS) and place.is_folder(path):
                roots.add(place.url(path))
                meant += _in_folder(place, path, text)
            else:
                roots.add(place.url(_split(path)[0]))
                meant.append(_Named(place, path, pattern))
    found = _looked_up(meant)
    depth = shared_depth([root.rstrip("/").split("/") for root in roots])
    shards = [_shard(source, one, depth, timed) for one in found]
    seen: set[str] = set()
    for shard in shards:
        if shard.url in seen:
            raise ParameterError.because(f"shard {shard.url!r} is named twice", "name it once")
        seen.add(shard.url)
    return shards


def expand_braces(text: str, example: str = "data/{00000..00127}.tar") -> list[str]:
    """Give what the braces in a path stand for; a local file may really be called so.

    Raises
    ------
    ParameterError
        They do not match; ``example`` shows some that do.
    """
    path = local_path(text)
    if "{" not in text or (path is not None and Path(path).expanduser().exists()):
        return [text]
    try:
        patterns: list[str] = list(braceexpand(text, escape=False))
    except ValueError:
        raise ParameterError.because(f"the braces in {text!r} do not match", f"as in {example!r}") from None
    return patterns


def _matching(place: Place, path: str, text: str) -> list[_Found]:
    """Find what a glob pattern matches: tars, or else folders with tars."""
    parent, name = (path, "*") if path.endswith("/**") else _split(path)
    folders = place.matching(parent) if place.wildcard.search(parent) else {parent: place.listing(parent)}
    found = _tars(place, folders, re.compile(fnmatch.translate(name)).match) or _tars(place, place.matching(path))
    if not found:
        raise ShardError.because(f"no .tar file matches {text!r}; {_held(folders)}", _HINT)
    return found


def _in_folder(place: Place, path: str, text: str) -> list[_Found]:
    folders = {path: place.listing(path)}
    found = _tars(place, folders)
    if not found:
        folders = place.tree(path)
        found = _tars(place, folders)
    if not found:
        raise ShardError.because(f"no .tar file in folder {text!r} or below it; {_held(folders)}", _HINT)
    return found


def _looked_up(meant: list[_Found | _Named]) -> list[_Found]:
    """Look up the tars that were named in full, folder by folder."""
    folders: dict[tuple[Place, str], list[str]] = {}
    for one in meant:
        if isinstance(one, _Named):
            folders.setdefault((one.place, _split(one.path)[0]), []).append(one.path)
    files: dict[tuple[Place, str], File] = {}
    for (place, folder), paths in folders.items():
        if len(paths) <= MOST_LOOKED_UP or not place.can_list:
            found = place.look_up([*paths, *filter(None, map(parquet_beside, paths))])
        else:
            found = {f"{folder}/{name}": file for name, file in place.listing(folder).files.items()}
        files |= {(place, path): file for path, file in found.items()}
    named = [one for one in meant if isinstance(one, _Named)]
    missing = [one for one in named if (one.place, one.path) not in files]
    if missing:
        raise _missing(missing, len(named))
    for one in named:
        if not names_a_tar(one.path):
            raise ShardError.because(f"{one.text!r} is no shard", _HINT)
    return [
        _Found(one.place, one.path, files[one.place, one.path], files.get((one.place, parquet_beside(one.path) or "")))
        if isinstance(one, _Named)
        else one
        for one in meant
    ]


def _missing(missing: list[_Named], count: int) -> ImageCurateError:
    first = missing[0]
    names = listed((repr(one.text) for one in missing), 5)
    if count > 1:
        message = f"{len(missing)} of the {count} shards that were named do not exist: {names}"
        return ShardError.because(message, "a wildcard as in 'data/*.tar' takes those that are there")
    folder, name = _split(first.path)
    place = first.place
    guess = near_miss(name, place.listing(folder).files) if place.can_list else None
    words = place.words_on(first.path)
    return ShardError.because(
        f"no file or folder {names}" + (f": {words}" if words else ""),
        f"did you mean {place.url(f'{folder}/{guess}')!r}?" if guess else None,
    )


def _tars(place: Place, folders: Mapping[str, Folder], match: Callable[[str], object] = bool) -> list[_Found]:
    """Give the tars of some folders, sorted by path, each with the parquet of the same stem."""
    found = [
        _Found(place, f"{parent}/{name}", file, folder.files.get(parquet))
        for parent, folder in folders.items()
        for name, file in folder.files.items()
        if (parquet := parquet_beside(name)) and match(name)
    ]
    return sorted(found, key=operator.attrgetter("path"))


def _shard(source: str, found: _Found, depth: int, timed: bool) -> Shard:
    place, path, file, parquet = found
    url = place.url(path)
    name = "/".join(part for part in url.split("?")[0].split("/")[depth:] if part).removesuffix(".tar")
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")  # it becomes a column
    parquet_url = parquet_stamp = ""
    if parquet is not None:
        parquet_url = place.url(parquet_beside(path) or "")
        parquet_stamp = f"{parquet.size}-{parquet.stamp}" if timed else str(parquet.size)
    return Shard(source, name, url, file.size, file.stamp if timed else "", parquet_url or None, parquet_stamp)


def _held(folders: Mapping[str, Folder]) -> str:
    """Say what was there instead."""
    kinds = Counter("parquet" for folder in folders.values() for name in folder.files if name.endswith(".parquet"))
    for folder in folders.values():
        kinds += folder.others
    if not kinds:
        return "there are no files at all"
    return "there is: " + listed(
        (f"{count} .{kind}" if kind else f"{count} without extension" for kind, count in kinds.most_common()), 5
    )


def shared_depth(parts: Sequence[Sequence[str]]) -> int:
    """Count the leading parts that some paths or URLs share.

    >>> shared_depth([["", "data", "cc3m"], ["", "data", "cc12m", "a"]])
    2
    """
    return next(
        (depth for depth, level in enumerate(zip(*parts, strict=False)) if len(set(level)) > 1), min(map(len, parts))
    )


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    return folder, name
