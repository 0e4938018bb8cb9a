"""The main job on real photographs: load, decode, embed, score, filter, export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import member_digests

import imagecurate as ic
from imagecurate.errors import StageError
from imagecurate.weights import CLIP_VIT_L14


class TinyClip(ic.ImageEmbedder):
    """A tiny ViT with a projection head of 768, standing in for CLIP ViT-L/14."""

    input_size = 160
    embedding_of = CLIP_VIT_L14

    def load_model(self, device: str) -> Callable[[Any], Any]:
        import timm

        model: Callable[[Any], Any] = timm.create_model("test_vit", num_classes=768)
        return model


@pytest.mark.shared
def test_photographs_from_shards_to_curated_shards(shared: Path, tmp_path: Path, decodes: list[int]) -> None:
    """Every sample accounted for, every byte kept, both predictors with LAION's weights, and nothing done twice."""
    photos = shared / "data" / "photos"

    def scored(before: str | None = None) -> ic.ImageTextPairDataset:
        ds = ic.read_webdataset(str(photos), id_col="key", workdir=tmp_path / "work")
        if before is not None:
            ds = ds.filter(before, name="size")
        ds = TinyClip(batch_size=64)(ds)
        ds = ic.AestheticClassifier(model_path=str(shared / "weights/sac+logos+ava1-l14-linearMSE.pth"))(ds)
        return ic.NsfwClassifier(model_path=str(shared / "weights/clip_autokeras_binary_nsfw.pth"))(ds)

    ds = scored()
    frame = ds.metadata.compute()
    assert len(decodes) == len(frame) == 460
    assert {len(vector) for vector in frame.image_embedding} == {768}
    assert np.allclose(np.linalg.norm(np.stack(frame.image_embedding), axis=1), 1, atol=1e-5)
    assert frame[["aesthetic_score", "nsfw_score"]].notna().all().all()

    threshold = float(frame.aesthetic_score.median())
    kept = ds.filter(f"aesthetic_score >= {threshold!r} and nsfw_score < 0.99", name="quality")
    summary = kept.to_webdataset(tmp_path / "out", samples_per_shard=50)
    ledger = kept.ledger().compute()
    expected = frame.key[(frame.aesthetic_score >= threshold) & (frame.nsfw_score < 0.99)]
    assert ledger.key[ledger.status == "kept"].tolist() == expected.tolist()
    assert len(ledger) == 460 == (ledger.status == "kept").sum() + (ledger.reason == "quality").sum()
    before, after = member_digests(photos), member_digests(tmp_path / "out")
    assert len(after) == 3 * summary.samples
    assert after.items() <= before.items()

    done = len(decodes)
    for condition in (f"aesthetic_score >= {threshold + 0.01!r}", "aesthetic_score >= 0"):
        assert scored().filter(condition).compute().last_run.computed == {}  # type: ignore[union-attr]
    assert len(decodes) == done == 460


@pytest.mark.shared
def test_a_looser_filter_in_front_of_the_embedder_decodes_what_it_admits(
    shared: Path, tmp_path: Path, decodes: list[int]
) -> None:
    """Captions first, by the class that the parquet names; the second run embeds the new ones alone."""

    def embedded(classes: str) -> ic.ImageTextPairDataset:
        ds = ic.read_webdataset(str(shared / "data" / "photos"), workdir=tmp_path / "work")
        return TinyClip()(ds.filter(f"class matches '^[{classes}]'", name="class"))

    first = embedded("a-c").compute()
    assert 0 < first.counts().left.iloc[-1] == len(decodes) < 460
    some = len(decodes)
    second = embedded("a-f").compute()
    assert some < second.counts().left.iloc[-1] == len(decodes)
    embedded("a-b").compute()
    assert second.counts().left.iloc[-1] == len(decodes)


@pytest.mark.parametrize("name", ["vit_base_patch32_clip_224.openai", "vit_base_patch16_224.augreg_in21k"])
def test_predictors_refuse_other_models_by_name(name: str, tmp_path: Path) -> None:
    """CLIP ViT-B/32's 512 numbers, and 768 of another model, which a check of the width would let pass."""
    from making import write_folder

    ds = ic.read_webdataset(str(write_folder(tmp_path / "data")), workdir=None)
    embedded = ic.TimmImageEmbedder(name)(ds)
    for predictor in (ic.AestheticClassifier(), ic.NsfwClassifier()):
        with pytest.raises(
            StageError, match=r"(?s)" + name.split(".")[0] + r".*Hint: .*vit_large_patch14_clip_quickgelu_224"
        ):
            predictor(embedded)
