"""Export kept samples as new shards: planned first, copied byte for byte, resumable."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imagecurate.columns import KEY
from imagecurate.export.cut import Cut
from imagecurate.export.failures import writing
from imagecurate.export.folder import WORK
from imagecurate.export.keys import Naming, ToldApart
from imagecurate.export.ledger import write_ledger
from imagecurate.export.occupancy import CLAIM, MANIFEST, RUN, TIMINGS, check_foreign
from imagecurate.export.planning import Options, plan_export
from imagecurate.export.records import FileRecord, Manifest, Record, recorded, to_json
from imagecurate.export.request import FORMAT, Request
from imagecurate.export.shard_writer import ShardWriter
from imagecurate.export.survivors import MEMBERS
from imagecurate.export.tables import RowCache, exported_schema, free_name
from imagecurate.plan.execute import in_threads
from imagecurate.remote import StorageOptions

if TYPE_CHECKING:
    from imagecurate.export.survivors import Survivors

__all__ = ["ExportSummary", "to_webdataset"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportSummary:
    """What an export wrote.

    Attributes
    ----------
    path : str
        The folder.
    samples : int
        Samples in it.
    shards : int
        Tars in it.
    bytes : int
        Bytes of all files that the manifest lists.
    renamed : int
        Samples that were told apart from others with the same key, or numbered anew.
    skipped : int
        Shards that an earlier run had finished.
    seconds : float
        Time that this run took.
    """

    path: str
    samples: int
    shards: int
    bytes: int
    renamed: int
    skipped: int
    seconds: float

    def __str__(self) -> str:
        if not self.samples:
            return f"no sample was kept: {self.path} holds the ledger and no shard"
        text = f"{self.samples:,} samples in {self.shards:,} shards, {self.bytes / 1e9:,.2f} GB, in {self.path}"
        return text + (f"; {self.skipped:,} shards were there already" if self.skipped else "")


def to_webdataset(
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
    progress: Callable[[int, int], None] | None = None,
    run_record: Mapping[str, Any] | None = None,
    storage_options: StorageOptions = None,
) -> ExportSummary:
    """Write kept samples as tar shards, with the parquet of their columns and DALI's index beside each.

    ``docs/output.md`` describes the folder.  The bytes of every member are those that came in.  Killed and run again,
    it goes on with the shards that are missing, and the result is byte for byte that of an undisturbed run.

    Parameters
    ----------
    survivors : Survivors
        The samples, shard by shard; the output has them in the same order.
    path : str or path
        Folder to write, local or behind any URL that fsspec can write to; made if it is not there.
    samples_per_shard : int, default=10_000
        Every output shard has so many samples, but the last.
    bytes_per_shard : int, optional
        A shard is closed before its tar would be larger, but has one sample at least.
    shard_digits : int, default=5
        Digits of the shards' names.
    old_id_col : str, optional
        Number samples anew, as NeMo Curator up to 0.9 does, and keep their keys in a column of this name.  The id in
        their JSON follows.  Without it keys are kept; samples that share one are told apart by source and shard.
    id_col : str, default="key"
        Field of the JSON, and column where there is one, that repeats the key.  The column follows the key in any case.
    digest : {"xxh3_128", "sha256"}, default="xxh3_128"
        Digest of each file in the manifest.  sha256 halves the speed.
    durable : bool, default=False
        Have each file on the disk itself before it appears, so that a power failure cannot take it; the speed is then
        that of the disk.
    threads : int, optional
        Output shards in work at a time; the number of processors by default.
    progress : callable, optional
        Called with the samples written so far and the number of all.
    run_record : mapping, optional
        What produced the samples, for ``run.json``.
    storage_options : mapping, optional
        For fsspec, where ``path`` is a URL.

    Returns
    -------
    ExportSummary

    Raises
    ------
    ParameterError, ColumnExistsError
        An argument is out of range, or ``old_id_col`` exists.
    OutputError
        The folder holds the input, another export or files that look like one; or it cannot be written.
    ShardError
        The input is not what it was when it was indexed.
    """
    options = Options(samples_per_shard, bytes_per_shard, shard_digits, old_id_col, id_col, digest)
    request = Request.of(survivors, path, options, threads, durable, storage_options)
    folder, export = request.folder, _Export(survivors, request)
    keep = folder.claim()
    try:
        summary = export.known()
        if summary is None:
            with writing(request.path), tempfile.TemporaryDirectory(dir=folder.scratch) as scratch:
                cut, naming = export.plan(Path(scratch))
                keep = True  # from here on, what an error or a kill leaves is worth going on with
                summary = export.write(cut, naming, Path(scratch), run_record or {}, progress)
        keep = False
    finally:
        folder.release(keep=keep)
    return summary


class _Export:
    """The phases of one export: known, plan, write."""

    def __init__(self, survivors: Survivors, request: Request) -> None:
        self.path = request.path
        self._survivors = survivors
        self._request = request
        self._options = request.options
        self._folder = request.folder
        self._threads = request.threads
        self._columns = survivors.columns
        self._clock = _Clock()

    def known(self) -> ExportSummary | None:
        """The summary, where this very export is complete already."""
        manifest = self._request.finished()
        return None if manifest is None else self._summary(manifest, skipped=manifest["shards"])

    def plan(self, scratch: Path) -> tuple[Cut, Naming]:
        """Plan, and mark the folder as taken by this plan."""
        with self._clock.measured("plan"):
            cut, naming = plan_export(self._survivors, self._options, self._threads, scratch)
        check_foreign(self._folder, self.path, lambda name: self._is_planned(name, len(cut)))
        self._folder.write(CLAIM, to_json({"fingerprint": self._request.fingerprint}))
        return cut, naming

    def write(
        self,
        cut: Cut,
        naming: Naming,
        scratch: Path,
        run_record: Mapping[str, Any],
        progress: Callable[[int, int], None] | None,
    ) -> ExportSummary:
        """Write shards, ledger and records, the manifest last."""
        folder, digest = self._folder, self._options.digest
        renamed = skipped = samples = 0
        with (scratch / "files").open("w+b") as spool:
            manifest = Manifest(spool, digest)
            with self._clock.measured("shards"):
                for record, was_there in in_threads(self._threads, self._writer(cut, naming), range(len(cut))):
                    manifest.add(record.files)
                    renamed += record.count
                    skipped += was_there
                    samples += record.files[0].samples
                    if progress is not None:
                        progress(samples, cut.samples)
            with self._clock.measured("ledger"):
                manifest.add(write_ledger(self._survivors, folder, digest, self._threads))
            export = asdict(self._options) | {"renamed": renamed}
            run = folder.write(RUN, to_json({"export": export} | dict(run_record)), digest)
            manifest.add([FileRecord.of(run, samples)])
            head = {
                "format": FORMAT,
                "fingerprint": self._request.fingerprint,
                "samples": samples,
                "shards": len(cut),
                "bytes": manifest.bytes,
                "renamed": renamed,
                "digest": digest,
            }
            folder.write(TIMINGS, to_json(self._clock.record()))
            manifest.write(folder, MANIFEST, head)
        if renamed and isinstance(naming, ToldApart):
            _log.warning("%d samples share their keys with others and were told apart by source and shard", renamed)
        return self._summary(head, skipped)

    def _writer(self, cut: Cut, naming: Naming) -> Callable[[int], tuple[Record, bool]]:
        old_key = self._options.old_id_col
        if isinstance(naming, ToldApart):
            old_key = free_name("original_key", self._columns)
        rows = RowCache(self._survivors, (*self._columns, MEMBERS), self._threads + 1)
        schema = exported_schema(self._columns, old_key)
        options = self._options
        writer = ShardWriter(
            self._survivors, self._folder, cut, naming, rows, schema, old_key, options.id_col, options.digest
        )
        steps = self._folder.names(WORK)

        def write(shard: int) -> tuple[Record, bool]:
            name = f"{shard:0{options.shard_digits}d}"
            if f"{name}.json" in steps and (record := recorded(self._folder, name)):
                return record, True
            record = writer.write(shard, name)
            record.keep(self._folder, name)
            return record, False

        return write

    def _is_planned(self, name: str, shards: int) -> bool:
        if name in (MANIFEST, RUN, TIMINGS) or name.startswith("ledger/"):
            return True
        number = name.partition(".")[0]
        return number.isdecimal() and len(number) == self._options.shard_digits and int(number) < shards

    def _summary(self, manifest: Mapping[str, Any], skipped: int) -> ExportSummary:
        counts = {name: manifest[name] for name in ("samples", "shards", "bytes", "renamed")}
        return ExportSummary(self.path, **counts, skipped=skipped, seconds=self._clock.seconds)


class _Clock:
    """Times the phases of an export."""

    def __init__(self) -> None:
        self._started = datetime.now(UTC)
        self._began = time.monotonic()
        self._phases: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @contextmanager
    def measured(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._phases[phase] = round(time.monotonic() - began, 3)

    def record(self) -> dict[str, Any]:
        """What ``timings.json`` says."""
        finished = datetime.now(UTC)
        return {
            "started": self._started.isoformat(timespec="seconds"),
            "finished": finished.isoformat(timespec="seconds"),
            "seconds": self._phases | {"total": round(self.seconds, 3)},
        }
