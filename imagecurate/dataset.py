"""The dataset: shards, a plan, and a lazy dataframe of the rows that survive it."""

from __future__ import annotations

import dataclasses
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pandas as pd
import pyarrow as pa

from imagecurate.backend.cpu import meta_frame
from imagecurate.columns import IDENTITY, Frame
from imagecurate.errors import ColumnNotFoundError, MaskError, MissingDependencyError, ParameterError
from imagecurate.export import ExportSummary, MetadataSummary, check_export
from imagecurate.export import save_metadata as export_metadata
from imagecurate.export import to_webdataset as export_webdataset
from imagecurate.frame import (
    ShardList,
    belongs_to,
    ledger_frame,
    mask_token,
    metadata_frame,
    settle_mask,
    survivors_frame,
)
from imagecurate.images import DecodePolicy
from imagecurate.plan.execute import connected_client, in_order
from imagecurate.plan.ledger import StepCounts, step_names
from imagecurate.plan.outcome import PassStats
from imagecurate.plan.runs import CountSamples, FirstRows, RunShard, Survivors, run_dataset_stage, run_record
from imagecurate.plan.sampling import sample_rows
from imagecurate.plan.shard_state import Work
from imagecurate.plan.stage import DatasetStage, Stage
from imagecurate.plan.steps import FilterStep, MaskStep, Plan
from imagecurate.progress import Progress
from imagecurate.shards import discover_schema, find_shards
from imagecurate.store import digest
from imagecurate.workdir import open_store

__all__ = ["ImageTextPairDataset", "read_webdataset"]

_log = logging.getLogger(__name__)


class ImageTextPairDataset:
    """Image-text samples in tar shards, with a dataframe of one row a sample.

    Made by :meth:`from_webdataset`.  Every method that adds to the plan gives a new dataset; nothing is computed until
    somebody looks (``head``, ``counts``, ``metadata.compute()``) or asks (``compute``, ``save_metadata``,
    ``to_webdataset``), except a dataset stage, which needs all rows and runs when it is called.
    """

    def __init__(
        self,
        path: Any,
        id_col: str,
        shards: ShardList,
        work: Work,
        survivors: tuple[Frame, ...] = (),
    ) -> None:
        self.path = path
        self.id_col = id_col
        self._shards = shards
        self._work = work
        self._survivors = survivors  # rows left by each raw mask of the plan
        self.last_run: PassStats | None = None

    @classmethod
    def from_webdataset(
        cls,
        path: str | os.PathLike[str] | Sequence[Any] | Mapping[str, Any],
        id_col: str = "key",
        metadata: Literal["auto", "parquet", "json", "none"] = "auto",
        workdir: str | os.PathLike[str] | None = "auto",
        backend: Literal["auto", "pandas", "cudf"] = "auto",
        storage_options: Mapping[str, Any] | None = None,
        *,
        schema: Mapping[str, Any] | None = None,
        decode_policy: DecodePolicy | None = None,
        shard_identity: Literal["mtime", "size"] = "mtime",
    ) -> ImageTextPairDataset:
        """Open tar shards.

        Finds the shards and reads a few footers to know the columns; no image is touched.

        Parameters
        ----------
        path : str, path, list or mapping
            A folder, a glob, a brace pattern (``data/{00000..00127}.tar``), a list of these, or a mapping from the name
            of a source to any of these; local or a URL that fsspec knows.
        id_col : str, default="key"
            Column of the parquet or JSON that equals the tar key.
        metadata : {"auto", "parquet", "json", "none"}, default="auto"
            Where columns come from: the parquet beside each tar, and JSON in it for the fields that no parquet has;
            only the one; only the other; none but the caption.
        workdir : path or None, default="auto"
            Folder where computed columns are kept.  By default a cache folder for these shards; with None a temporary
            one that is removed at exit.
        backend : {"auto", "pandas", "cudf"}, default="auto"
            Data frame library of ``metadata``.
        storage_options : mapping, optional
            For fsspec.  Never part of a fingerprint, a repr or a run record.
        schema : mapping of str to type, optional
            Types of incoming columns (``{"width": "int32"}``) that override those found.
        decode_policy : DecodePolicy, optional
            Bounds on pixels and time, and whether truncated files are accepted.
        shard_identity : {"mtime", "size"}, default="mtime"
            How an unchanged shard is recognised: by name, size and modification time (or etag), or, for data that is
            copied about, by name and size.

        Raises
        ------
        ShardError
            Nothing is found at ``path``.
        ParameterError
            An argument is out of range.
        MissingDependencyError
            The backend is not installed.
        """
        if backend not in ("auto", "pandas", "cudf"):
            raise ParameterError(f"backend must be 'auto', 'pandas' or 'cudf', but is {backend!r}")
        if backend == "cudf":
            raise MissingDependencyError.for_feature("reading a dataset as cuDF", "cuDF", "cuda13")
        if decode_policy is not None and not isinstance(decode_policy, DecodePolicy):
            raise ParameterError.because(
                f"decode_policy must be a DecodePolicy, but is {decode_policy!r}", "DecodePolicy(max_pixels=…)"
            )
        options = dict(storage_options or {}) or None
        shards = ShardList(find_shards(path, storage_options=options, identity=shard_identity))
        input_schema = discover_schema(shards, id_col=id_col, metadata=metadata, schema=schema, storage_options=options)
        identity = [pa.field(name, pa.string()) for name in IDENTITY]
        inputs = pa.schema([*identity, *(pa.field(name, kind) for name, kind in input_schema.fields.items())])
        plan = Plan(inputs, digest([input_schema.metadata, input_schema.id_col]), decode_policy or DecodePolicy())
        return cls(path, id_col, shards, Work(plan, input_schema, open_store(workdir, path), options))

    @property
    def metadata(self) -> Frame:
        """Dask dataframe of the surviving rows, one partition a shard; lazy."""
        return self._frame()[list(self._plan.schema)]

    @metadata.setter
    def metadata(self, frame: Frame) -> None:
        raise ParameterError.because(
            "metadata cannot be assigned: a frame without its history has no ledger",
            "use ds.filter(...), ds[mask], ds.with_column(...) or a stage",
        )

    @property
    def tar_files(self) -> list[str]:
        """Paths or URLs of the shards, in order."""
        return [shard.url for shard in self._shards]

    @property
    def columns(self) -> list[str]:
        """Names of all columns."""
        return list(self._plan.schema)

    def __len__(self) -> int:
        """Number of input samples.  Indexes shards that nobody looked at yet; decodes nothing."""
        return sum(in_order(CountSamples(self._ready), self._shards))

    def __bool__(self) -> bool:
        return True  # ``if ds:`` must not index every shard to find out

    def __repr__(self) -> str:
        lines = [f"ImageTextPairDataset of {len(self._shards)} shards", f"  columns: {', '.join(self.columns)}"]
        lines += [f"  {kind}: {name}" for kind, name in step_names(self._plan)[1:]]
        return "\n".join(lines)

    def filter(self, condition: str | Frame, name: str | None = None) -> ImageTextPairDataset:
        """Keep the samples for which a condition holds.

        Parameters
        ----------
        condition : str or Dask series of bool
            An expression (see ``docs/filters.md``), or a mask built from this dataset's ``metadata``.  Null never
            passes.
        name : str, optional
            What the ledger calls the filter: by default the expression's text, or ``mask-1``, ….

        Raises
        ------
        ExpressionError, ColumnNotFoundError
            The expression is not well formed, or names a column that is not there.
        MaskError
            The mask was built from another dataset, or is not boolean.
        """
        if isinstance(condition, str):
            return self._with(plan=self._plan.with_filter(condition, name))
        self._check_mask(condition)
        survivors = survivors_frame(self._frame(), condition)
        plan = self._plan.with_mask(digest([self._plan.fingerprint, mask_token(condition)]), name)
        return self._with(plan=plan, survivors=(*self._survivors, survivors))

    def __getitem__(self, mask: Frame) -> ImageTextPairDataset:
        """Keep the samples that a mask selects; the same as ``filter(mask)``."""
        if isinstance(mask, str | list):
            raise ParameterError.because(
                f"a dataset is indexed by a mask, but got {mask!r}", f"for a column use ds.metadata[{mask!r}]"
            )
        return self.filter(mask)

    def with_column(self, name: str, expression: str) -> ImageTextPairDataset:
        """Add a column that an expression computes: flag instead of remove."""
        return self._with(plan=self._plan.with_column(name, expression))

    def pipe(self, *stages: Stage) -> ImageTextPairDataset:
        """Add stages, in order; ``ds.pipe(a, b)`` is ``b(a(ds))``."""
        dataset = self
        for stage in stages:
            if not isinstance(stage, Stage):
                raise ParameterError.because(
                    f"pipe expects stages, but got {stage!r}",
                    "a stage is an object such as AestheticClassifier()" if isinstance(stage, type) else None,
                )
            dataset = dataset._piped(stage)
        return dataset

    def compute(self, *, progress: bool | None = None) -> ImageTextPairDataset:
        """Compute every column of every surviving sample into the store, with progress, and return this dataset."""
        self._run("computing", progress)
        return self

    def counts(self) -> pd.DataFrame:
        """The waterfall: for the shards and each step, samples dropped, failed, and left.

        Computes what is not in the store.

        Returns
        -------
        pandas.DataFrame
            One row a step, with ``kind``, ``step``, ``dropped``, ``null`` (of the dropped, those where the filter's
            value was null), ``failed`` and ``left``.
        """
        return _waterfall(self._plan, self._run("counting", None))

    def head(self, n: int = 5) -> pd.DataFrame:
        """The first ``n`` surviving rows; decodes no more pictures than that takes."""
        _check_rows(n, "head")
        frames = [meta_frame(self._plan.schema)]
        for number in range(len(self._shards)):
            if n <= 0:
                break
            frames.append(self._first(number, n))
            n -= len(frames[-1])
        return pd.concat(frames, ignore_index=True)

    def sample(self, n: int, seed: int = 0) -> pd.DataFrame:
        """``n`` surviving rows drawn at random, without replacement; looks at about as many pictures as that takes.

        Fewer rows survive: all of them, in random order.
        """
        _check_rows(n, "sample")
        _check_rows(seed, "seed")
        self._settle()
        return sample_rows(self._ready, self._shards, n, seed)

    def ledger(self) -> Frame:
        """Dask dataframe with one row for each input sample: kept, dropped or failed, and why.

        Columns ``sample_id, source, shard, key, status, reason, detail``; lazy, but for the rows of raw masks, which
        are computed now.  The first event in plan order decides.  ``reason`` is the filter's name or what failed;
        ``detail`` is ``"null"`` where a filter had no value.
        """
        self._settle()
        return ledger_frame(self._ready, self._shards)

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
        survivors = Survivors(self._ready, self._shards)
        return export_metadata(survivors, _expanded(path), columns, storage_options=self._work.storage_options)

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
        place = _expanded(path)
        check_export(survivors, place, **options)  # before hours of work, not after
        chosen._warn_of_unseen_duplicates()
        counts = chosen._run("computing", progress)
        self.last_run = chosen.last_run
        record = run_record(chosen._ready, chosen._shards, counts)
        with Progress("writing", 0, progress) as bar:
            return export_webdataset(
                survivors, place, **options, durable=durable, progress=bar.written, run_record=record
            )

    @property
    def _plan(self) -> Plan:
        return self._work.plan

    @property
    def _ready(self) -> Work:
        """The work with every stage's fingerprint: looks at model weights, here and not on each worker."""
        return dataclasses.replace(self._work, plan=self._plan.resolved)

    def _with(self, plan: Plan, survivors: tuple[Frame, ...] | None = None) -> ImageTextPairDataset:
        work = dataclasses.replace(self._work, plan=plan)
        kept = self._survivors if survivors is None else survivors
        return ImageTextPairDataset(self.path, self.id_col, self._shards, work, kept)

    def _piped(self, stage: Stage) -> ImageTextPairDataset:
        if not isinstance(stage, DatasetStage):
            return self._with(plan=self._plan.with_stage(stage))
        rows = digest([self._plan.fingerprint, self._shards.token])
        dataset = self._with(plan=self._plan.with_stage(stage, rows))
        self._run(f"computing what {type(stage).__name__} reads", None)
        run_dataset_stage(self._ready, dataset._ready, stage, self._shards)
        return dataset

    def _frame(self) -> Frame:
        masks = [number for number, step in enumerate(self._plan.steps) if isinstance(step, MaskStep)]
        survivors = self._survivors[-1] if masks else None
        return metadata_frame(self._ready, self._shards, survivors, masks[-1] + 1 if masks else 0)

    def _first(self, number: int, n: int) -> pd.DataFrame:
        if not self._survivors:
            return FirstRows(self._ready)(self._shards[number], n)
        return self.metadata.partitions[number].compute().head(n)  # a raw mask is known for whole shards only

    def _check_mask(self, mask: Frame) -> None:
        if not hasattr(mask, "expr") or getattr(mask, "ndim", 0) != 1:
            raise MaskError.because(
                f"a filter is an expression or a mask (a Dask series of booleans), but got {type(mask).__name__}",
                "write ds.filter('width >= 256') or ds[ds.metadata['width'] >= 256]",
            )
        if not pd.api.types.is_bool_dtype(mask.dtype):
            raise MaskError.because(f"a mask must be boolean, but is of type {mask.dtype}", "compare it with something")
        if not belongs_to(mask, self._shards):
            raise MaskError.because(
                "the mask was not built from this dataset's metadata, so its rows cannot be told",
                "build it from ds.metadata without moving its rows (persist, reset_index, sort, partitions[...]), or "
                "write the filter as an expression",
            )

    def _settle(self) -> None:
        """Put the rows of every raw mask into the store, where any task can find them."""
        steps = [step for step in self._plan.steps if isinstance(step, MaskStep)]
        for step, survivors in zip(steps, self._survivors, strict=True):
            settle_mask(self._work.store, step.token, survivors, self._shards)

    def _run(self, title: str, progress: bool | None) -> StepCounts:
        self._settle()
        remote = connected_client() is not None
        counts = StepCounts(self._plan)
        with Progress(title, len(self._shards), progress) as bar:
            run = RunShard(self._ready, None if remote else bar.block)
            for shard_counts, stats in in_order(run, self._shards):
                counts.add(shard_counts)
                bar.shard(stats)
        self.last_run = bar.stats
        _tell_unjoined(counts.noticed, self.id_col)
        return counts

    def _where_true(self, column: str) -> ImageTextPairDataset:
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


read_webdataset = ImageTextPairDataset.from_webdataset


def _tell_unjoined(noticed: Mapping[str, int], id_col: str) -> None:
    """Say in the log that the metadata does not belong to the samples: every column of it is null then."""
    if noticed.get("parquet_unreadable"):
        _log.warning(
            "the parquet of %d shards cannot be read; its columns are null there", noticed["parquet_unreadable"]
        )
    if noticed.get("parquet_rows") and noticed["samples"] == noticed["samples_without_parquet_row"]:
        _log.warning(
            "no row of the parquet beside the tars has the key of a sample, so all its columns are null; id_col=%r may "
            "be the wrong column",
            id_col,
        )


def _expanded(path: Any) -> Any:
    """A path with ``~`` made out; what is no path is told by the export."""
    return os.path.expanduser(path) if isinstance(path, str | os.PathLike) else path  # noqa: PTH111 - URLs are no paths


def _check_rows(number: Any, what: str) -> None:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ParameterError(f"{what} takes a whole number of at least 0, but got {number!r}")


def _waterfall(plan: Plan, counts: StepCounts) -> pd.DataFrame:
    rows = []
    left = counts.samples
    for (kind, name), dropped, null, failed in zip(
        step_names(plan), counts.dropped, counts.null, counts.failed, strict=True
    ):
        left -= int(dropped + failed)
        rows.append((kind, name, int(dropped), int(null), int(failed), left))
    return pd.DataFrame(rows, columns=["kind", "step", "dropped", "null", "failed", "left"])
