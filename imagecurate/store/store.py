"""A folder of computed columns, and where in it everything lies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from imagecurate.remote import RemotePath
from imagecurate.store.files import StageFiles, StoredShard
from imagecurate.store.index_file import IndexFile
from imagecurate.store.packs import Packs, packs_of
from imagecurate.store.writing import StorePath, write_atomically

__all__ = ["Store"]

#: Records that this process wrote, or found, in stores behind URLs: to look for each again costs a request a shard.
_described: set[str] = set()


@dataclass(frozen=True)
class Store:
    """A folder of computed columns, on a disk or behind a URL.

    Parameters
    ----------
    root : Path or RemotePath
        Where.
    beside : Path, optional
        Of a store behind a URL: a folder on this machine, or one that all machines mount, for what needs a file system.
    """

    root: StorePath
    beside: Path | None = None

    @property
    def local(self) -> Path:
        """A folder for what needs a file system: the store itself, where it lies in one."""
        folder = self.root if isinstance(self.root, Path) else self.beside
        if folder is None:
            raise TypeError(f"the store {self.root} has no folder in a file system")
        return folder

    def stage(self, fingerprint: str, *, reads_metadata: bool) -> StageFiles:
        """Files of the stage with this fingerprint."""
        return StageFiles(self._at(f"columns/{fingerprint}"), reads_metadata)

    def describe(self, fingerprint: str, record: Callable[[], Mapping[str, Any]]) -> None:
        """Keep a readable record of what a stage's columns are beside them."""
        path = self._at(f"columns/{fingerprint}/stage.json")
        if str(path) in _described:
            return
        if not path.exists():
            text = json.dumps(record(), indent=2, sort_keys=True, default=str) + "\n"
            write_atomically(path, lambda temporary: temporary.write_text(text))
        if isinstance(path, RemotePath):
            _described.add(str(path))

    def scratch(self, fingerprint: str) -> Path:
        """Folder of what a dataset stage keeps between its tasks."""
        return self.local / "stages" / fingerprint

    @property
    def tables(self) -> Path:
        """Folder of what was made of tables elsewhere, to look ids up in."""
        return self.local / "tables"

    def schema(self, fingerprint: str) -> StorePath:
        """File that says which columns come with some shards."""
        return self._at(f"schemas/{fingerprint}.arrow")

    def index(self, fingerprint: str, shard: StoredShard) -> StorePath:
        """File with the index of a shard: its samples, where their members lie, the incoming columns."""
        return self._at(f"index/{fingerprint}/{_index_name(shard)}")

    def has_index(self, fingerprint: str, shard: StoredShard) -> bool:
        """True if the index of a shard is there."""
        there = self.index(fingerprint, shard).exists()
        return there or (isinstance(self.root, Path) and _index_name(shard) in self._index_packs(fingerprint))

    def open_index(self, fingerprint: str, shard: StoredShard) -> IndexFile:
        """Open the index of a shard, which may lie in a pack.

        Raises
        ------
        FileNotFoundError
            There is none.
        pyarrow.ArrowInvalid
            It was cut off by a power loss.
        """
        try:
            return IndexFile.open(self.index(fingerprint, shard))
        except (FileNotFoundError, pa.ArrowInvalid):
            packed = None
            if isinstance(self.root, Path):
                packed = self._index_packs(fingerprint).open(_index_name(shard))
            if packed is None:
                raise
        return IndexFile.of(packed)

    def mask(self, token: str, shard: StoredShard) -> StorePath:
        """File with the positions that a raw mask keeps of a shard."""
        return self._at(f"masks/{token}/{shard.source}/{shard.name}-{shard.metadata_token}.npy")

    def _index_packs(self, fingerprint: str) -> Packs:
        return packs_of(self.local / "index" / fingerprint)

    def _at(self, name: str) -> StorePath:
        root = self.root
        # made of text: a tenth of the time of joining paths, and asked very often
        return root / name if isinstance(root, RemotePath) else Path(f"{root}/{name}")


def _index_name(shard: StoredShard) -> str:
    return f"{shard.source}/{shard.name}-{shard.metadata_token}.arrow"
