"""Classifiers that users bring, and the check of whose embeddings they get."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

import imagecurate as ic
from imagecurate.errors import ParameterError, StageError, WeightsError
from imagecurate.stages import (
    AestheticClassifier,
    EmbeddingWarning,
    ImageClassifier,
    ImageEmbedder,
    NsfwClassifier,
    ThumbnailEmbedder,
    TimmImageEmbedder,
)
from imagecurate.weights import CLIP_VIT_L14

CLIP = "vit_large_patch14_clip_quickgelu_224.openai"


class Mean(ImageClassifier):
    """Mean of the embedding."""

    embedding_size = 4
    pred_column = "mean"
    flat: bool = True

    def load_model(self, device: str) -> Any:
        return lambda embeddings: embeddings.mean(dim=1, keepdim=not self.flat)


def score(stage: ImageClassifier, embeddings: Any) -> np.ndarray:
    return np.asarray(stage.process({stage.embedding_column: embeddings})[stage.pred_column])


@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_scores(flat: bool, batch_size: int) -> None:
    """One float32 a row, from models that give (n,) or (n, 1), in batches of any size."""
    embeddings = np.random.default_rng(3).normal(size=(7, 4)).astype(np.float32)
    embeddings.flags.writeable = False
    scores = score(Mean(flat=flat, batch_size=batch_size), embeddings)
    assert (scores.shape, scores.dtype) == ((7,), np.float32)
    np.testing.assert_allclose(scores, embeddings.mean(axis=1), atol=1e-6)
    assert score(Mean(), embeddings[:0]).shape == (0,)
    assert score(Mean(), np.zeros((0, 0), np.float32)).shape == (0,)


def test_columns() -> None:
    """What it reads and adds; both can be named."""
    assert Mean().reads() == ("image_embedding",)
    assert Mean().adds() == {"mean": pa.float32()}
    other = Mean(embedding_column="emb", pred_column="m")
    assert (other.reads(), other.adds()) == (("emb",), {"m": pa.float32()})
    with pytest.raises(ParameterError, match="pred_column=''"):
        Mean(pred_column="")


def test_another_width() -> None:
    """Named: the classifier, both lengths, the column; the hint where the model is known."""
    with pytest.raises(
        StageError, match=r"Mean expects embeddings of length 4, but column 'image_embedding' has length 5$"
    ):
        score(Mean(), np.zeros((2, 5), np.float32))
    message = (
        "AestheticClassifier expects embeddings of length 768, but column 'emb' has length 512\n\n"
        "Hint: the predictor was trained on OpenAI CLIP ViT-L/14 embeddings; embed with that model"
    )
    with pytest.raises(StageError, match=message):
        score(AestheticClassifier(embedding_column="emb"), np.zeros((2, 512), np.float32))


def objects(rows: list[Any]) -> np.ndarray:
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


def test_lists_count_as_vectors() -> None:
    """Columns that came with the data as lists of fixed or large size."""
    assert score(Mean(), objects([[1, 2, 3, 4], [0.5] * 4])).tolist() == [2.5, 0.5]


@pytest.mark.parametrize("rows", [["a cat", "a dog"], [[1.0], [1.0, 2.0]], [1.0, 2.0]])
def test_what_is_no_vector(rows: list[Any]) -> None:
    """Text, ragged lists, numbers: the wrong column was named."""
    with pytest.raises(StageError, match=r"Mean expects vectors of length 4 .*\n\nHint: .*embedding_column="):
        score(Mean(), objects(rows))
    with pytest.raises(StageError, match="Mean expects vectors"):
        score(Mean(), np.arange(3.0))


class Two(Mean):
    """Two scores a row."""

    def load_model(self, device: str) -> Any:
        return lambda embeddings: embeddings[:, :2]


def test_a_model_that_gives_something_else() -> None:
    """The stage is at fault."""
    with pytest.raises(StageError, match=r"a tensor of shape \(3,\), one score a row, but got \(3, 2\)"):
        score(Two(), np.zeros((3, 4), np.float32))


def test_fingerprint(tmp_path: Path) -> None:
    """Weights count by digest, batches not at all."""
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"1")
    first = Mean(model_path=str(tmp_path / "a"))
    assert first.fingerprint() == Mean(model_path=str(tmp_path / "b"), batch_size=1).fingerprint()
    (tmp_path / "b").write_bytes(b"2")
    names = {first.fingerprint(), Mean(model_path=str(tmp_path / "b")).fingerprint(), Mean().fingerprint()}
    assert len(names) == 3
    assert AestheticClassifier().fingerprint() == AestheticClassifier(batch_size=5).fingerprint()
    with pytest.raises(
        WeightsError, match="AestheticClassifier: cannot read weights from '/no': there is no such file"
    ):
        AestheticClassifier(model_path="/no")


class Unsized(ImageClassifier):
    """One whose author forgot the length."""

    pred_column = "score"

    def load_model(self, device: str) -> Any:
        return lambda embeddings: embeddings.mean(dim=1)


class Unnamed(Unsized):
    """One that leaves the column to whoever uses it."""

    pred_column: str
    embedding_size = 4


class Zero(Unsized):
    """One with a length that no vector has."""

    embedding_size = 0


def test_what_a_class_must_declare() -> None:
    """Told to its author when it is made, not row by row."""
    message = r"Unsized: the class must say .* embedding_size, but it has none\n\nHint: write.*embedding_size = 768"
    with pytest.raises(ParameterError, match=message):
        Unsized()
    with pytest.raises(ParameterError, match="embedding_size, but found 0"):
        Zero()
    with pytest.raises(ParameterError, match="Unnamed needs the parameter 'pred_column'"):
        Unnamed()
    assert Unnamed(pred_column="mine").adds() == {"mine": pa.float32()}


def test_paths_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text and Path are the same, with ``~`` made out."""
    (tmp_path / "a.pth").write_bytes(b"1")
    monkeypatch.setenv("HOME", str(tmp_path))
    stages = [Mean(model_path=given) for given in (tmp_path / "a.pth", str(tmp_path / "a.pth"), "~/a.pth")]
    assert {stage.model_path for stage in stages} == {str(tmp_path / "a.pth")}
    assert AestheticClassifier(model_path=tmp_path / "a.pth").model_path == str(tmp_path / "a.pth")


class Broken(Mean):
    """One whose model cannot be loaded."""

    def load_model(self, device: str) -> Any:
        raise AttributeError("no such layer")


def test_a_failed_load_is_no_fault_of_the_rows() -> None:
    """Named: the stage and what went wrong."""
    with pytest.raises(StageError, match=r"Broken\(\)'s load_model failed: AttributeError: no such layer"):
        score(Broken(), np.zeros((3, 4), np.float32))


class Mine(ImageEmbedder):
    """Somebody's own embedder, which says whose embedding it gives."""

    embedding_of = CLIP_VIT_L14

    def load_model(self, device: str) -> Any:
        return torch.nn.Flatten()


class Unknown(Mine):
    """One that does not say."""

    embedding_of = None


@pytest.mark.parametrize("predictor", [AestheticClassifier(), NsfwClassifier()])
@pytest.mark.parametrize(
    ("producer", "name"),
    [
        (TimmImageEmbedder("vit_base_patch32_clip_224.openai", pretrained=True), "vit_base_patch32_clip_224.openai"),
        (TimmImageEmbedder("vit_base_patch16_224.augreg_in21k"), "vit_base_patch16_224.augreg_in21k"),
        (TimmImageEmbedder("vit_large_patch14_clip_224.laion2b"), "vit_large_patch14_clip_224.laion2b"),
        (TimmImageEmbedder("vit_large_patch14_clip_quickgelu_224.dfn2b"), "vit_large_patch14_clip_quickgelu_224.dfn2b"),
        (ThumbnailEmbedder(), r"ThumbnailEmbedder\(\)"),
        (Unknown(), r"Unknown\(\)"),
    ],
)
def test_the_wrong_model_is_refused_by_name(predictor: ImageClassifier, producer: Any, name: str) -> None:
    """512 numbers of ViT-B/32, 768 of a headless ViT, 768 of another CLIP: told, with the model to use."""
    message = (
        f"{type(predictor).__name__} needs embeddings of OpenAI CLIP ViT-L/14, but column 'image_embedding' is made by "
        rf".*{name}.*\n\nHint: embed with TimmImageEmbedder\('{CLIP}', pretrained=True\)"
    )
    with pytest.raises(StageError, match=message):
        predictor.check_inputs({"image_embedding": producer})


@pytest.mark.parametrize(
    "producer", [TimmImageEmbedder(CLIP, pretrained=True), Mine(), Mine(normalize_embeddings=False)]
)
def test_the_right_model_passes_in_silence(producer: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Also where its vectors are not scaled: the predictors do that themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AestheticClassifier().check_inputs({"image_embedding": producer})
    assert caplog.text == ""


def test_random_weights_pass_and_are_said(caplog: pytest.LogCaptureFixture) -> None:
    """A rehearsal is allowed; the log says that its scores mean nothing."""
    with caplog.at_level(logging.WARNING):
        AestheticClassifier().check_inputs({"image_embedding": TimmImageEmbedder(CLIP)})
    assert "scores of AestheticClassifier mean little" in caplog.text
    assert "its weights are random" in caplog.text


def test_a_column_that_came_with_the_data_warns() -> None:
    """Nobody can tell which model made it."""
    with pytest.warns(EmbeddingWarning, match="which model made column 'emb' cannot be told"):
        NsfwClassifier(embedding_column="emb").check_inputs({"emb": None})


def test_the_warning_points_at_the_users_line(folder: Path, tmp_path: Path) -> None:
    """Through however many frames of the package it came."""
    dataset = ic.read_webdataset(str(folder), workdir=tmp_path / "work")
    stage = NsfwClassifier(embedding_column="caption")
    for add in (lambda: stage(dataset), lambda: dataset.pipe(stage), lambda: stage.check_inputs({"caption": None})):
        with pytest.warns(EmbeddingWarning) as caught:
            add()
        assert [(entry.filename, entry.lineno) for entry in caught] == [(__file__, add.__code__.co_firstlineno)]


def test_a_classifier_without_demands_takes_all() -> None:
    """The check is for those that name a model."""
    Mean().check_inputs({"image_embedding": None})
    Mean().check_inputs({"image_embedding": ThumbnailEmbedder()})
