"""A whole curation as a file: input, stages, export.

A pipeline is YAML.  It is checked before anything runs, each error names file and line, and running one can execute no
code but stages that are installed: ours, and those that packages offer in the entry-point group ``imagecurate.stages``.
"""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticUseDefault

from imagecurate.dataset import ImageTextPairDataset
from imagecurate.errors import ColumnNotFoundError, MissingDependencyError
from imagecurate.export import ExportSummary
from imagecurate.images import DecodePolicy
from imagecurate.pipeline.source import Source, read
from imagecurate.pipeline.steps import Filter, Step, step_of
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
    shard_digits: _Count = 5
    old_id_col: str | None = None
    digest: Literal["xxh3_128", "sha256"] = "xxh3_128"
    durable: bool = False


class Pipeline(BaseModel):
    """A curation: where samples come from, the stages in order, where the result goes.

    Paths are relative to the folder in which the program runs.

    Raises
    ------
    ParameterError
        From ``from_yaml``: an unknown key, stage or parameter, or a wrong type, with file and line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    input: str | list[str] | dict[str, str | list[str]]
    output: str
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

    @field_validator("stages", "export", mode="before")
    @classmethod
    def _empty_is_default(cls, value: Any) -> Any:
        if value is None:
            raise PydanticUseDefault
        return value

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
    def from_yaml(cls, path: str | os.PathLike[str]) -> Pipeline:
        """Read and check a pipeline file."""
        values, source = read(path)
        try:
            pipeline = cls.model_validate(values)
        except ValidationError as error:
            keys = {
                "": [field.alias or name for name, field in cls.model_fields.items()],
                "export": ExportOptions.model_fields,
                "decode_policy": [field.name for field in fields(DecodePolicy)],
            }
            raise source.error(error, values, keys) from None
        pipeline._source = source
        pipeline._steps()
        return pipeline

    def dataset(self) -> ImageTextPairDataset:
        """The dataset with all stages added; nothing but dataset stages is computed.

        Raises
        ------
        ImageCurateError
            As ``from_webdataset``, ``filter``, ``with_column`` or the stage does; with file and line where the
            pipeline came from a file.
        """
        steps = self._steps()
        with self._source.naming("input", but={ColumnNotFoundError: "id_col", MissingDependencyError: "backend"}):
            dataset = ImageTextPairDataset.from_webdataset(
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
        for number, step in enumerate(steps):
            with self._source.naming("stages", number):
                dataset = step(dataset)
        return dataset

    def run(self, *, progress: bool | None = None) -> tuple[ImageTextPairDataset, ExportSummary]:
        """Compute everything and write the output folder; gives the dataset of what was written."""
        dataset = self.dataset()
        column = self.export.filter_column
        if column is not None:
            taken = {step.name or step.expr for step in self._steps() if isinstance(step, Filter)}
            quoted = column.replace("`", "``")
            with self._source.naming("export", "filter_column"):
                dataset = dataset.filter(f"`{quoted}`", name=None if column in taken else column)
        options = self.export.model_dump(exclude={"filter_column"})
        return dataset, dataset.to_webdataset(self.output, progress=progress, **options)

    def _steps(self) -> list[Step]:
        steps = []
        for number, entry in enumerate(self.stages):
            with self._source.naming("stages", number):
                steps.append(step_of(entry))
        return steps
