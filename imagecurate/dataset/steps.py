"""Adding steps: filters, masks, columns, joins, lists, stages."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import pandas as pd

from imagecurate.columns import IS_DUPLICATE, Frame
from imagecurate.dataset.core import Core, expanded
from imagecurate.dataset.opening import reaching
from imagecurate.dataset.yaml import entries_of, opening_of, text_of, write_text
from imagecurate.errors import ColumnNotFoundError, MaskError, ParameterError
from imagecurate.frame import belongs_to, mask_token, survivors_frame
from imagecurate.plan.alive_rows import AliveRows
from imagecurate.plan.plan import Plan
from imagecurate.plan.runs import run_dataset_stage
from imagecurate.plan.stage import CompositeStage, DatasetStage, Stage
from imagecurate.plan.steps import Filtering
from imagecurate.store import digest
from imagecurate.tables import IdList, Table

__all__ = ["Steps"]


class Steps(Core):
    """The methods that give a new dataset with another step in its plan; all are lazy, but dataset stages."""

    #: Arguments of ``from_webdataset`` beside the path; None for what was put together of datasets.
    _opened: Mapping[str, Any] | None = None

    def filter(self, condition: str | Frame, name: str | None = None) -> Self:
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

    def __getitem__(self, mask: Frame) -> Self:
        """Keep the samples that a mask selects; the same as ``filter(mask)``."""
        if isinstance(mask, str | list):
            raise ParameterError.because(
                f"a dataset is indexed by a mask, but got {mask!r}", f"for a column use ds.metadata[{mask!r}]"
            )
        return self.filter(mask)

    def with_column(self, name: str, expression: str) -> Self:
        """Add a column that an expression computes: flag instead of remove."""
        return self._with(plan=self._plan.with_column(name, expression))

    def join(
        self,
        path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        on: str | Sequence[str],
        columns: Sequence[str] | Mapping[str, str] | None = None,
        *,
        right_on: str | Sequence[str] | None = None,
        name: str | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Add columns of parquet files that lie elsewhere, looked up by an id.

        Lazy: reads the footers now, and rows when somebody asks for their columns, for the samples that are left there.
        Where the parquet is sorted by the id, or bucketed, that reads the row groups that hold a shard's ids; else an
        index of the parquet is built in the store once, in bounded memory.

        Parameters
        ----------
        path : path or list of paths
            A parquet, a folder, a glob, a brace pattern or several; local or a URL that fsspec knows.
        on : str or list of str
            Column of the dataset that holds the id (``"uid"``, ``"key"``, ``"url"``), or several that do together.  Ids
            are compared as text; an integer id matches a text that says the same number.
        columns : list of str, or mapping of str to str, optional
            Columns to add, or what to add them as: ``{"WIDTH": "laion_width"}``.  By default all but the id.
        right_on : str or list of str, optional
            What the id is called in the parquet, where that is another name.
        name : str, optional
            What ``counts()`` calls it; by default ``join on <on>``.
        storage_options : mapping, optional
            For fsspec; by default those of the dataset.

        Returns
        -------
        ImageTextPairDataset
            Samples without a match have nulls; ``counts()`` says how many (``unmatched``).  Of rows with the same id
            the first counts.

        Raises
        ------
        ColumnNotFoundError, ColumnExistsError
            A column is not there, or is there already.
        ParameterError
            A column is to be called like one that imagecurate writes itself, or an argument cannot be meant so.
        ShardError
            There is no parquet, or a damaged one, or one that may not be read.
        """
        options = self._work.storage_options if storage_options is None else dict(storage_options)
        names = [on] if isinstance(on, str) else on
        if not names or not isinstance(names, Sequence) or not all(isinstance(one, str) for one in names):
            raise ParameterError(f"join expects the name of a column, or a list of them, in on, but got {on!r}")
        with reaching(path):
            table = Table.open(expanded(path), right_on or names, columns, storage_options=options)
        if len(table.on) != len(names):
            raise ParameterError(f"join needs as many columns in right_on as in on, but got {right_on!r} and {on!r}")
        return self._with(plan=self._plan.with_join(table, names, name))

    def exclude(
        self, ids: Any, on: str, name: str | None = None, *, storage_options: Mapping[str, Any] | None = None
    ) -> Self:
        """Drop the samples whose id is on a list; one without an id stays.

        Parameters
        ----------
        ids : list, set, array, series or path
            The ids, or a file of them: ``.npy`` (also DataComp's subset files of ``u8,u8``), ``.parquet``, ``.csv`` or
            ``.txt`` with an id a line.
        on : str
            Column of the dataset that holds the id: ``"uid"``, ``"key"``, ``"sha256"``, ``"sample_id"``, ….
        name : str, optional
            What the ledger calls it; by default ``exclude(<on>)``.
        storage_options : mapping, optional
            For fsspec; by default those of the dataset.
        """
        return self._listed(ids, on, name, storage_options, keeps=False)

    def include(
        self, ids: Any, on: str, name: str | None = None, *, storage_options: Mapping[str, Any] | None = None
    ) -> Self:
        """Keep only the samples whose id is on a list; the opposite of `exclude`, with the same parameters.

        A sample without an id is dropped; the ledger says ``null``.
        """
        return self._listed(ids, on, name, storage_options, keeps=True)

    def pipe(self, *stages: Stage) -> Self:
        """Add stages, in order; ``ds.pipe(a, b)`` is ``b(a(ds))``.

        A stage that needs the columns of another, as a deduplicator its hashes, brings that along.
        """
        dataset = self
        for stage in stages:
            if not isinstance(stage, Stage):
                raise ParameterError.because(
                    f"pipe expects stages, but got {stage!r}",
                    "a stage is an object such as AestheticClassifier()" if isinstance(stage, type) else None,
                )
            dataset = dataset._with_required(stage)._piped(stage)
        return dataset

    def drop_duplicates(self) -> Self:
        """Drop the samples that some level of deduplication marked: ``filter("not is_duplicate", "duplicates")``."""
        taken = [step.name for step in self._plan.steps if isinstance(step, Filtering)]
        again = sum(name.partition(" (")[0] == "duplicates" for name in taken)
        return self.filter(f"not {IS_DUPLICATE}", name=f"duplicates ({again + 1})" if again else "duplicates")

    def to_yaml(
        self,
        path: str | os.PathLike[str],
        output: str | os.PathLike[str] = "curated",
        export: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the plan as a pipeline file: what was tried in a notebook, for ``imagecurate run`` and clusters.

        The file names the same shards, in the same way, and the same steps, so that it finds in the store what was
        computed here.  ``storage_options`` are not written: there may be secrets in them.

        Parameters
        ----------
        path : path
            The file.
        output : path, default="curated"
            Folder that a run of the pipeline writes.
        export : mapping, optional
            Options of ``to_webdataset``: ``{"samples_per_shard": 1000}``.

        Raises
        ------
        ParameterError
            A step is known only to this program: a raw mask, ids that were given in Python, a stage that is not
            installed; or the dataset was put together of others.
        OutputError
            The file cannot be written.
        """
        values = {**opening_of(self.path, self._opened), "output": os.fspath(output)}
        values |= {"stages": entries_of(self._plan.steps)} if self._plan.steps else {}
        write_text(path, text_of(values | ({"export": dict(export)} if export else {})))

    def _opened_with(self, **arguments: Any) -> Self:
        """Remember how the shards were opened, for `to_yaml`."""
        self._opened = arguments
        return self

    def _with(self, plan: Plan, survivors: tuple[Frame, ...] | None = None) -> Self:
        dataset = super()._with(plan, survivors)
        dataset._opened = self._opened
        return dataset

    def _piped(self, stage: Stage) -> Self:
        if isinstance(stage, CompositeStage):
            return stage.added_to(self)  # type: ignore[arg-type, return-value]  # there is one class of datasets
        if not isinstance(stage, DatasetStage):
            return self._with(plan=self._plan.with_stage(stage))
        rows = self.fingerprint
        dataset = self._with(plan=self._plan.with_stage(stage, rows))
        self._run(f"computing what {type(stage).__name__} reads", None)
        run_dataset_stage(self._ready, dataset._ready, stage, self._shards)
        return dataset

    def rows_for(self, stage: DatasetStage) -> AliveRows:
        """The rows that would reach a dataset stage, what it reads computed, for stages that look first."""
        dataset = self._with_required(stage)
        dataset._plan.check_reads(stage)
        dataset._run(f"computing what {type(stage).__name__} reads", None)
        folder = dataset._work.store.scratch(f"look-{digest([dataset.fingerprint, stage.identity()])}")
        return AliveRows(dataset._ready, dataset._shards, stage.reads(), folder)

    def _with_required(self, stage: Stage) -> Self:
        dataset = self
        for required in stage.requires():
            if not required.adds().keys() <= dataset._plan.schema.keys():
                dataset = dataset.pipe(required)
        return dataset

    def _listed(
        self, ids: Any, on: str, name: str | None, storage_options: Mapping[str, Any] | None, *, keeps: bool
    ) -> Self:
        options = self._work.storage_options if storage_options is None else dict(storage_options)
        if not isinstance(on, str):
            raise ParameterError(f"a list of ids expects the name of one column in on, but got {on!r}")
        if on not in self._plan.schema:
            raise ColumnNotFoundError.among(on, self._plan.schema)
        with reaching(ids if isinstance(ids, str | os.PathLike) else "a list of ids"):
            listed = IdList.open(expanded(ids), on, self._work.store.tables, storage_options=options)
        return self._with(plan=self._plan.with_list(on, listed, name, keeps=keeps))

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
