"""What others say of shards: the ``manifest.json`` of an export, and img2dataset's ``00000_stats.json``.

Neither need be there, and what is there may be something else.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imagecurate.check.beside import read_document, read_errors, sentence_of, split_url
from imagecurate.check.found import Found
from imagecurate.export.folder_at import folder_at
from imagecurate.export.occupancy import MANIFEST
from imagecurate.export.verify import file_fault, is_manifest
from imagecurate.plan.execute import in_threads
from imagecurate.remote import StorageOptions
from imagecurate.shards import Shard
from imagecurate.shards.shard import parquet_beside

__all__ = ["Asked", "Promise", "broken_promises", "compare_with_stats", "promised_of"]

#: Manifests read at a time.
_REQUESTS = 16


@dataclass(frozen=True)
class Promise:
    """What a manifest says of some files of its folder."""

    folder: str
    digest: str
    files: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Asked:
    """A shard to check, what is promised of it, and what was noticed of its folder."""

    shard: Shard
    promise: Promise | None
    notes: tuple[str, ...]


def compare_with_stats(shard: Shard, found: Found, storage_options: StorageOptions) -> None:
    """Compare with what img2dataset, or DataComp's resharder, wrote down when it closed the shard."""
    beside = parquet_beside(shard.url)
    if beside is None:  # called like no shard, as a URL with a signature
        return
    url = f"{beside.removesuffix('.parquet')}_stats.json"
    name = split_url(url)[1]
    stats, note = read_document(url, storage_options)
    found.notes += [note] if note else []
    if stats is None:
        return
    successes, tried = stats.get("successes"), stats.get("count")
    if not isinstance(successes, int) or not isinstance(tried, int | None):
        found.notes.append(f"{name} is none of img2dataset's: not compared")
        return
    if successes != found.samples:
        found.problems.append(f"{name} counts {successes:,} successes, but {found.samples:,} samples")
    if tried is None:  # the resharder tries nothing
        return
    rows = found.counts["parquet_rows"]
    if rows not in (0, tried):
        found.problems.append(f"{name} counts {tried:,} URLs, but {rows:,} rows in the parquet")
    found.notes += [f"{tried - successes:,} of {tried:,} downloads failed"] if tried != successes else []


def broken_promises(
    promise: Promise, shard: Shard, found: Found, digests: bool, storage_options: StorageOptions
) -> Iterator[str]:
    """Say of each file that is missing, or not as promised, what is wrong with it."""
    folder = folder_at(promise.folder, storage_options)
    for name, entry in promise.files.items():
        try:
            fault = file_fault(folder, name, entry, promise.digest if digests else None)
        except read_errors(promise.folder) as error:
            fault = f"{name} cannot be read: {sentence_of(error)}"
        if fault:
            yield fault
    samples = promise.files.get(split_url(shard.url)[1], {}).get("samples", found.samples)
    if samples != found.samples:
        yield f"{MANIFEST} promises {samples} samples, the tar has {found.samples}"


def promised_of(shards: Sequence[Shard], storage_options: StorageOptions) -> tuple[list[Asked], list[Found]]:
    """Read the manifests of the folders that the shards lie in.

    Returns
    -------
    asked : list of Asked
        The shards in their order.  The first of each folder answers for what belongs to no shard, as the ledger.
    missing : list of Found
        Shards that are promised and not there.
    """
    folders: dict[tuple[str, str], dict[str, Shard]] = {}
    for shard in shards:
        folder, name = split_url(shard.url)
        folders.setdefault((folder, shard.source), {})[name] = shard
    asked: dict[Shard, Asked] = {}
    missing: list[Found] = []
    read = functools.partial(_read_manifest, storage_options=storage_options)
    manifests = in_threads(_REQUESTS, read, [folder for folder, _ in folders])
    for ((folder, source), here), (manifest, note) in zip(folders.items(), manifests, strict=True):
        files = _by_tar(manifest["files"]) if manifest else {}
        first = next(iter(here))
        for name, shard in here.items():
            notes = [note] if note and name == first else []
            notes += [f"{MANIFEST} does not list it"] if manifest and name not in files else []
            mine = files.get(name, {}) | (files.get("", {}) if name == first else {})
            promise = Promise(folder, manifest["digest"], mine) if manifest else None
            asked[shard] = Asked(shard, promise, tuple(notes))
        away = files.keys() - here.keys() - {""}
        if away:  # unless they are there, and only were not asked for
            away -= folder_at(folder, storage_options).names()
        above, slash, _ = here[first].name.rpartition("/")
        for name in sorted(away):
            problem = f"missing; {MANIFEST} promises {files[name][name].get('samples')} samples"
            missing.append(Found(above + slash + name.removesuffix(".tar"), source, problems=[problem]))
    return [asked[shard] for shard in shards], missing


def _by_tar(files: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Put each file that a manifest lists to its tar, and what has none under ``""``.

    >>> _by_tar({"0.tar": 1, "0.idx": 2, "run.json": 3, "ledger/0.parquet": 4})
    {'0.tar': {'0.tar': 1, '0.idx': 2}, '': {'run.json': 3, 'ledger/0.parquet': 4}}
    """
    found: dict[str, dict[str, Any]] = {}
    for name, entry in files.items():
        tar = f"{name.rpartition('.')[0]}.tar"
        found.setdefault(tar if tar in files else "", {})[name] = entry
    return found


def _read_manifest(folder: str, storage_options: StorageOptions) -> tuple[dict[str, Any] | None, str]:
    manifest, note = read_document(f"{folder}/{MANIFEST}", storage_options)
    if manifest is None or is_manifest(manifest):
        return manifest, note
    return None, f"{MANIFEST} is none of an export's: not compared"
