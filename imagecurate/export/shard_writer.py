"""Write one output shard: a tar, the parquet beside it and DALI's index."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from imagecurate.errors import OutputError
from imagecurate.export.dali import index_lines, index_text
from imagecurate.export.header import tar_length
from imagecurate.export.members import Members, members_of
from imagecurate.export.records import FileRecord, Record
from imagecurate.export.renumber import with_new_id
from imagecurate.export.tables import RowCache, exported_table, write_parquet
from imagecurate.export.tar_writer import BUFFER, TarWriter

if TYPE_CHECKING:
    from imagecurate.export.cut import Cut, Piece
    from imagecurate.export.folder import Folder
    from imagecurate.export.keys import Naming
    from imagecurate.export.survivors import Survivors

__all__ = ["ShardWriter"]


@dataclass(frozen=True)
class _Part:
    """What an output shard takes from one input shard."""

    number: int
    members: Members
    table: pa.Table
    edit: Callable[[int, bytes], bytes]
    renamed: int


@dataclass(frozen=True)
class ShardWriter:
    """Writes output shards by their number, from any number of threads.

    A thread holds the rows of the shard in work and a copy buffer; the bytes of members only pass through.

    Parameters
    ----------
    survivors : Survivors
        What is exported.
    folder : Folder
        Where to.
    cut : Cut
        Which samples go into which shard.
    naming : Naming
        What they are called there.
    rows : RowCache
        Their columns, MEMBERS with them.
    schema : pyarrow.Schema
        Columns of the parquet.
    old_key : str or None
        The one of them that has the keys as they were.
    id_col : str or None
        The one of them that repeats the key.
    digest : {"xxh3_128", "sha256"}
        What the manifest says of each file.
    """

    survivors: Survivors
    folder: Folder
    cut: Cut
    naming: Naming
    rows: RowCache
    schema: pa.Schema
    old_key: str | None
    id_col: str | None
    digest: str
    _local: threading.local = field(default_factory=threading.local)

    def write(self, shard: int, name: str) -> Record:
        """Write an output shard as ``name`` with three extensions; its files appear once all three are whole."""
        parts: list[_Part] = []
        samples = 0
        for piece in self.cut.pieces(shard):
            parts.append(self._part(piece, shard, samples))
            samples += piece.last - piece.first
        with ExitStack() as open_files:
            tar, parquet, index = files = [
                open_files.enter_context(self.folder.create(f"{name}.{kind}", self.digest))
                for kind in ("tar", "parquet", "idx")
            ]
            tar.reserve(tar_length(sum(int(part.members.lengths(self.naming.growth).sum()) for part in parts)))
            writer = TarWriter(tar, self._buffer())
            lines: list[str] = []
            for part in parts:
                with self.survivors.open(part.number) as source:
                    positions, sizes = writer.copy(source, part.members, part.edit)
                lines += index_lines(part.members.names, positions, sizes, part.members.sample)
            writer.finish()
            write_parquet(pa.concat_tables([part.table for part in parts]), parquet)
            index.write(index_text(lines).encode())
            for file in files:
                file.commit()
        return Record(tuple(FileRecord.of(file, samples) for file in files), sum(part.renamed for part in parts))

    def _part(self, piece: Piece, shard: int, first: int) -> _Part:
        whole = self.rows.read(piece.number)
        kept = int(self.cut.starts[piece.number + 1] - self.cut.starts[piece.number])
        if len(whole) != kept:
            raise OutputError.because(
                f"{self._called(piece.number)} had {kept} samples to export and now has {len(whole)}",
                "something changed the store or the input while the export ran; run it again",
            )
        samples = whole.part(piece.first, piece.last)
        keys = samples.keys
        exported = self.naming.keys(keys, piece.number, shard, first)
        members = members_of(samples, exported, self.naming)

        def edit(place: int, data: bytes) -> bytes:
            sample = members.sample[place]
            assert exported is not None and self.naming.id_field is not None  # else no member is edited
            return with_new_id(data, self.naming.id_field, keys[sample], exported[sample])

        by_row = None if exported is None else [exported[sample] for sample in samples.sample.tolist()]
        table = exported_table(samples.table, by_row, self.schema, self.old_key, self.id_col)
        renamed = 0 if exported is None else sum(new != old for new, old in zip(exported, keys, strict=True))
        return _Part(piece.number, members, table, edit, renamed)

    def _called(self, number: int) -> str:
        shard = self.survivors.shards[number]
        return f"shard {shard.name!r} of source {shard.source!r}"

    def _buffer(self) -> bytearray:
        """The copy buffer of this thread: a new one for each file would be paid for in page faults."""
        if not hasattr(self._local, "buffer"):
            self._local.buffer = bytearray(BUFFER)
        buffer: bytearray = self._local.buffer
        return buffer
