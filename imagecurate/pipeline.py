"""A whole curation as a file: input, stages, export.

A pipeline is YAML.  It is checked before anything runs, each error names file and line, and running one can execute no
code but stages that are installed: ours, and those that packages offer in the entry-point group ``imagecurate.stages``.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from imagecurate.dataset import ImageTextPairDataset
from imagecurate.errors import ImageCurateError, ParameterError, listed, near_miss, with_hint
from imagecurate.export import ExportSummary
from imagecurate.images import DecodePolicy
from imagecurate.plan.stage import Stage

__all__ = ["Pipeline", "installed_stages"]

_BUILT_IN = ("AestheticClassifier", "NsfwClassifier", "ThumbnailEmbedder", "TimmImageEmbedder")


@functools.cache
def installed_stages() -> Mapping[str, type[Stage]]:
    """Stages that a pipeline may name: the built-in ones and those of installed packages."""
    import imagecurate.stages

    found: dict[str, type[Stage]] = {name: getattr(imagecurate.stages, name) for name in _BUILT_IN}
    for entry in metadata.entry_points(group="imagecurate.stages"):
        found.setdefault(entry.name, entry.load())
    return found


class ExportOptions(BaseModel):
    """The ``export`` part of a pipeline; see ``ImageTextPairDataset.to_webdataset``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter_column: str | None = None
    samples_per_shard: PositiveInt = 10_000
    bytes_per_shard: PositiveInt | None = None
    shard_digits: PositiveInt = 5
    old_id_col: str | None = None
    digest: str = Field("xxh3_128", pattern="^(xxh3_128|sha256)$")


class Pipeline(BaseModel):
    """A curation: where samples come from, the stages in order, where the result goes.

    Paths are relative to the folder in which the program runs.

    Raises
    ------
    ParameterError
        From ``from_yaml``: an unknown key, stage or parameter, or a wrong type, with file and line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: str | list[str] | dict[str, str | list[str]]
    output: str
    workdir: str | None = "auto"
    id_col: str = "key"
    metadata: str = Field("auto", pattern="^(auto|parquet|json|none)$")
    backend: str = Field("auto", pattern="^(auto|pandas|cudf)$")
    input_schema: dict[str, str] | None = Field(None, alias="schema")
    decode_policy: DecodePolicy | None = None
    shard_identity: str = Field("mtime", pattern="^(mtime|size)$")
    storage_options: dict[str, Any] | None = Field(None, repr=False)
    stages: list[str | dict[str, Any]] = []
    export: ExportOptions = ExportOptions()

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> Pipeline:
        """Read and check a pipeline file."""
        file = Path(path)
        try:
            root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except FileNotFoundError:
            raise ParameterError(f"there is no pipeline file {str(path)!r}") from None
        except yaml.YAMLError as error:
            raise ParameterError(f"{path}: not well-formed YAML: {error}") from None
        if not isinstance(root, yaml.MappingNode):
            raise ParameterError.because(f"{path}: a pipeline is a mapping", "begin with 'input: …' and 'output: …'")
        lines = _Lines(str(path), root)
        try:
            pipeline = cls.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise _readable(error, cls, lines) from None
        for number, entry in enumerate(pipeline.stages):
            try:
                _step(entry)
            except ImageCurateError as error:
                raise ParameterError(f"{lines.at('stages', number)}: {error}") from None
        return pipeline

    def dataset(self) -> ImageTextPairDataset:
        """The dataset with all stages added; nothing but dataset stages is computed."""
        dataset = ImageTextPairDataset.from_webdataset(
            self.input,
            id_col=self.id_col,
            metadata=self.metadata,  # type: ignore[arg-type]
            workdir=self.workdir,
            backend=self.backend,  # type: ignore[arg-type]
            storage_options=self.storage_options,
            schema=self.input_schema,
            decode_policy=self.decode_policy,
            shard_identity=self.shard_identity,  # type: ignore[arg-type]
        )
        for entry in self.stages:
            dataset = _add(dataset, *_step(entry))
        return dataset

    def run(self, *, progress: bool | None = None) -> tuple[ImageTextPairDataset, ExportSummary]:
        """Compute everything and write the output folder."""
        dataset = self.dataset()
        return dataset, dataset.to_webdataset(self.output, progress=progress, **self.export.model_dump())


#: Steps that are no stages, with the parameters they take and those they need.
_PLAIN_STEPS = {"Filter": ({"expr", "name"}, {"expr"}), "WithColumn": ({"name", "expr"}, {"name", "expr"})}


def _step(entry: str | dict[str, Any]) -> tuple[str, Stage | dict[str, Any]]:
    """Name and parameters of a plain step, or name and stage."""
    if isinstance(entry, dict) and len(entry) != 1:
        raise ParameterError.because(
            f"a stage is one name with its parameters, but got {listed(entry)}", "one '- ' each"
        )
    name, given = (entry, None) if isinstance(entry, str) else next(iter(entry.items()))
    parameters = given or {}
    if not isinstance(parameters, dict):
        raise ParameterError.because(f"the parameters of {name} must be a mapping, but are {given!r}", f"{name}: {{…}}")
    if name in _PLAIN_STEPS:
        known, needed = _PLAIN_STEPS[name]
        for parameter in [*(parameters.keys() - known), *(needed - parameters.keys())]:
            verb = "has no" if parameter in parameters else "needs the"
            raise ParameterError.because(f"{name} {verb} parameter {parameter!r}", f"it takes {listed(sorted(known))}")
        return name, parameters
    stages = installed_stages()
    if name not in stages:
        known_names = [*stages, *_PLAIN_STEPS]
        guess = near_miss(name, known_names)
        message = f"unknown stage {name!r}" + (f"; did you mean {guess!r}?" if guess else "")
        raise ParameterError(
            message if guess else with_hint(message, f"installed are {listed(sorted(known_names), 30)}")
        )
    return name, stages[name](**parameters)


def _add(dataset: ImageTextPairDataset, name: str, step: Stage | dict[str, Any]) -> ImageTextPairDataset:
    if isinstance(step, Stage):
        return dataset.pipe(step)
    if name == "Filter":
        return dataset.filter(step["expr"], name=step.get("name"))
    return dataset.with_column(step["name"], step["expr"])


class _Lines:
    """Where in a file the parts of a YAML document stand."""

    def __init__(self, path: str, root: yaml.Node) -> None:
        self._path = path
        self._root = root

    def at(self, *place: Any) -> str:
        """``file:line`` of a part, or of the nearest part around it."""
        node = self._root
        line = node.start_mark.line
        for name in place:
            if isinstance(node, yaml.MappingNode):
                found = [(key, value) for key, value in node.value if key.value == str(name)]
                if not found:
                    break
                line, node = found[0][0].start_mark.line, found[0][1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(name, int) and name < len(node.value):
                node = node.value[name]
                line = node.start_mark.line
        return f"{self._path}:{line + 1}"


def _readable(error: ValidationError, model: type[BaseModel], lines: _Lines) -> ParameterError:
    first = error.errors()[0]
    name = str(first["loc"][-1])
    where = lines.at(*first["loc"])
    if first["type"] == "extra_forbidden":
        holder = ExportOptions if first["loc"][0] == "export" else model
        known = [field.alias or key for key, field in holder.model_fields.items()]
        guess = near_miss(name, known)
        return ParameterError(
            with_hint(
                f"{where}: unknown key {name!r}" + (f"; did you mean {guess!r}?" if guess else ""),
                None if guess else f"known are {listed(known, 20)}",
            )
        )
    if first["type"] == "missing":
        return ParameterError(f"{where}: the key {name!r} is missing")
    return ParameterError(f"{where}: {name}: {first['msg']}, found {first['input']!r}")
