"""A whole curation as a file: input, stages, export.

A pipeline is YAML.  It is checked before anything runs, each error names file and line, and running one can execute no
code but stages that are installed: ours, and those that packages offer in the entry-point group ``imagecurate.stages``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, field_validator
from pydantic_core import PydanticUseDefault

from imagecurate.dataset import ImageTextPairDataset
from imagecurate.dataset.yaml import changed_fields, text_of, write_text
from imagecurate.errors import (
    ColumnExistsError,
    ColumnNotFoundError,
    MissingDependencyError,
    OutputError,
    ParameterError,
    near_miss,
)
from imagecurate.export import ExportSummary, check_export
from imagecurate.images import DecodePolicy
from imagecurate.pipeline.record import PlanRecord
from imagecurate.pipeline.rehearsal import Rehearsal, rehearsed
from imagecurate.pipeline.settings import with_settings
from imagecurate.pipeline.source import Source, read
from imagecurate.pipeline.steps import Filter, Step, step_entry, step_of, title_of
from imagecurate.plan.ranks import working_rank
from imagecurate.plan.runs import Survivors
from imagecurate.shards.types import stated_type
from imagecurate.workdir import named_folder

__all__ = ["ExportOptions", "Pipeline"]

#: YAML's yes is no count of 1.
_Count = Annotated[int, Field(gt=0, strict=True)]


class ExportOptions(BaseModel):
    """The ``export`` part of a pipeline; see ``ImageTextPairDataset.to_webdataset``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter_column: str | None = None
    samples_per_shard: _Count = 10_000
    bytes_per_shard: Annotated[int, Field(ge=10_240, strict=True)] | None = None  # the smallest tar
    shard_digits: Annotated[int, Field(gt=0, le=18, strict=True)] = 5  # more than there can be shards
    old_id_col: str | None = None
    digest: Literal["xxh3_128", "sha256"] = "xxh3_128"
    durable: bool = False


class Pipeline(BaseModel):
    """A curation: where samples come from, the stages in order, where the result goes.

    Paths are relative to the folder in which the program runs.

    Parameters
    ----------
    stages : list
        Stages, the steps ``Filter``, ``WithColumn``, ``Join``, … of ``imagecurate.pipeline``, or their entries as in a
        file: ``"ThumbnailEmbedder"``, ``{"Filter": {"expr": "width >= 200"}}``.
    input, output, …
        The keys of a file; ``docs/pipeline.md`` has them all.  Without them the pipeline can still be called with a
        dataset.

    Raises
    ------
    ParameterError
        An unknown key, stage or parameter, or a wrong type; from a file with file and line.

    Examples
    --------
    >>> Pipeline([{"Filter": {"expr": "width >= 200"}}], input="data", output="out").stages
    [Filter(expr='width >= 200', name=None)]
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    input: str | list[str] | dict[str, str | list[str]] | None = None
    output: str | None = None
    workdir: str | None = "auto"
    id_col: str = "key"
    metadata: Literal["auto", "parquet", "json", "none"] = "auto"
    backend: Literal["auto", "pandas", "cudf"] = "auto"
    input_schema: dict[str, str] | None = Field(None, alias="schema")
    decode_policy: DecodePolicy | None = None
    shard_identity: Literal["mtime", "size"] = "mtime"
    images: Literal["first", "all"] = "first"
    storage_options: dict[str, Any] | None = Field(None, repr=False)
    stages: list[Any] = []
    export: ExportOptions = ExportOptions()

    _source: Source = Source()

    def __init__(self, stages: Iterable[Any] | None = None, **values: Any) -> None:
        self._make(values if stages is None else {"stages": stages, **values}, Source())

    @field_validator("stages", "export", mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        if value is None:
            raise PydanticUseDefault
        return value

    @field_serializer("stages")
    def _entries(self, steps: list[Step]) -> list[Any]:
        return [step_entry(step) for step in steps]

    @field_validator("workdir")
    @classmethod
    def _can_be_a_workdir(cls, workdir: str | None) -> str | None:
        if workdir not in (None, "auto"):
            named_folder(workdir)
        return workdir

    @field_validator("input_schema")
    @classmethod
    def _has_types(cls, schema: dict[str, str] | None) -> dict[str, str] | None:
        for column, kind in (schema or {}).items():
            stated_type(column, kind)
        return schema

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], *, settings: Sequence[str] = ()) -> Pipeline:
        """Read and check a pipeline file.

        Parameters
        ----------
        path : path
        settings : sequence of str
            Values that take the place of those in the file: ``"stages.0.batch_size=64"``.

        Raises
        ------
        ParameterError, ExpressionError, StageError
            What is wrong, with file and line.
        """
        values, source = read(path)
        values, changed = with_settings(values, settings)
        pipeline = cls.__new__(cls)
        pipeline._make(values, Source(source.path, source.root, changed))
        return pipeline

    def to_yaml(self, path: str | os.PathLike[str]) -> None:
        """Write the pipeline to a file from which `from_yaml` makes an equal one; never ``storage_options``.

        Raises
        ------
        ParameterError
            A stage is not installed, or holds what no file can.
        OutputError
            The file cannot be written.
        """
        write_text(path, text_of(self.values()))

    def values(self) -> dict[str, Any]:
        """Give what a file says of this pipeline: the keys that are not at their default, but no storage options."""
        given: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name not in ("stages", "export", "storage_options") and value != field.default:
                given[field.alias or name] = changed_fields(value) if isinstance(value, DecodePolicy) else value
        if self.stages:
            given["stages"] = self._entries(self.stages)
        export = self.export.model_dump(exclude_defaults=True)
        return given | ({"export": export} if export else {})

    def __call__(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Add the steps to a dataset that is open already, checked to the last before the first one runs."""
        return rehearsed(dataset, self.stages, self._naming).dataset(self.stages, self._naming)

    def open(self) -> ImageTextPairDataset:
        """Open the input; no step is added.

        Raises
        ------
        ImageCurateError
            As ``from_webdataset`` does; with file and line where the pipeline came from a file.
        """
        if self.input is None:
            raise ParameterError.because(
                "this pipeline has no input", "Pipeline([…], input='data', output='curated'), or call it with a dataset"
            )
        others = {ColumnNotFoundError: "id_col", MissingDependencyError: "backend", OutputError: "workdir"}
        with self._source.naming("input", but=others):
            return ImageTextPairDataset.from_webdataset(
                self.input,
                id_col=self.id_col,
                metadata=self.metadata,
                workdir=self.workdir,
                backend=self.backend,
                storage_options=self.storage_options,
                schema=self.input_schema,
                decode_policy=self.decode_policy,
                shard_identity=self.shard_identity,
                images=self.images,
            )

    def rehearse(self, until: str | None = None) -> Rehearsal:
        """Open the input and plan every step, so that whatever does not fit is told before anything runs.

        Parameters
        ----------
        until : str, optional
            Plan no further than this step.

        Raises
        ------
        ImageCurateError
            As ``from_webdataset``, ``filter``, ``with_column`` or the stage does; with file and line where the
            pipeline came from a file.
        """
        return rehearsed(self.open(), self.steps(until), self._naming)

    def dataset(self, until: str | None = None) -> ImageTextPairDataset:
        """The dataset with all steps added, or those up to one; nothing but dataset stages is computed.

        Parameters
        ----------
        until : str, optional
            Add no step behind this one: its number from 0, the name of its filter or column, or of its class.

        Raises
        ------
        ImageCurateError
            As `rehearse`, before anything runs; or a stage failed.
        """
        return self.rehearse(until).dataset(self.steps(until), self._naming)

    def run(
        self, *, progress: bool | None = None, until: str | None = None, rehearsal: Rehearsal | None = None
    ) -> tuple[ImageTextPairDataset, ExportSummary | None]:
        """Compute everything and write the output folder.

        Parameters
        ----------
        progress : bool, optional
            See ``ImageTextPairDataset.compute``.
        until : str, optional
            Compute no further than this step, and write no output; see `dataset`.
        rehearsal : Rehearsal, optional
            What `rehearse` gave, where that was asked for before, and `check_output` as well.

        Returns
        -------
        dataset : ImageTextPairDataset
            Of what was written.
        summary : ExportSummary or None
            None where nothing was to be written.
        """
        if rehearsal is None:
            rehearsal = self.rehearse(until)
            self.check_output(rehearsal, until)
        output = self.output if until is None else None
        with PlanRecord.begin(rehearsal.planned(), output, self._source.path).ending():
            dataset = rehearsal.dataset(self.steps(until), self._naming)
            if output is None:
                return dataset.compute(progress=progress), None
            return dataset, dataset.to_webdataset(output, progress=progress, **self._export_options)

    def check_output(self, rehearsal: Rehearsal, until: str | None = None) -> None:
        """Raise what writing the output would raise, before days of work; nothing is left there.

        Parameters
        ----------
        rehearsal : Rehearsal
        until : str, optional
            The step behind which nothing is computed: then no output is written.

        Raises
        ------
        OutputError
            The input lies there, or another export, or it cannot be written.
        ParameterError, ColumnExistsError
            An option of the export does not fit; with file and line, as the others.
        """
        if self.output is None or until is not None or working_rank() is not None:  # ranks would hinder each other
            return
        planned = rehearsal.planned()
        survivors = Survivors(planned._ready, planned._shards)
        with self._source.naming("output", but={ColumnExistsError: "export"}):
            check_export(
                survivors,
                self.output,
                id_col=self.id_col,
                storage_options=self.storage_options,
                **self._export_options,
            )

    def steps(self, until: str | None = None) -> list[Step]:
        """Give the steps, up to one if that is asked for; to the end, the filter of the export is one of them."""
        if until is not None:
            return list(self.stages[: self._number_of(until) + 1])
        return [*self.stages, *self._filter_of_export()]

    def place_of(self, number: int) -> str:
        """Give ``file:line: `` of a step; empty for a pipeline that was made in Python."""
        return "" if self._source.root is None else f"{self._source.at(*self._part(number))}: "

    def _make(self, values: dict[str, Any], source: Source) -> None:
        """Check what was given and take it on; ``__init__`` with a place for each mistake."""
        values = {str(name): value for name, value in values.items()}
        stages = values.get("stages")
        steps: Any = stages
        if isinstance(stages, list | tuple):
            steps = []
            for number, entry in enumerate(stages):
                with source.naming("stages", number):
                    steps.append(step_of(entry))
        try:
            super().__init__(**values | ({} if stages is None else {"stages": steps}))
        except ValidationError as error:
            keys = {
                "": [field.alias or name for name, field in type(self).model_fields.items()],
                "export": ExportOptions.model_fields,
                "decode_policy": [field.name for field in fields(DecodePolicy)],
            }
            raise source.error(error, values, keys) from None
        for name in ("input", "output") if source.root is not None else ():
            if values.get(name) is None:
                raise ParameterError(f"{source.at(name)}: the key {name!r} is missing")
        self._source = source

    def _filter_of_export(self) -> list[Step]:
        column = self.export.filter_column
        if column is None:
            return []
        taken = {step.name or step.expr for step in self.stages if isinstance(step, Filter)}
        quoted = column.replace("`", "``")
        return [Filter(f"`{quoted}`", None if column in taken else column)]

    @property
    def _export_options(self) -> dict[str, Any]:
        return self.export.model_dump(exclude={"filter_column"})

    def _number_of(self, name: str) -> int:
        """Number of the step that is called so."""
        names = [(title_of(step), type(step).__name__) for step in self.stages]
        found = [number for number, titles in enumerate(names) if name in titles]
        if name.isdecimal() and int(name) < len(names):
            found = [int(name)]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{number} {title}" for number, (title, _) in enumerate(names)) or "none"
        what = "no step" if not found else "more than one step"
        guess = near_miss(name, [title for titles in names for title in titles]) if not found else None
        hint = f"did you mean {guess!r}?" if guess else "name it by its number"
        raise ParameterError.because(f"there is {what} called {name!r}; there are {known}", hint)

    def _naming(self, number: int) -> AbstractContextManager[None]:
        return self._source.naming(*self._part(number))

    def _part(self, number: int) -> tuple[Any, ...]:
        return ("stages", number) if number < len(self.stages) else ("export", "filter_column")
