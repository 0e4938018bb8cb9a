"""Computing all of a dataset, and writing it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, Literal, Self

from imagecurate.dataset.core import expanded
from imagecurate.dataset.steps import Steps
from imagecurate.errors import ColumnNotFoundError
from imagecurate.export import ExportSummary, MetadataSummary, check_export
from imagecurate.export import save_metadata as export_metadata
from imagecurate.export import to_webdataset as export_webdataset
from imagecurate.plan.ranks import turn
from imagecurate.plan.runs import Survivors, run_record
from imagecurate.plan.steps import FilterStep
from imagecurate.plan.strict import is_strict, strictly
from imagecurate.progress import Progress
from imagecurate.store import digest as digest_of

__all__ = ["Output"]


class Output(Steps):
    """The methods that compute everything, and write files."""

    def compute(self, *, progress: bool | None = None, strict: bool = False) -> Self:
        """Compute every column of every surviving sample into the store, with progress, and return this dataset.

        Parameters
        ----------
        progress : bool, optional
            False for silence.
        strict : bool, default=False
            Stop at the first sample that fails.

        Raises
        ------
        StrictError
            ``strict`` was asked for, and a sample failed; the message says which, and why.
        """
        with strictly(strict or is_strict()):
            self._run("computing", progress)
        return self

    def save_metadata(
        self, path: str | os.PathLike[str] | None = None, columns: Sequence[str] | None = None
    ) -> MetadataSummary:
        """Write the columns of the kept samples as parquet, one file a shard.

        Run again, it writes only the files that would differ.

        Raises
        ------
        ParameterError
            No path is given: the input is never overwritten.
        ColumnNotFoundError
            A column that is not there.
        OutputError
            A file would lie beside the input, or replace one that somebody else wrote.
        """
        self._settle()
        survivors, place = Survivors(self._ready, self._shards), expanded(path)
        # Of several ranks one writes; the others then find everything written.
        with turn(self._work.store.root, f"metadata-{digest_of(str(place))}"):
            return export_metadata(survivors, place, columns, storage_options=self._work.storage_options)

    to_parquet = save_metadata

    def to_webdataset(
        self,
        path: str | os.PathLike[str],
        filter_column: str | None = None,
        samples_per_shard: int = 10_000,
        shard_digits: int = 5,
        old_id_col: str | None = None,
        *,
        max_shards: int | None = None,
        bytes_per_shard: int | None = None,
        digest: Literal["xxh3_128", "sha256"] = "xxh3_128",
        durable: bool = False,
        progress: bool | None = None,
    ) -> ExportSummary:
        """Write the surviving samples as new shards: members copied byte for byte, parquet beside each tar, ledger.

        See ``docs/output.md`` for what lies in the folder.  A run that was killed goes on where it was.

        Parameters
        ----------
        path : path
            Folder to write.
        filter_column : str, optional
            Boolean column: only samples where it is true.
        samples_per_shard : int, default=10000
            Every shard is full but the last.
        shard_digits : int, default=5
            Digits of the shard names; ``max_shards`` is the old name of this.
        old_id_col : str, optional
            Renumber samples as the old NeMo Curator does and keep their keys in this column.
        bytes_per_shard : int, optional
            Close a shard before it would exceed this size.
        digest : {"xxh3_128", "sha256"}, default="xxh3_128"
            Checksum of each file in ``manifest.json``.
        durable : bool, default=False
            Have each file on the disk itself before it appears, at the disk's speed.

        Raises
        ------
        ParameterError, ColumnExistsError
            An argument is out of range, or ``old_id_col`` is there already; told before anything is computed.
        OutputError
            The folder holds the input, or another export; or it cannot be written.
        """
        options: dict[str, Any] = {
            "samples_per_shard": samples_per_shard,
            "bytes_per_shard": bytes_per_shard,
            "shard_digits": shard_digits if max_shards is None else max_shards,
            "old_id_col": old_id_col,
            "id_col": self.id_col,
            "digest": digest,
            "storage_options": self._work.storage_options,
        }
        chosen = self if filter_column is None else self._where_true(filter_column)
        survivors = Survivors(chosen._ready, chosen._shards)
        place = expanded(path)
        check_export(survivors, place, **options)  # before hours of work, not after
        chosen._warn_of_unseen_duplicates()
        counts = chosen._run("computing", progress)
        self.last_run = chosen.last_run
        record = run_record(chosen._ready, chosen._shards, counts)
        with Progress("writing", 0, progress) as bar:
            return export_webdataset(
                survivors, place, **options, durable=durable, progress=bar.written, run_record=record
            )

    def _where_true(self, column: str) -> Self:
        if column not in self._plan.schema:
            raise ColumnNotFoundError.among(column, self._plan.schema)
        quoted = column.replace("`", "``")
        return self.filter(f"`{quoted}`", name=column)

    def _warn_of_unseen_duplicates(self) -> None:
        marks = [name for name in self._plan.schema if name == "is_duplicate" or name.endswith("_duplicate_of")]
        filters = [step for step in self._plan.steps if isinstance(step, FilterStep)]
        looked_at = {column for step in filters for column in step.expression.columns}
        if marks and not looked_at & set(marks) and not self._survivors:
            warnings.warn(
                f"duplicates are marked in {', '.join(marks)}, but no filter looks at it: they are exported too. "
                "Leave them out by ds.filter('not is_duplicate') or ds.filter('…_duplicate_of is null').",
                stacklevel=3,
            )
