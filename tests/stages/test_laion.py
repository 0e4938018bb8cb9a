"""LAION's predictors: the published weights give the scores that float64 gives."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from imagecurate.errors import WeightsError
from imagecurate.stages import AestheticClassifier, NsfwClassifier
from imagecurate.stages.laion import LaionPredictor, collapsed
from imagecurate.weights import AESTHETIC, KNOWN, NSFW


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of both architectures under the published names."""
    folder = tmp_path_factory.mktemp("models")
    generator = torch.Generator().manual_seed(8)
    for known in KNOWN:
        state = {name: torch.rand(shape, generator=generator) / 10 for name, shape in known.shapes.items()}
        torch.save(state, folder / known.file)
    return folder


def embeddings(count: int) -> NDArray[np.float32]:
    values = np.random.default_rng(9).normal(size=(count, 768))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def score(stage: LaionPredictor, values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(stage.process({"image_embedding": values})[stage.pred_column])


def layered(folder: Path, known_file: str) -> torch.nn.Module:
    """The architectures as they are published, layer by layer."""
    state = torch.load(folder / known_file, weights_only=True)
    linear = torch.nn.Linear
    if known_file == AESTHETIC.file:
        widths = [768, 1024, 128, 64, 16, 1]
        model = torch.nn.Sequential(*(linear(*pair) for pair in itertools.pairwise(widths)))
        names = [f"layers.{number}" for number in (0, 2, 4, 6, 7)]
    else:
        relu = torch.nn.ReLU
        model = torch.nn.Sequential(
            linear(768, 64),
            relu(),
            linear(64, 512),
            relu(),
            linear(512, 256),
            relu(),
            linear(256, 1),
            torch.nn.Sigmoid(),
        )
        names = [f"linear_{number}" for number in (1, 2, 3, 4)]
    layers = [layer for layer in model if isinstance(layer, linear)]
    for name, layer in zip(names, layers, strict=True):
        layer.load_state_dict({"weight": state[f"{name}.weight"], "bias": state[f"{name}.bias"]})
    return model.double().eval()


@pytest.mark.parametrize("stage", [AestheticClassifier, NsfwClassifier])
def test_equals_the_published_layers(stage: type[LaionPredictor], folder: Path) -> None:
    """One dot product, or four layers: the scores of the published architecture in float64."""
    predictor = stage(model_path=str(folder))
    values = torch.from_numpy(embeddings(20)).double()
    if stage is NsfwClassifier:
        state = torch.load(folder / NSFW.file, weights_only=True)
        values = (values - state["norm.mean"].double()) / state["norm.variance"].double().sqrt()
    with torch.inference_mode():
        expected = layered(folder, predictor.weights.file)(values)[:, 0].numpy()
    np.testing.assert_allclose(score(predictor, embeddings(20)), expected, rtol=1e-6)


@pytest.mark.parametrize("stage", [AestheticClassifier, NsfwClassifier])
def test_rows_do_not_depend_on_their_batch(stage: type[LaionPredictor], folder: Path) -> None:
    """Bit by bit: a resumed run scores other rows together."""
    predictor = stage(model_path=str(folder))
    values = embeddings(100)
    whole = score(predictor, values)
    assert np.array_equal(whole, np.concatenate([score(predictor, values[row : row + 1]) for row in range(100)]))
    assert np.array_equal(whole, score(stage(model_path=str(folder), batch_size=7), values))


@pytest.mark.parametrize("stage", [AestheticClassifier, NsfwClassifier])
@given(scale=st.floats(1e-3, 1e3))
def test_length_of_the_embedding_does_not_matter(stage: type[LaionPredictor], folder: Path, scale: float) -> None:
    """Vectors are scaled to unit length first; a zero vector has no score."""
    predictor = stage(model_path=str(folder))
    values = embeddings(3)
    np.testing.assert_allclose(score(predictor, np.float32(scale) * values), score(predictor, values), rtol=1e-5)
    assert np.isnan(score(predictor, np.zeros((2, 768), np.float32))).all()


def test_collapsing_layers() -> None:
    """Any number of layers is one weight vector and one number."""
    torch.manual_seed(1)
    layers = [torch.nn.Linear(5, 4), torch.nn.Linear(4, 3), torch.nn.Linear(3, 1)]
    state = {f"layers.{number}.{k}": v for number, layer in enumerate(layers) for k, v in layer.state_dict().items()}
    weight, bias = collapsed(state)
    values = torch.rand(6, 5).double()
    expected = torch.nn.Sequential(*layers).double()(values)[:, 0]
    assert torch.allclose(values @ weight + bias, expected, atol=1e-12)


def test_own_weights_have_their_own_fingerprint(folder: Path) -> None:
    """The digest of the tensors counts, not the path; without a path it is the published one's."""
    own = AestheticClassifier(model_path=str(folder))
    assert own.fingerprint() == AestheticClassifier(model_path=str(folder / AESTHETIC.file)).fingerprint()
    assert own.fingerprint() != AestheticClassifier().fingerprint()
    assert AestheticClassifier().identity()["weights"] == AESTHETIC.tensors


def test_the_other_predictors_file_is_refused(folder: Path) -> None:
    """By the names of its tensors."""
    stage = AestheticClassifier(model_path=str(folder / NSFW.file))
    with pytest.raises(WeightsError, match=r"AestheticClassifier: .* do not fit its architecture: missing: layers\.0"):
        score(stage, embeddings(1))


@pytest.mark.shared
@pytest.mark.parametrize(("stage", "name"), [(AestheticClassifier, "aesthetic"), (NsfwClassifier, "nsfw")])
def test_golden_scores(stage: type[LaionPredictor], name: str, shared: Path) -> None:
    """The published weights on stored embeddings, within 1e-4 of float64; found by path, by folder, by environment."""
    golden = np.load(shared / "weights" / "golden_scores.npz")
    scores = score(stage(model_path=str(shared / "weights")), golden["embeddings"])
    np.testing.assert_allclose(scores, golden[name], atol=1e-6)
    by_file = stage(model_path=str(shared / "weights" / stage.weights.file))
    assert np.array_equal(score(by_file, golden["embeddings"]), scores)
    assert by_file.fingerprint() == stage().fingerprint()
    if name == "nsfw":
        np.testing.assert_allclose(scores, golden["nsfw_savedmodel"], atol=1e-4)


@pytest.mark.shared
def test_weights_of_the_model_folder_are_used(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by the environment, nothing is fetched."""
    monkeypatch.setenv("IMAGECURATE_MODELS", str(shared / "weights"))
    golden = np.load(shared / "weights" / "golden_scores.npz")
    scores = score(AestheticClassifier(batch_size=1000), golden["embeddings"])
    np.testing.assert_allclose(scores, golden["aesthetic"], atol=1e-6)
