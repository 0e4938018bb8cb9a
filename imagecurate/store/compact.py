"""Putting the finished files of many shards into few large ones, and taking files out of these again.

A pack is written and made durable, then its index; only then the files that it holds are removed, those alone that are
still what was copied.  So a process that is killed, or loses its machine, leaves every file somewhere, and what it left
twice goes the next time.  Runs read and write meanwhile: a loose file counts before a packed one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import IO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from imagecurate.errors import OutputError, ParameterError, listed, near_miss
from imagecurate.store.inventory import files_below
from imagecurate.store.packs import FOLDER, INDEX, PACK, SCHEMA, Packed, new_name, packs_of
from imagecurate.store.writing import StorePath, write_atomically

__all__ = ["Compacted", "compact", "discard", "folders_to_compact"]

#: Bytes of a pack: large enough that the vectors of a billion pictures are some thousand files, small enough to be
#: copied in seconds.  A file of more than half of it gains nothing from company and stays as it is.
PACK_BYTES = 1 << 30
#: Bytes copied at a time.
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Compacted:
    """What was done to a folder.

    Attributes
    ----------
    files, bytes : int
        Loose files that went into packs.
    packs : int
        That were written.
    """

    files: int
    bytes: int
    packs: int


class _Source(NamedTuple):
    """A file to be put into a pack."""

    name: str
    size: int
    #: Where it lies in an older pack; None for a loose file.
    packed: Packed | None


def folders_to_compact(store: StorePath, stage: str | None = None) -> list[Path]:
    """Give the folders of a store that hold a file a shard.

    Parameters
    ----------
    store : Path
    stage : str, optional
        Only the columns of this stage: its class, or its folder.  ``"index"`` is what is known of the shards.

    Raises
    ------
    OutputError
        The store lies behind a URL.
    ParameterError
        There is no such stage.
    """
    if not isinstance(store, Path):
        raise OutputError.because(
            f"files are put into packs on disks alone, not in {str(store)!r}",
            "an object store keeps a hundred thousand files as well as a few",
        )
    folders = [path for kind in ("columns", "index") for path in sorted(store.glob(f"{kind}/*")) if path.is_dir()]
    if stage is None:
        return folders
    stages = ["index" if path.parent.name == "index" else path.name.rpartition("-")[0] for path in folders]
    chosen = [path for path, name in zip(folders, stages, strict=True) if stage in (name, path.name)]
    if not chosen:
        guess = near_miss(stage, stages)
        raise ParameterError.because(
            f"the store has no columns of {stage!r}; it has: {listed(sorted(set(stages)))}",
            f"did you mean {guess!r}?" if guess else None,
        )
    return chosen


def compact(folder: Path) -> Compacted:
    """Put the finished files of a folder of columns, or of indices, into packs.

    Parts stay as they are, and so does a file that is alone.  Packs that are less than half full of what counts are put
    together with the rest.  Any number of processes may do this at the same time.

    Parameters
    ----------
    folder : Path
        ``columns/<fingerprint>`` or ``index/<fingerprint>`` of a store.

    Raises
    ------
    OutputError
        No room for another pack: 1 GB is needed at a time.
    """
    every = packs_of(folder).all()
    counting = {file.name: file for file in every}  # of the copies of a file the last
    loose = {source.name: source for source in _loose(folder, counting)}
    staying = {name: file for name, file in counting.items() if name not in loose}
    small = _small(every, staying)
    superseded = {file.pack for file in every if staying.get(file.name) != file}
    sources = {name: _Source(name, file.size, file) for name, file in staying.items() if file.pack in small}
    if len(small) + len(loose) < 2 and not small & superseded:  # there is nothing to put it together with
        sources, loose = {}, {}
    files = size = packs = 0
    for group in _cut(sorted((sources | loose).values())):
        written = _write(folder, group)
        packs += bool(written)
        for source, status in written:
            if source.packed is None and _removed(folder / source.name, status):
                files, size = files + 1, size + source.size
    _remove_superseded(folder)
    return Compacted(files, size, packs)


def discard(folder: Path, names: Collection[str]) -> None:
    """Take files out of the packs of a folder; those that nothing is left of go, others are written anew.

    Parameters
    ----------
    folder : Path
        ``columns/<fingerprint>`` or ``index/<fingerprint>`` of a store.
    names : collection of str
        Paths of the files below it; those that no pack has do not matter.
    """
    every = packs_of(folder).all()
    counting = {file.name: file for file in every}
    for pack, files in groupby(sorted(every, key=attrgetter("pack", "offset")), key=attrgetter("pack")):
        held = list(files)
        if all(file.name not in names for file in held):
            continue
        kept = [file for file in held if file.name not in names and counting[file.name] == file]
        if kept:
            _write(folder, [_Source(file.name, file.size, file) for file in kept])
        _remove(folder, pack)


def _small(every: list[Packed], staying: dict[str, Packed]) -> set[str]:
    """Packs that are less than half full of files that count, and for which no loose file stands in."""
    sizes = dict.fromkeys((file.pack for file in every), 0)
    for file in staying.values():
        sizes[file.pack] += file.size
    return {pack for pack, size in sizes.items() if size < PACK_BYTES // 2}


def _loose(folder: Path, packed: dict[str, Packed]) -> Iterator[_Source]:
    """Finished files to be packed; those that were, by a process that was killed then, are removed."""
    for file in files_below(folder):
        if file.shard is None or file.part is not None or file.size > PACK_BYTES // 2:
            continue
        earlier = packed.get(file.path)
        if earlier is not None:
            with suppress(FileNotFoundError), (folder / file.path).open("rb") as opened:
                status = os.fstat(opened.fileno())
                if (status.st_size, status.st_mtime_ns) == (earlier.size, earlier.modified):
                    _removed(folder / file.path, status)
                    continue
                # with fewer rows than the packed one it would be lost in a pack; loose its rows are found
                if ((_rows(opened, file.path) or 0), status.st_mtime_ns) < (earlier.rows, earlier.modified):
                    continue
        yield _Source(file.path, file.size, None)


def _cut(sources: list[_Source]) -> Iterator[list[_Source]]:
    """Groups that fill a pack each; no group but the last fills less than half of one."""
    group: list[_Source] = []
    size = 0
    for source in sources:
        if group and size + source.size > PACK_BYTES:
            yield group
            group, size = [], 0
        group.append(source)
        size += source.size
    if group:
        yield group


def _write(folder: Path, sources: Iterable[_Source]) -> list[tuple[_Source, os.stat_result]]:
    """Write a pack, and then its index; give what is in it, with what the files were when they were copied.

    Files that went meanwhile, or were cut off by a power loss, are left out.
    """
    sources = list(sources)
    name = new_name(source.packed.pack for source in sources if source.packed is not None)
    written: list[tuple[_Source, os.stat_result]] = []
    index: list[Packed] = []

    def write(temporary: Path) -> None:
        with temporary.open("wb") as pack:
            for source in sources:
                start = pack.tell()
                with suppress(FileNotFoundError), _path(folder, source).open("rb") as file:
                    status = os.fstat(file.fileno())
                    if source.packed is not None:
                        rows, modified = source.packed.rows, source.packed.modified
                        _copy(file, pack, source.packed.offset, source.size)
                    elif (counted := _rows(file, source.name)) is not None:
                        rows, modified = counted, status.st_mtime_ns
                        _copy(file, pack, 0, status.st_size)
                    else:
                        continue
                    index.append(Packed(source.name, name, start, pack.tell() - start, rows, modified))
                    written.append((source, status))

    path = folder / FOLDER / f"{name}{PACK}"
    write_atomically(path, write, durable=True)
    if not written:
        path.unlink()
        return []
    table = pa.Table.from_pylist([file._asdict() for file in index], SCHEMA)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SCHEMA, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    write_atomically(path.with_suffix(INDEX), lambda temporary: temporary.write_bytes(sink.getvalue()), durable=True)
    return written


def _path(folder: Path, source: _Source) -> Path:
    return folder / (source.name if source.packed is None else f"{FOLDER}/{source.packed.pack}{PACK}")


def _copy(file: IO[bytes], pack: IO[bytes], start: int, size: int) -> None:
    file.seek(start)
    while size and (data := file.read(min(size, _CHUNK_BYTES))):
        size -= pack.write(data)


def _rows(file: IO[bytes], name: str) -> int | None:
    """Rows of a parquet file, 0 of an index; None for a file without an end."""
    try:
        if name.endswith(".parquet"):
            rows: int = pq.read_metadata(file).num_rows
            return rows
        pa.ipc.open_file(file)
    except pa.ArrowInvalid:
        return None
    return 0


def _removed(path: Path, status: os.stat_result) -> bool:
    """Remove a file that is still what it was; True where it was.

    Where another takes its place just between, that one's new rows are computed again.
    """
    with suppress(FileNotFoundError):
        if os.path.samestat(now := path.stat(), status) and now.st_mtime_ns == status.st_mtime_ns:
            path.unlink()
            return True
    return False


def _remove(folder: Path, pack: str) -> None:
    for kind in (INDEX, PACK):  # in this order: an index says that its pack is there
        (folder / FOLDER / f"{pack}{kind}").unlink(missing_ok=True)


def _remove_superseded(folder: Path) -> None:
    """Remove the packs that have no file that counts."""
    every = packs_of(folder).all()
    counting = {file.name: file.pack for file in every}
    for pack in {file.pack for file in every} - set(counting.values()):
        _remove(folder, pack)
