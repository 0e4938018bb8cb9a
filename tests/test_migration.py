"""The names that people know from NeMo Curator: each runs as an alias, or says what does its work here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from making import write_folder

import imagecurate as ic
from imagecurate import migration
from imagecurate.errors import ParameterError
from imagecurate.plan.steps import FilterStep

#: Classes of the stage-based version, and of the older dataset API, that make sense for images.
STAGE_BASED = [
    *("Pipeline", "ProcessingStage", "CompositeStage", "Resources", "ImageBatch", "ImageObject", "DocumentBatch"),
    *("FilePartitioningStage", "ImageReaderStage", "ImageEmbeddingStage", "ImageAestheticFilterStage"),
    *("ImageNSFWFilterStage", "ImageDuplicatesRemovalStage", "ImageWriterStage"),
    *("ConvertImageBatchToDocumentBatchStage", "SemanticDeduplicationWorkflow", "KMeansStage", "PairwiseStage"),
    *("IdentifyDuplicatesStage", "RankingStrategy", "RayClient", "XennaExecutor", "RayDataExecutor"),
    "RayActorPoolExecutor",
]
DATASET_API = [
    *("ImageTextPairDataset", "DocumentDataset", "ImageEmbedder", "TimmImageEmbedder", "ImageClassifier"),
    *("AestheticClassifier", "NsfwClassifier", "EmbeddingCreator", "ClusteringModel", "SemanticClusterLevelDedup"),
    *("SemDedup", "SemDedupConfig", "get_client"),
]
RUNS = set(migration.__all__)
CLIP = "vit_large_patch14_clip_quickgelu_224.openai"


@pytest.mark.parametrize("name", [*STAGE_BASED, *DATASET_API])
def test_every_name_is_known(name: str) -> None:
    """An alias in ``imagecurate.migration``, or an error that names ours, from wherever it is imported."""
    if name in RUNS:
        assert getattr(migration, name).__doc__
        return
    with pytest.raises(ParameterError, match=f"^{name} of NeMo Curator is not here\n\nHint: "):
        getattr(migration, name)
    if name not in ic.__all__:
        with pytest.raises(ParameterError, match=f"^{name} of NeMo Curator is not here"):
            getattr(ic, name)


@pytest.mark.parametrize("name", sorted(RUNS - set(ic.__all__) - {"get_client"}))
def test_aliases_are_found_from_the_package(name: str) -> None:
    """Whoever looks in ``imagecurate`` is told where they are."""
    with pytest.raises(ParameterError, match=f"from imagecurate.migration import {name}"):
        getattr(ic, name)


def test_no_name_of_nobody() -> None:
    """An unknown attribute is an AttributeError, as everywhere."""
    for module in (ic, migration):
        assert not hasattr(module, "NoSuchThing")
        assert not hasattr(module, "__wrapped__")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "FilePartitioningStage",
            "FilePartitioningStage of NeMo Curator is no step of a pipeline\n\nHint: here it is inp",
        ),
        ({"ImageWriterStage": {"output_dir": "x"}}, "ImageWriterStage of NeMo Curator is no step of a pipeline"),
        ("ImageDuplicatesRemovalStage", "ImageDuplicatesRemovalStage of NeMo Curator is not here\n\nHint: SemanticDed"),
        (
            {"_target_": "nemo_curator.stages.image.io.image_reader.ImageReaderStage"},
            "ImageReaderStage of NeMo Curator",
        ),
        ({"_target_": "nemo_curator.stages.x.Other", "a": 1}, "'_target_' is the form of another tool"),
    ],
)
def test_in_a_file_they_name_ours(entry: Any, message: str) -> None:
    """What is no step here says what it is."""
    with pytest.raises(ParameterError) as caught:
        ic.Pipeline([entry])
    assert str(caught.value).startswith(message)


def test_stages_of_a_file_run(tmp_path: Path) -> None:
    """Embedder and filters under their old names: our stages, with what the threshold keeps."""
    entries: list[Any] = [
        {"ImageEmbeddingStage": {"model_inference_batch_size": 500, "num_gpus_per_worker": 0.25}},
        {"ImageAestheticFilterStage": {"score_threshold": 5, "model_inference_batch_size": 500}},
        {"ImageNSFWFilterStage": {"score_threshold": 0.2}},
    ]
    pipeline = ic.Pipeline(entries, input=str(write_folder(tmp_path / "data")), output="out", workdir=None)
    plan = pipeline.rehearse().plan
    assert plan.stage_of("image_embedding") == ic.TimmImageEmbedder(CLIP, pretrained=True, batch_size=500)
    assert plan.stage_of("aesthetic_score") == ic.AestheticClassifier()
    filters = [str(step.expression) for step in plan.steps if isinstance(step, FilterStep)]
    assert filters == ["aesthetic_score >= 5", "nsfw_score < 0.2"]
    pipeline.to_yaml(tmp_path / "p.yaml")
    assert ic.Pipeline.from_yaml(tmp_path / "p.yaml") == pipeline


def test_weights_in_a_model_dir(tmp_path: Path) -> None:
    """The NSFW weights lie there under their published name, in folders of its own."""
    folder = tmp_path / "models" / "laion" / "clip-autokeras-binary-nsfw"
    folder.mkdir(parents=True)
    (folder / "clip_autokeras_binary_nsfw.pth").touch()
    (stage,) = migration.ImageNSFWFilterStage(model_dir=str(tmp_path / "models")).stages()
    assert stage.model_path == str(folder / "clip_autokeras_binary_nsfw.pth")


def test_a_script_runs_with_other_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partition, read, embed (here by an embedder without weights), write: built and run as there."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data")
    pipeline = migration.Pipeline(name="image_curation", description="Curate images")
    pipeline.add_stage(
        migration.FilePartitioningStage(file_paths="data", files_per_partition=1, file_extensions=[".tar"])
    )
    pipeline.add_stage(migration.ImageReaderStage(dali_batch_size=100, verbose=True, num_threads=16))
    pipeline.add_stage(ic.ThumbnailEmbedder())
    pipeline.add_stage(migration.ImageWriterStage(output_dir="out", images_per_tar=3, remove_image_data=True))
    assert pipeline.describe().splitlines()[-1].startswith("  4. ImageWriterStage(")
    dataset = pipeline.run(checkpoint_path="work")
    assert len(list((tmp_path / "out").glob("*.tar"))) == 3
    assert (tmp_path / "work" / "store").is_dir()
    assert "image_embedding" in dataset.columns


def test_what_a_script_may_not_say(tmp_path: Path) -> None:
    """Told when it is said."""
    with pytest.raises(ParameterError, match="limit is not here"):
        migration.FilePartitioningStage("data", limit=3)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"shards are \.tar files, not \.jsonl"):
        migration.FilePartitioningStage("data", file_extensions=[".jsonl"])
    with pytest.raises(ParameterError, match="neither executor nor initial_tasks"):
        migration.Pipeline().run(executor=object())  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="add_stage expects a stage of imagecurate"):
        migration.Pipeline(stages=["x"])  # type: ignore[list-item]
    with pytest.raises(ParameterError, match="sim_metric must be 'cosine'"):
        migration.SemDedup(migration.SemDedupConfig(sim_metric="l2")).stage  # noqa: B018
    with pytest.raises(ParameterError, match="ProcessingStage of NeMo Curator is not here"):
        importlib.import_module("imagecurate.migration").ProcessingStage  # noqa: B018


def test_the_older_dataset_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open, embed with classifiers, save, reshard with the ids that it made."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data")
    dataset = migration.ImageTextPairDataset.from_webdataset("data", "key")
    embedder = migration.TimmImageEmbedder(
        CLIP, pretrained=True, batch_size=1024, num_threads_per_worker=16, normalize_embeddings=True, autocast=False,
        classifiers=[migration.AestheticClassifier(), migration.NsfwClassifier(batch_size=512)], use_index_files=True,
    )  # fmt: skip
    assert list(embedder.adds()) == ["image_embedding", "aesthetic_score", "nsfw_score"]
    assert migration.AestheticClassifier(batch_size=-1) == ic.AestheticClassifier()
    dataset = ic.ThumbnailEmbedder()(dataset)
    dataset.save_metadata("meta", columns=["key", "image_embedding"])
    dataset = dataset.with_column("passes", "width >= 60")
    dataset.to_webdataset("out", "passes", samples_per_shard=10_000, max_shards=5, old_id_col="old_key")
    assert sorted(path.name for path in Path("out").glob("0*")) == ["00000.idx", "00000.parquet", "00000.tar"]


def test_semantic_deduplication_by_its_rule(tmp_path: Path) -> None:
    """With the parameters of the configuration; dropped only where that was asked for."""
    ds = ic.ThumbnailEmbedder()(ic.read_webdataset(write_folder(tmp_path / "data"), workdir=tmp_path / "work"))
    config = migration.SemDedupConfig(cache_dir="cache", n_clusters=2, eps_to_extract=0.05, which_to_keep="easy")
    marked = migration.SemDedup(config, id_column="key")(ds)
    assert "semantic_duplicate_of" in marked.columns
    assert len(marked.metadata) == 8
    dropped = migration.SemDedup(config, perform_removal=True)(ds)
    assert len(dropped.metadata) == marked.metadata["semantic_duplicate_of"].isna().sum().compute()
    stage = migration.SemDedup(config).stage
    assert (stage.rule, stage.order, stage.exact, stage.n_clusters) == ("semdedup", "easy", False, 2)


def test_the_page_names_them_all() -> None:
    """docs/migration.md says of each what it is here."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "migration.md").read_text()
    assert [name for name in (*STAGE_BASED, *DATASET_API) if f"`{name}" not in page] == []
