"""The timm embedder as users meet it."""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image

import imagecurate as ic
from imagecurate.errors import ParameterError, WeightsError
from imagecurate.stages import TimmImageEmbedder
from imagecurate.weights import CLIP_VIT_L14, file_digest

CLIP = "vit_large_patch14_clip_quickgelu_224.openai"


def embed(embedder: TimmImageEmbedder, pictures: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    batch = np.stack([embedder.prepare(picture) for picture in pictures])
    return np.asarray(embedder.process(batch)[embedder.image_embedding_column])


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    """Smooth pictures of different shapes."""
    rng = np.random.default_rng(6)
    coarse = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)) for _ in range(3)]
    return [np.asarray(c.resize(size)) for c, size in zip(coarse, [(200, 300), (300, 180), (64, 64)], strict=True)]


def test_parameters_are_the_promised_ones() -> None:
    """Names, order and defaults of the design."""
    fields = TimmImageEmbedder.model_fields
    assert list(fields) == [
        "model_name",
        "pretrained",
        "batch_size",
        "num_threads_per_worker",
        "normalize_embeddings",
        "autocast",
        "image_embedding_column",
        "checkpoint_path",
        "precision",
        "jpeg_decoder",
        "compile_model",
    ]
    embedder = TimmImageEmbedder("test_vit", False, 64)
    assert embedder == TimmImageEmbedder(model_name="test_vit", batch_size=64)
    assert embedder.normalize_embeddings and embedder.autocast and embedder.image_embedding_column == "image_embedding"
    assert repr(TimmImageEmbedder(CLIP, pretrained=True)) == f"TimmImageEmbedder(model_name={CLIP!r}, pretrained=True)"
    assert pickle.loads(pickle.dumps(embedder)) == embedder


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"model_name": "resnet5O"},
            "TimmImageEmbedder: model_name='resnet5O': timm knows no such model\n\nHint: did you",
        ),
        ({}, "TimmImageEmbedder needs the parameter 'model_name'"),
        ({"model_name": "test_vit", "batch": 3}, "no parameter 'batch'\n\nHint: did you mean 'batch_size'"),
        ({"model_name": "test_mambaout", "pretrained": True}, "timm publishes no weights for 'test_mambaout'"),
    ],
)
def test_wrong_parameters(given: dict[str, object], message: str) -> None:
    """Told when the stage is made."""
    with pytest.raises(ParameterError, match=message):
        TimmImageEmbedder(**given)


def test_a_missing_checkpoint_is_told_when_the_stage_is_made(tmp_path: Path) -> None:
    """Not an hour later on a worker."""
    with pytest.raises(WeightsError, match="there is no such file"):
        TimmImageEmbedder("test_vit", checkpoint_path=str(tmp_path / "no.pth"))
    with pytest.raises(WeightsError, match="it is a folder"):
        TimmImageEmbedder("test_vit", checkpoint_path=str(tmp_path))


def test_embedding_equals_timm(pictures: list[NDArray[np.uint8]], tmp_path: Path) -> None:
    """The transform of timm on Pillow, and its features, from the same file."""
    torch.manual_seed(7)
    model = timm.create_model("test_vit").eval()
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.inference_mode():
        inputs = torch.stack([transform(Image.fromarray(picture)) for picture in pictures])
        expected = model.forward_head(model.forward_features(inputs), pre_logits=True)
    expected = torch.nn.functional.normalize(expected, dim=1).numpy()
    embedder = TimmImageEmbedder("test_vit", checkpoint_path=str(tmp_path / "vit.pth"), autocast=False)
    found = embed(embedder, pictures)
    assert found.shape == (3, 64)
    assert (found * expected).sum(axis=1).min() > 0.9999
    assert embedder.weights_digest() == file_digest(tmp_path / "vit.pth")


def test_random_weights_are_reproducible(pictures: list[NDArray[np.uint8]]) -> None:
    """Another stage object, another state of the generator: the same vectors."""
    first = embed(TimmImageEmbedder("test_vit"), pictures)
    torch.manual_seed(99)
    from imagecurate.stages import models

    models._models.clear()
    assert np.array_equal(embed(TimmImageEmbedder("test_vit", batch_size=1), pictures), first)


def test_fingerprint(tmp_path: Path) -> None:
    """The weights count by their digest, however they came; batches and threads do not."""
    base = TimmImageEmbedder("test_vit").fingerprint()
    assert base == TimmImageEmbedder("test_vit", batch_size=8, num_threads_per_worker=2).fingerprint()
    torch.save(timm.create_model("test_vit").state_dict(), tmp_path / "vit.pth")
    stored = TimmImageEmbedder("test_vit", checkpoint_path=str(tmp_path / "vit.pth"))
    both = TimmImageEmbedder("test_vit", pretrained=True, checkpoint_path=str(tmp_path / "vit.pth"))
    assert stored.fingerprint() == both.fingerprint()
    names = [base, stored.fingerprint(), TimmImageEmbedder("test_vit2").fingerprint()]
    names.append(TimmImageEmbedder("test_vit", normalize_embeddings=False).fingerprint())
    assert len(set(names)) == len(names)
    assert TimmImageEmbedder("test_vit").identity()["weights"] == "random, seed 0"


@pytest.mark.parametrize(
    ("name", "space"),
    [
        (CLIP, CLIP_VIT_L14),
        ("vit_large_patch14_clip_224.openai", CLIP_VIT_L14),
        ("vit_large_patch14_clip_quickgelu_224", "timm/vit_large_patch14_clip_quickgelu_224.dfn2b"),
        ("vit_large_patch14_clip_quickgelu_336.openai", "timm/vit_large_patch14_clip_quickgelu_336.openai"),
        ("vit_base_patch32_clip_224.openai", "timm/vit_base_patch32_clip_224.openai"),
    ],
)
def test_whose_embedding_it_is(name: str, space: str) -> None:
    """Told by architecture and weights, not by width."""
    assert TimmImageEmbedder(name).embedding_space() == space


def test_caveats() -> None:
    """Random weights, and OpenAI's weights with another activation, are said."""
    assert TimmImageEmbedder(CLIP).caveat() == "its weights are random"
    assert TimmImageEmbedder(CLIP, pretrained=True).caveat() is None
    assert "QuickGELU" in str(TimmImageEmbedder("vit_large_patch14_clip_224.openai", pretrained=True).caveat())


@pytest.mark.shared
def test_embeddings_of_photographs_equal_timm_on_pillow(shared: Path, tmp_path: Path) -> None:
    """From the bytes in a tar to the vector in the dataset, against Pillow, timm's transform and timm's features."""
    torch.manual_seed(3)
    model = timm.create_model("test_vit").eval()
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    shard = shared / "data" / "photos" / "00002.tar"
    dataset = ic.read_webdataset(str(shard), workdir=tmp_path / "work")
    frame = TimmImageEmbedder("test_vit", checkpoint_path=str(tmp_path / "vit.pth"), autocast=False)(dataset).metadata
    found = np.stack(frame.set_index("key").image_embedding.compute())
    with tarfile.open(shard) as tar, torch.inference_mode():
        files = [tar.extractfile(member) for member in tar if member.name.endswith(".jpg")]
        pictures = torch.stack([transform(Image.open(file).convert("RGB")) for file in files])  # type: ignore[arg-type]
        expected = model.forward_head(model.forward_features(pictures), pre_logits=True)
    expected = torch.nn.functional.normalize(expected, dim=1).numpy()
    assert found.shape == expected.shape == (115, 64)
    assert (found * expected).sum(axis=1).min() >= 0.9999
