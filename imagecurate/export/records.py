"""What is known of written files: while an export runs, in ``.export/``; in the end, in ``manifest.json``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any

from imagecurate.export.folder import WORK

if TYPE_CHECKING:
    from imagecurate.export.folder import Folder, OutputFile

__all__ = ["FileRecord", "Manifest", "Record", "read_json", "recorded", "to_json"]


@dataclass(frozen=True)
class FileRecord:
    """A written file, and of how many samples it speaks."""

    name: str
    samples: int
    bytes: int
    digest: str

    @classmethod
    def of(cls, file: OutputFile, samples: int) -> FileRecord:
        """Take down what a file says of itself."""
        return cls(file.name, samples, file.size, file.digest)


@dataclass(frozen=True)
class Record:
    """One step of an export that is done: an output shard, or a file of the ledger.

    ``count`` is of samples that got another key, or of input shards that the ledger has got through.
    """

    files: tuple[FileRecord, ...]
    count: int

    def keep(self, folder: Folder, step: str) -> None:
        """Write it down, after which the step need not be done again."""
        folder.write(f"{WORK}/{step}.json", to_json(asdict(self)))


def recorded(folder: Folder, step: str) -> Record | None:
    """What is written down of a step whose files are all there, or None."""
    known = read_json(folder, f"{WORK}/{step}.json")
    if known is None:
        return None
    files = tuple(FileRecord(**file) for file in known["files"])
    if any(folder.size(file.name) != file.bytes for file in files):
        return None
    return Record(files, known["count"])


def to_json(value: Any) -> bytes:
    """Readable JSON, the same bytes for the same value."""
    return (json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n").encode()


def read_json(folder: Folder, name: str) -> dict[str, Any] | None:
    """The object in a JSON file, or None where there is none that can be read: ours are whole or absent."""
    try:
        found = json.loads(folder.read(name) or b"null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class Manifest:
    """The list of all files, kept on disk while it grows.

    Parameters
    ----------
    spool : binary file
        Open for writing and reading, empty.
    digest : {"xxh3_128", "sha256"}
        The name under which each file has its digest.
    """

    def __init__(self, spool: IO[bytes], digest: str) -> None:
        #: Of all files together.
        self.bytes = 0
        self._spool = spool
        self._digest = digest

    def add(self, files: Iterable[FileRecord]) -> None:
        """Take files in."""
        for file in files:
            entry = json.dumps({"samples": file.samples, "bytes": file.bytes, self._digest: file.digest})
            separator = ",\n" if self.bytes else ""
            self._spool.write(f"{separator}    {json.dumps(file.name)}: {entry}".encode())
            self.bytes += file.bytes

    def write(self, folder: Folder, name: str, head: Mapping[str, Any]) -> None:
        """Write it: the head, then ``files``."""
        self._spool.seek(0)
        with folder.create(name) as file:
            file.write(to_json(head)[: -len("\n}\n")] + b',\n  "files": {\n')
            shutil.copyfileobj(self._spool, file)
            file.write(b"\n  }\n}\n")
            file.commit()
