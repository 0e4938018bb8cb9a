"""What people know by another name: each class of NeMo Curator that has no counterpart of the same form here.

Those that have one are in ``imagecurate.migration``, where they run; ``docs/migration.md`` shows both side by side.
"""

from __future__ import annotations

from imagecurate.errors import ParameterError

__all__ = ["FAMILIAR", "RENAMED", "our_name"]

#: Classes of ``imagecurate.migration`` that stand for a part of a pipeline, and what says the same in a file.
FAMILIAR = {
    "FilePartitioningStage": "input: data/*.tar",
    "ImageReaderStage": "nothing: the shards at 'input' are read by themselves",
    "ImageWriterStage": "output: curated/, and export: {samples_per_shard: 1000}",
    "SemDedup": "SemanticDeduplicator: {rule: semdedup, exact: false, eps: 0.01}, then DropDuplicates",
}

_CLUSTER = "imagecurate.get_client(cluster='auto') connects, and the dataset computes there"
_DEDUPLICATE = "SemanticDeduplicator: {min_similarity: 0.95}, then DropDuplicates: one run, no files between"
_METADATA = "dataset.metadata is a Dask dataframe, and dataset.save_metadata(path, columns=[…]) writes parquet"
_STAGE = "subclass imagecurate.ImageStage (pixels), ColumnStage (columns of some rows) or DatasetStage (all rows)"

#: Classes that are nothing here, and what does their work.
RENAMED = {
    # stage-based
    "ProcessingStage": _STAGE,
    "CompositeStage": _STAGE,
    "ImageBatch": "a stage gets arrays, not tasks; " + _STAGE,
    "ImageObject": "a sample is a row of dataset.metadata",
    "DocumentBatch": _METADATA,
    "Resources": "threads, memory and GPUs are found out; a model is loaded once a process",
    "ImageDuplicatesRemovalStage": _DEDUPLICATE + "; ids in files are Exclude: {path: ids.parquet, on: key}",
    "ConvertImageBatchToDocumentBatchStage": _METADATA,
    "SemanticDeduplicationWorkflow": _DEDUPLICATE,
    "KMeansStage": _DEDUPLICATE,
    "PairwiseStage": _DEDUPLICATE,
    "IdentifyDuplicatesStage": _DEDUPLICATE,
    "RankingStrategy": "keep_by, or order: hard, easy or random, of SemanticDeduplicator",
    "RayClient": _CLUSTER,
    "XennaExecutor": _CLUSTER,
    "RayDataExecutor": _CLUSTER,
    "RayActorPoolExecutor": _CLUSTER,
    # older dataset API
    "DocumentDataset": "an ImageTextPairDataset goes into a deduplicator as it is; " + _METADATA,
    "ImageEmbedder": "subclass imagecurate.ImageEmbedder, with load_model(device) and input_size, mean and std",
    "ImageClassifier": "subclass imagecurate.ImageClassifier, with load_model(device), embedding_size and pred_column",
    "EmbeddingCreator": "it embeds texts; for images TimmImageEmbedder",
    "ClusteringModel": "SemanticDeduplicator(rule='semdedup', n_clusters=…, max_iter=…) clusters by itself",
    "SemanticClusterLevelDedup": (
        "SemanticDeduplicator(rule='semdedup', order='hard', eps=…); its preview(dataset, min_similarity=[…]) counts "
        "what several thresholds would drop"
    ),
}


def our_name(name: str) -> ParameterError | None:
    """Make the error that names ours for a class of NeMo Curator; None for a name that is none of its.

    Examples
    --------
    >>> print(our_name("ImageReaderStage"))
    ImageReaderStage of NeMo Curator is no step of a pipeline
    <BLANKLINE>
    Hint: here it is nothing: the shards at 'input' are read by themselves
    """
    if name in FAMILIAR:
        return ParameterError.because(
            f"{name} of NeMo Curator is no step of a pipeline", f"here it is {FAMILIAR[name]}"
        )
    if name in RENAMED:
        return ParameterError.because(f"{name} of NeMo Curator is not here", RENAMED[name])
    return None
