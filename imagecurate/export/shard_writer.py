"""Write one output shard: a tar, the parquet beside it and DALI's index."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from imagecurate.errors import OutputError
from imagecurate.export.dali import index_lines, index_text
from imagecurate.export.header import tar_length
from imagecurate.export.members import Members, members_of
from imagecurate.export.records import FileRecord, Record, recorded
from imagecurate.export.renumber import with_new_id
from imagecurate.export.tables import RowCache, exported_table, write_parquet
from imagecurate.export.tar_writer import BUFFER, TarWriter

if TYPE_CHECKING:
    from imagecurate.export.folder import Folder
    from imagecurate.export.keys import Naming
    from imagecurate.export.layout import OutputShard, Slice
    from imagecurate.export.survivors import SurvivingRows
    from imagecurate.shards.shard import Shard

__all__ = ["ShardWriter"]


#: Samples that are held with all that is known of them.  Ten thousand from shards of four, each with tables of its own,
#: take a hundred megabytes; from one shard, a tenth of that.
_SAMPLES_AT_ONCE = 1000


@dataclass(frozen=True)
class _Part:
    """What an output shard takes from one input shard."""

    shard: Shard
    samples: int
    members: Members
    table: pa.Table
    edit: Callable[[int, bytes], bytes]
    renamed: int


@dataclass(frozen=True)
class ShardWriter:
    """Writes output shards, in any number of threads and processes.

    A thread holds the rows of the shard in work and a copy buffer; the bytes of members only pass through.

    Parameters
    ----------
    rows : SurvivingRows
        What is exported.
    cached : RowCache
        Its columns, MEMBERS with them.
    folder : Folder
        Where to.
    naming : Naming
        What samples are called there.
    schema : pyarrow.Schema
        Columns of the parquet.
    old_key : str or None
        The one of them that has the keys as they were.
    id_col : str or None
        The one of them that repeats the key.
    digest : {"xxh3_128", "sha256"}
        What the manifest says of each file.
    """

    rows: SurvivingRows
    cached: RowCache
    folder: Folder
    naming: Naming
    schema: pa.Schema
    old_key: str | None
    id_col: str | None
    digest: str

    def __call__(self, shard: OutputShard) -> tuple[Record, bool]:
        """Write an output shard, unless it is written; what is known of it, and whether it was there already."""
        if record := recorded(self.folder, shard.name):
            return record, True
        record = self._write(shard)
        record.keep(self.folder, shard.name)
        return record, False

    def _write(self, shard: OutputShard) -> Record:
        """Write three files, which appear once all of them are whole."""
        tables: list[pa.Table] = []
        lines: list[str] = []
        samples = length = renamed = 0
        with ExitStack() as open_files:
            tar, parquet, index = files = [
                open_files.enter_context(self.folder.create(f"{shard.name}.{kind}", self.digest))
                for kind in ("tar", "parquet", "idx")
            ]
            writer = TarWriter(tar, _buffer())
            for parts in self._parts(shard):
                length += sum(int(part.members.lengths(self.naming.growth).sum()) for part in parts)
                tar.reserve(tar_length(length))
                for part in parts:
                    with self.rows.open(part.shard) as source:
                        positions, sizes = writer.copy(source, part.members, part.edit)
                    lines += index_lines(part.members.names, positions, sizes, part.members.sample)
                    renamed += part.renamed
                tables.append(pa.concat_tables([part.table for part in parts]).combine_chunks())
                samples += sum(part.samples for part in parts)
            writer.finish()
            write_parquet(pa.concat_tables(tables), parquet)
            index.write(index_text(lines).encode())
            for file in files:
                file.commit()
        return Record(tuple(FileRecord.of(file, samples) for file in files), renamed)

    def _parts(self, shard: OutputShard) -> Iterator[list[_Part]]:
        """Give the parts of an output shard, so many small ones together that their samples are worth a write."""
        parts: list[_Part] = []
        held = done = 0
        for slice_ in shard.slices:
            parts.append(self._part(slice_, shard, done + held))
            held += slice_.samples
            if held >= _SAMPLES_AT_ONCE:
                yield parts
                parts, done, held = [], done + held, 0
        if parts:
            yield parts

    def _part(self, slice_: Slice, shard: OutputShard, first: int) -> _Part:
        whole = self.cached.read(slice_.shard)
        if len(whole) != slice_.kept:
            raise OutputError.because(
                f"shard {slice_.shard.name!r} of source {slice_.shard.source!r} had {slice_.kept} samples to export "
                f"and now has {len(whole)}",
                "something changed the store or the input while the export ran; run it again",
            )
        samples = whole.part(slice_.first, slice_.last)
        keys = samples.keys
        told_apart = None if shard.told_apart is None else shard.told_apart[first : first + slice_.samples]
        exported = self.naming.keys(keys, slice_.suffix, told_apart, shard.number, first)
        members = members_of(samples, exported, self.naming)

        def edit(place: int, data: bytes) -> bytes:
            sample = members.sample[place]
            assert exported is not None and self.naming.id_field is not None  # else no member is edited
            return with_new_id(data, self.naming.id_field, keys[sample], exported[sample])

        by_row = None if exported is None else [exported[sample] for sample in samples.sample.tolist()]
        table = exported_table(samples.table, by_row, self.schema, self.old_key, self.id_col)
        renamed = 0 if exported is None else sum(new != old for new, old in zip(exported, keys, strict=True))
        return _Part(slice_.shard, slice_.samples, members, table, edit, renamed)


_local = threading.local()


def _buffer() -> bytearray:
    """The copy buffer of this thread: a new one for each file would be paid for in page faults."""
    if not hasattr(_local, "buffer"):
        _local.buffer = bytearray(BUFFER)
    buffer: bytearray = _local.buffer
    return buffer
