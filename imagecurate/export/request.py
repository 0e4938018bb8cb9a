"""An export that is asked for, and whether it can be had: all that can be said before a sample is computed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from imagecurate.columns import KEY
from imagecurate.export.folder import Folder
from imagecurate.export.folder_at import folder_at, output_path
from imagecurate.export.occupancy import check_not_input, finished
from imagecurate.export.planning import Options, whole_number
from imagecurate.plan.ranks import turn, working_rank
from imagecurate.plan.threads import cores
from imagecurate.remote import StorageOptions
from imagecurate.store.fingerprint import digest as fingerprint_of

if TYPE_CHECKING:
    from imagecurate.export.survivors import Survivors

__all__ = ["FORMAT", "Request", "check_export", "turn_at"]

#: Raised when the same samples and options begin to give other bytes: an export is never continued across that.
FORMAT = 1


@dataclass(frozen=True)
class Request:
    """An export whose arguments are in order."""

    path: str
    options: Options
    threads: int
    folder: Folder
    #: Names samples and options together.
    fingerprint: str

    @classmethod
    def of(
        cls,
        survivors: Survivors,
        path: str | os.PathLike[str],
        options: Options,
        threads: int | None,
        durable: bool,
        storage_options: StorageOptions,
    ) -> Request:
        """Check the arguments; nothing is made yet.

        Raises
        ------
        ParameterError, ColumnExistsError
            An argument is out of range, or ``old_id_col`` exists.
        OutputError
            The input lies in the folder.
        """
        columns = survivors.rows.columns
        options = options.checked(columns)
        threads = cores() if threads is None else whole_number("threads", threads)
        where = output_path(path)
        check_not_input([where], survivors.shards)
        kinds = [[name, str(kind)] for name, kind in columns.items()]
        fingerprint = fingerprint_of([FORMAT, survivors.fingerprint, kinds, asdict(options)])
        return cls(where, options, threads, folder_at(where, storage_options, durable=durable), fingerprint)

    def finished(self) -> Mapping[str, Any] | None:
        """The manifest, where this very export is complete already; see ``occupancy.finished``."""
        return finished(self.folder, self.path, self.fingerprint)


def turn_at(path: str) -> str:
    """What ranks call the right to begin or end an export to a folder."""
    return f"export-{fingerprint_of(path)}"


def check_export(
    survivors: Survivors,
    path: str | os.PathLike[str],
    *,
    samples_per_shard: int = 10_000,
    bytes_per_shard: int | None = None,
    shard_digits: int = 5,
    old_id_col: str | None = None,
    id_col: str = KEY,
    digest: Literal["xxh3_128", "sha256"] = "xxh3_128",
    durable: bool = False,
    threads: int | None = None,
    storage_options: StorageOptions = None,
) -> None:
    """Raise what ``to_webdataset`` would raise with these arguments before it looks at samples.

    The folder is made, if it is not there, to know that it can be.  No row is asked for.

    Raises
    ------
    ParameterError, ColumnExistsError
        An argument is out of range, or ``old_id_col`` exists.
    OutputError
        The folder holds the input, another export or files that look like one; or it cannot be written.
    """
    options = Options(samples_per_shard, bytes_per_shard, shard_digits, old_id_col, id_col, digest)
    request = Request.of(survivors, path, options, threads, durable, storage_options)
    with turn(survivors.store, turn_at(request.path)):
        keep = request.folder.claim(shared=working_rank() is not None)
        try:
            request.finished()
        finally:
            request.folder.release(keep=keep)
