"""Export kept samples as new shards: planned first, copied byte for byte, resumable."""

from __future__ import annotations

import logging
import os
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imagecurate.columns import KEY
from imagecurate.export.failures import writing
from imagecurate.export.keys import Naming, ToldApart
from imagecurate.export.layout import Layout
from imagecurate.export.ledger import write_ledger
from imagecurate.export.occupancy import CLAIM, MANIFEST, RUN, TIMINGS, check_foreign
from imagecurate.export.planning import Options, plan_export
from imagecurate.export.records import FileRecord, Manifest, Record, read_json, to_json
from imagecurate.export.request import FORMAT, Request, turn_at
from imagecurate.export.shard_writer import ShardWriter
from imagecurate.export.spread import spread
from imagecurate.export.survivors import MEMBERS
from imagecurate.export.tables import RowCache, exported_schema, free_name
from imagecurate.plan.execute import share_out
from imagecurate.plan.outcome import PassStats
from imagecurate.plan.ranks import turn, working_rank
from imagecurate.remote import StorageOptions

if TYPE_CHECKING:
    from imagecurate.export.survivors import Survivors
    from imagecurate.store.writing import StorePath

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
    export = _Export(survivors, Request.of(survivors, path, options, threads, durable, storage_options))
    return export.run(run_record or {}, progress)


class _Export:
    """The phases of one export: begin, plan, write.

    Of several ranks each plans by itself, all write shards, and the first that finds every shard written does the rest.
    """

    def __init__(self, survivors: Survivors, request: Request) -> None:
        self._survivors = survivors
        self._request = request
        self._options = request.options
        self._folder = request.folder
        self._columns = survivors.rows.columns
        self._clock = _Clock()
        #: Whether what lies unfinished in the folder is worth going on with; None where nothing is to be done about it.
        self._keep: bool | None = None

    def run(self, run_record: Mapping[str, Any], progress: Callable[[int, int], None] | None) -> ExportSummary:
        """Do all of it."""
        request, is_rank = self._request, working_rank() is not None
        try:
            with self._turn():
                self._keep = self._folder.claim(shared=is_rank) or is_rank  # others may write already
                summary = self._known()
                if summary is not None:
                    self._release(keep=False)
                    return summary
            with tempfile.TemporaryDirectory(prefix="export-", dir=self._survivors.scratch) as scratch:
                with self._clock.measured("plan"):
                    layout = plan_export(self._survivors, self._options, request.threads, Path(scratch))
                with writing(request.path):
                    begun = self._begin(layout)
                    write = self._writer(layout.naming)
                    if begun is not None:
                        self._share_out(_Shares(write, layout, begun))
                    with self._turn():
                        summary = self._known()
                        if summary is None:
                            summary = self._finish(layout, write, Path(scratch), run_record, progress)
                        self._release(keep=False)
            return summary
        finally:
            if self._keep is not None:
                self._release(keep=self._keep)

    def _turn(self) -> AbstractContextManager[None]:
        """Of several ranks, one at a time."""
        return turn(self._survivors.store, turn_at(self._request.path))

    def _release(self, *, keep: bool) -> None:
        self._keep = None
        self._folder.release(keep=keep)

    def _known(self) -> ExportSummary | None:
        """The summary, where this very export is complete already."""
        manifest = self._request.finished()
        return None if manifest is None else self._summary(manifest, skipped=manifest["shards"])

    def _begin(self, layout: Layout) -> StorePath | None:
        """Mark the folder as taken by this export; give the folder where ranks share it out, None where it is done."""
        with self._turn():
            if self._known() is not None:
                return None
            claim = read_json(self._folder, CLAIM)
            if claim is None:
                check_foreign(self._folder, self._request.path, lambda name: self._is_planned(name, len(layout)))
                claim = {"fingerprint": self._request.fingerprint, "begun": uuid.uuid4().hex}
                self._folder.write(CLAIM, to_json(claim))
            self._keep = True
        begun = claim.get("begun", self._request.fingerprint)  # what an earlier release began does not say
        return self._survivors.store / "claims" / f"export-{begun}"

    def _share_out(self, shares: _Shares) -> None:
        """Write the shards together with the other ranks."""
        try:
            share_out(shares, range(len(shares.layout)), self._request.threads)
        except OSError:
            # A rank that stood still for so long that others took it for dead finds nothing to write to, but all done.
            with self._turn():  # who finished has it until the folder is cleared
                if self._known() is None:
                    raise

    def _finish(
        self,
        layout: Layout,
        write: ShardWriter,
        scratch: Path,
        run_record: Mapping[str, Any],
        progress: Callable[[int, int], None] | None,
    ) -> ExportSummary:
        """Write the shards that are not there yet, ledger and records, the manifest last."""
        folder, digest, threads = self._folder, self._options.digest, self._request.threads
        renamed = skipped = samples = 0
        outputs = (layout[number] for number in range(len(layout)))
        with (scratch / "files").open("w+b") as spool:
            manifest = Manifest(spool, digest)
            with self._clock.measured("shards"):
                for record, was_there in spread(folder, self._request.path, threads, write, outputs):
                    manifest.add(record.files)
                    renamed += record.count
                    skipped += was_there
                    samples += record.files[0].samples
                    if progress is not None:
                        progress(samples, layout.cut.samples)
            with self._clock.measured("ledger"):
                manifest.add(write_ledger(self._survivors, folder, digest, threads))
            export = asdict(self._options) | {"renamed": renamed}
            run = folder.write(RUN, to_json({"export": export} | dict(run_record)), digest)
            manifest.add([FileRecord.of(run, samples)])
            head = {
                "format": FORMAT,
                "fingerprint": self._request.fingerprint,
                "samples": samples,
                "shards": len(layout),
                "bytes": manifest.bytes,
                "renamed": renamed,
                "digest": digest,
            }
            folder.write(TIMINGS, to_json(self._clock.record()))
            manifest.write(folder, MANIFEST, head)
        if renamed and layout.clashes is not None:
            _log.warning("%d samples share their keys with others and were told apart by source and shard", renamed)
        return self._summary(head, skipped)

    def _writer(self, naming: Naming) -> ShardWriter:
        rows, options = self._survivors.rows, self._options
        old_key = free_name("original_key", self._columns) if isinstance(naming, ToldApart) else options.old_id_col
        schema = exported_schema(self._columns, old_key)
        cached = RowCache(rows, (*self._columns, MEMBERS), self._request.threads)
        return ShardWriter(rows, cached, self._folder, naming, schema, old_key, options.id_col, options.digest)

    def _is_planned(self, name: str, shards: int) -> bool:
        if name in (MANIFEST, RUN, TIMINGS) or name.startswith("ledger/"):
            return True
        number = name.partition(".")[0]
        return number.isdecimal() and len(number) == self._options.shard_digits and int(number) < shards

    def _summary(self, manifest: Mapping[str, Any], skipped: int) -> ExportSummary:
        counts = {name: manifest[name] for name in ("samples", "shards", "bytes", "renamed")}
        return ExportSummary(self._request.path, **counts, skipped=skipped, seconds=self._clock.seconds)


@dataclass(frozen=True)
class _Shares:
    """Output shards by their numbers, as ranks share them out."""

    write: ShardWriter
    layout: Layout
    claims: StorePath

    def claimed_as(self, item: int) -> str:
        return f"{item:09d}"

    def __call__(self, item: int) -> tuple[Record, PassStats]:
        record, _ = self.write(self.layout[item])
        return record, PassStats()

    def in_pieces(self, item: int) -> None:
        """Nothing: a copy kills no process."""


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
