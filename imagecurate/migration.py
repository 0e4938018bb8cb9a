"""NeMo Curator's names for image curation: what has a counterpart runs, all else says what does its work here.

Change the imports of a script to ``from imagecurate.migration import …``; ``docs/migration.md`` has the same scripts in
imagecurate's own names, which are fewer.  Of the stage-based version (Ray) and of the older dataset API (Dask-cuDF).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import imagecurate.stages as ours
from imagecurate.dataset import ImageTextPairDataset
from imagecurate.errors import ParameterError
from imagecurate.pipeline.renamed import our_name
from imagecurate.plan.stage import CompositeStage as Several  # CompositeStage is one of their names, too
from imagecurate.plan.stage import Stage
from imagecurate.stages.curator import ImageAestheticFilterStage, ImageEmbeddingStage, ImageNSFWFilterStage

if TYPE_CHECKING:
    from imagecurate.pipeline import Pipeline as OurPipeline

__all__ = [
    "AestheticClassifier",
    "FilePartitioningStage",
    "ImageAestheticFilterStage",
    "ImageEmbeddingStage",
    "ImageNSFWFilterStage",
    "ImageReaderStage",
    "ImageTextPairDataset",
    "ImageWriterStage",
    "NsfwClassifier",
    "Pipeline",
    "SemDedup",
    "SemDedupConfig",
    "TimmImageEmbedder",
    "get_client",
]


def __getattr__(name: str) -> Any:
    raise our_name(name) or AttributeError(f"module 'imagecurate.migration' has no attribute {name!r}")


@dataclass(frozen=True)
class FilePartitioningStage:
    """Says where the shards are: ``input`` of a pipeline.

    Parameters
    ----------
    file_paths : str or list of str
    files_per_partition, blocksize
        Change nothing: a partition is a shard.
    file_extensions : list of str, optional
        ``[".tar"]``, or nothing.
    storage_options : mapping, optional
        For fsspec.
    limit : None
        Is not here: name fewer files.
    """

    file_paths: str | Sequence[str]
    files_per_partition: int | None = None
    blocksize: int | str | None = None
    file_extensions: Sequence[str] | None = None
    storage_options: Mapping[str, Any] | None = None
    limit: None = None

    def __post_init__(self) -> None:
        if self.limit is not None:
            raise ParameterError.because(
                "FilePartitioningStage: limit is not here", "name fewer files, as data/{0..9}.tar"
            )
        others = [each for each in self.file_extensions or () if not each.endswith(".tar")]
        if others:
            raise ParameterError(f"FilePartitioningStage: shards are .tar files, not {', '.join(others)}")

    @property
    def settings(self) -> dict[str, Any]:
        """Keys of a pipeline."""
        several = not isinstance(self.file_paths, str | os.PathLike)
        paths = [os.fspath(path) for path in self.file_paths] if several else os.fspath(self.file_paths)  # type: ignore[arg-type]
        return {"input": paths, "storage_options": self.storage_options}


@dataclass(frozen=True)
class ImageReaderStage:
    """Says nothing: a pipeline reads the shards that it needs, in threads of its own, pictures at their own size."""

    dali_batch_size: int = 100
    verbose: bool = True
    num_threads: int = 8
    num_gpus_per_worker: float = 0.25
    #: Older names of the first.
    task_batch_size: int | None = None
    batch_size: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Keys of a pipeline."""
        return {}


@dataclass(frozen=True)
class ImageWriterStage:
    """Says where the result goes: ``output`` and ``export`` of a pipeline.

    Members are copied byte for byte, captions and JSON with them; names follow the number of the shard.

    Parameters
    ----------
    output_dir : str
    images_per_tar : int, default=1000
        Every shard is full but the last.
    verbose, deterministic_name, remove_image_data
        Change nothing.
    """

    output_dir: str
    images_per_tar: int = 1000
    verbose: bool = False
    deterministic_name: bool = True
    remove_image_data: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Keys of a pipeline."""
        return {"output": os.fspath(self.output_dir), "export": {"samples_per_shard": self.images_per_tar}}


_Part = Stage | FilePartitioningStage | ImageReaderStage | ImageWriterStage


class Pipeline:
    """A pipeline as the stage-based version builds it, and as imagecurate runs it.

    Parameters
    ----------
    name, description : str
        For people.
    stages : list, optional
        Those above, and any stage of imagecurate.
    config : None
        Is not here.
    """

    def __init__(
        self, name: str = "", description: str | None = None, stages: Sequence[_Part] | None = None, config: None = None
    ) -> None:
        if config is not None:
            raise ParameterError("Pipeline: config is not here; parameters belong to the stages")
        self.name = name
        self.description = description
        self.stages: list[_Part] = []
        for stage in stages or ():
            self.add_stage(stage)

    def add_stage(self, stage: _Part) -> Self:
        """Add a stage at the end; gives the pipeline."""
        if not isinstance(stage, _Part):
            raise ParameterError(f"add_stage expects a stage of imagecurate, but got {stage!r}")
        self.stages.append(stage)
        return self

    def to_pipeline(self) -> OurPipeline:
        """Give the same as ``imagecurate.Pipeline``; ``to_yaml`` of it writes the file."""
        from imagecurate.pipeline import Pipeline as OurPipeline

        settings: dict[str, Any] = {}
        for stage in self.stages:
            if not isinstance(stage, Stage):
                settings |= stage.settings
        return OurPipeline([stage for stage in self.stages if isinstance(stage, Stage)], **settings)

    def describe(self) -> str:
        """Give the stages as text."""
        lines = [f"Pipeline: {self.name}", *([self.description] if self.description else [])]
        return "\n".join([*lines, *(f"  {number}. {stage!r}" for number, stage in enumerate(self.stages, start=1))])

    def run(self, executor: None = None, initial_tasks: None = None, checkpoint_path: str | None = None) -> Any:
        """Run it; gives the dataset of what was written.

        Parameters
        ----------
        executor, initial_tasks : None
            Are not here: connect a Dask client by ``imagecurate.get_client``, or none.
        checkpoint_path : str, optional
            ``workdir``: what was computed is kept there in any case.
        """
        if executor is not None or initial_tasks is not None:
            raise ParameterError.because(
                "Pipeline.run takes neither executor nor initial_tasks",
                "imagecurate.get_client(cluster='auto') connects",
            )
        pipeline = self.to_pipeline()
        if checkpoint_path is not None:
            pipeline = type(pipeline)(**{**pipeline.values(), "workdir": checkpoint_path})
        return pipeline.run()[0]


class _Embedder(Several):
    """An embedder with classifiers behind it."""

    embedder: Any
    classifiers: tuple[Any, ...] = ()

    def stages(self) -> list[Stage]:
        """The embedder, then the classifiers."""
        return [self.embedder, *self.classifiers]

    def adds(self) -> dict[str, Any]:
        """What these add."""
        return {column: kind for stage in self.stages() for column, kind in stage.adds().items()}

    def added_to(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Add these."""
        return dataset.pipe(*self.stages())


def TimmImageEmbedder(  # noqa: N802 - it stands for a class
    model_name: str,
    pretrained: bool = False,
    batch_size: int = 1,
    num_threads_per_worker: int = 4,
    image_embedding_column: str = "image_embedding",
    normalize_embeddings: bool = True,
    classifiers: Sequence[Stage] = (),
    autocast: bool = True,
    use_index_files: bool = False,
) -> Stage:
    """Make our ``TimmImageEmbedder``, with the classifiers behind it.

    The embedding is the model's feature, not the logits of a classifier; ``use_index_files`` changes nothing.
    """
    embedder = ours.TimmImageEmbedder(
        model_name,
        pretrained=pretrained,
        batch_size=batch_size,
        num_threads_per_worker=num_threads_per_worker,
        image_embedding_column=image_embedding_column,
        normalize_embeddings=normalize_embeddings,
        autocast=autocast,
    )
    made: Stage = _Embedder(embedder=embedder, classifiers=tuple(classifiers)) if classifiers else embedder
    return made


def AestheticClassifier(  # noqa: N802 - it stands for a class
    embedding_column: str = "image_embedding",
    pred_column: str = "aesthetic_score",
    batch_size: int = -1,
    model_path: str | None = None,
) -> Stage:
    """Make our ``AestheticClassifier``; a batch of -1 is its own size."""
    return _classifier(ours.AestheticClassifier, embedding_column, pred_column, batch_size, model_path)


def NsfwClassifier(  # noqa: N802 - it stands for a class
    embedding_column: str = "image_embedding",
    pred_column: str = "nsfw_score",
    batch_size: int = -1,
    model_path: str | None = None,
) -> Stage:
    """Make our ``NsfwClassifier``; a batch of -1 is its own size."""
    return _classifier(ours.NsfwClassifier, embedding_column, pred_column, batch_size, model_path)


@dataclass(frozen=True)
class SemDedupConfig:
    """What ``SemDedup`` is told; ``batched_cosine_similarity``, ``clustering_input_partition_size`` change nothing."""

    cache_dir: str | None = None
    n_clusters: int = 1000
    max_iter: int = 100
    random_state: int = 1234
    sim_metric: str = "cosine"
    which_to_keep: str = "hard"
    batched_cosine_similarity: bool | int = 1024
    clustering_input_partition_size: str = "2gb"
    eps_to_extract: float = 0.01
    embedding_column: str = "image_embedding"


@dataclass(frozen=True)
class SemDedup:
    """Semantic deduplication by the rule of the SemDeDup paper, in the cells of a k-means.

    Without ``perform_removal`` duplicates are marked in ``semantic_duplicate_of``.  Our own rule keeps more and misses
    nothing: ``imagecurate.SemanticDeduplicator``.
    """

    config: SemDedupConfig
    input_column: str = "text"
    id_column: str = "id"
    perform_removal: bool = False

    @property
    def stage(self) -> Stage:
        """Our stage with these parameters."""
        config = self.config
        if config.sim_metric != "cosine":
            raise ParameterError(f"SemDedup: sim_metric must be 'cosine', but is {config.sim_metric!r}")
        made: Stage = ours.SemanticDeduplicator(
            eps=config.eps_to_extract,
            rule="semdedup",
            exact=False,
            order=config.which_to_keep,
            n_clusters=config.n_clusters,
            max_iter=config.max_iter,
            random_state=config.random_state,
            image_embedding_column=config.embedding_column,
        )
        return made

    def __call__(self, dataset: ImageTextPairDataset) -> ImageTextPairDataset:
        """Mark duplicates, and drop them if that was asked for."""
        marked = dataset.pipe(self.stage)
        return marked.drop_duplicates() if self.perform_removal else marked


def get_client(cluster_type: str = "cpu", **options: Any) -> Any:
    """Connect to a Dask cluster, as ``imagecurate.get_client`` does: ``"gpu"`` is its ``"cuda"``."""
    from imagecurate import get_client as connect

    return connect("cuda" if cluster_type == "gpu" else cluster_type, **options)


def _classifier(kind: Any, embedding_column: str, pred_column: str, batch_size: int, model_path: str | None) -> Stage:
    size = {"batch_size": batch_size} if batch_size > 0 else {}
    made: Stage = kind(embedding_column=embedding_column, pred_column=pred_column, model_path=model_path, **size)
    return made
