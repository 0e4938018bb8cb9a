"""Copies that look alike are found, different pictures are not; and the three levels in a row."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from making import write_tar
from PIL import Image, ImageEnhance, ImageOps

import imagecurate as ic
from imagecurate.errors import ParameterError


def scene(seed: int, size: tuple[int, int] = (300, 220)) -> Image.Image:
    """A picture with detail at several scales, another for each seed."""
    random = np.random.default_rng(seed)
    layers = []
    for side in (4, 12, 40):
        coarse = Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8))
        layers.append(np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float32))
    return Image.fromarray(np.average(layers, axis=0, weights=[3, 2, 1]).astype(np.uint8))


def encoded(image: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures; copies of four: half size, harder compressed, cut at an edge, equal bytes; and two flat ones."""
    members = [(f"{n}.jpg", encoded(scene(n), quality=92)) for n in range(6)]
    copies = {
        "half": encoded(scene(0).resize((150, 110))),
        "q30": encoded(scene(1), quality=30),
        "cut": encoded(scene(2).crop((0, 8, 288, 216)), "PNG"),
        "same": members[3][1],
        "white": encoded(Image.new("RGB", (200, 200), "white")),
        "cream": encoded(Image.new("RGB", (200, 200), "ivory")),
    }
    write_tar(tmp_path / "data/0.tar", members)
    write_tar(tmp_path / "data/1.tar", [(f"{name}.jpg", data) for name, data in copies.items()])
    return tmp_path / "data"


def opened(folder: Path) -> ic.ImageTextPairDataset:
    return ic.read_webdataset(str(folder), workdir=folder.parent / "work")


def stars(frame: pd.DataFrame, level: str = "perceptual") -> dict[str, str]:
    names = dict(zip(frame.sample_id, frame.key, strict=True))
    marked = frame[frame[f"{level}_duplicate_of"].notna()]
    return {key: names[other] for key, other in zip(marked.key, marked[f"{level}_duplicate_of"], strict=True)}


def test_copies_are_found_and_others_are_not(folder: Path, decodes: list[int]) -> None:
    """Whatever was done to them; what has nothing to see is left alone; each picture is decoded once."""
    frame = ic.PerceptualDeduplicator()(opened(folder)).metadata.compute()
    assert stars(frame) == {"half": "0", "q30": "1", "cut": "2", "same": "3"}
    assert frame.perceptual_distance.notna().sum() == 4
    assert (frame.perceptual_distance.dropna() <= 40).all()
    assert len(decodes) == 12


def test_parameters(folder: Path) -> None:
    """Fewer bits, no parts, a smaller distance, another preference."""
    ds = opened(folder)
    assert "cut" not in stars(ic.PerceptualDeduplicator(crops=0)(ds).metadata.compute())
    assert stars(ic.PerceptualDeduplicator(max_distance=0, crops=0)(ds).metadata.compute()) == {"same": "3"}
    short = ic.PerceptualDeduplicator(hash_size=64, crops=1)
    with pytest.raises(ic.errors.ColumnExistsError, match="perceptual_hash"):
        short(ic.PerceptualHash()(ds).pipe(ic.PerceptualHash(hash_size=64)))
    assert {"half", "q30", "same"} <= set(stars(short(ds).metadata.compute()))
    backwards = ic.PerceptualDeduplicator(keep_by="-image_width")(ds).metadata.compute()
    assert stars(backwards)["0"] == "half"
    with pytest.raises(ParameterError, match="max_distance"):
        ic.PerceptualDeduplicator(max_distance=-1)


def test_three_levels_in_a_row(folder: Path) -> None:
    """Each level sees what the former kept; the ledger and the counts tell them apart."""
    ds = ic.Deduplicate(min_similarity=0.995)(opened(folder).pipe(ic.ThumbnailEmbedder()))
    counts = ds.counts().set_index("step").dropped
    assert counts["exact duplicates"] == 1
    assert counts["perceptual duplicates"] == 3
    ledger = ds.ledger().compute().set_index("key").reason
    assert ledger["same"] == "exact duplicates"
    assert ledger["half"] == ledger["q30"] == ledger["cut"] == "perceptual duplicates"
    piped = opened(folder).pipe(ic.ThumbnailEmbedder(), ic.Deduplicate(min_similarity=0.995))
    assert piped.counts().left.iloc[-1] == ds.counts().left.iloc[-1]
    only = ic.Deduplicate(levels=["exact"])(opened(folder))
    assert only.counts().dropped.sum() == 1
    with pytest.raises(ParameterError, match="each level once"):
        ic.Deduplicate(levels=["exact", "exact"])


@pytest.mark.shared
def test_planted_copies_among_photographs(shared: Path, tmp_path: Path) -> None:
    """All sixty planted near-duplicates of the photographs, and no false pair."""
    listed = pd.read_csv(shared / "data/photos_duplicates.csv", dtype=str)
    ds = ic.read_webdataset(str(shared / "data/photos"), workdir=tmp_path / "work")
    frame = ic.PerceptualDeduplicator()(ds).metadata.compute()
    planted = {frozenset(pair) for pair in zip(listed.key, listed.source_key, strict=True)}
    assert {frozenset(pair) for pair in stars(frame).items()} == planted


def altered(image: Image.Image, kind: str, random: np.random.Generator) -> Image.Image:
    """A copy of a kind."""
    if kind == "half":
        return image.reduce(2)
    if kind == "brighter":
        return ImageEnhance.Brightness(image).enhance(random.uniform(1.1, 1.4))
    if kind == "grey":
        return image.convert("L")
    if kind == "cut":
        width, height = round(0.95 * image.width), round(0.95 * image.height)
        left, top = random.integers(0, (image.width - width + 1, image.height - height + 1)).tolist()
        return image.crop((left, top, left + width, top + height))
    return image


@pytest.mark.shared
@pytest.mark.parametrize("seed", [1, 2])
def test_every_kind_of_copy_of_photographs(shared: Path, tmp_path: Path, seed: int) -> None:
    """Equal ones by the exact level, nearly all others by the perceptual one, and no photograph for another."""
    random = np.random.default_rng(seed)
    listed = set(pd.read_csv(shared / "data/photos_duplicates.csv", dtype=str).key)
    files = {key: data for key, data in photographs(shared / "data/photos").items() if key not in listed}
    chosen = random.choice(sorted(files), 60, replace=False).tolist()
    kinds = ("same", "half", "q30", "brighter", "grey", "cut")
    copies = []
    for number, key in enumerate(chosen):
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(files[key]))).convert("RGB")
        for kind in kinds:
            quality = 30 if kind == "q30" else 90
            data = files[key] if kind == "same" else encoded(altered(image, kind, random), quality=quality)
            copies.append((f"{number:03d}{kind}.jpg", data))
    write_tar(tmp_path / "data/0.tar", [(f"{key}.jpg", data) for key, data in files.items()])
    write_tar(tmp_path / "data/1.tar", [copies[place] for place in random.permutation(len(copies))])
    exact = ic.ExactDeduplicator()(opened(tmp_path / "data"))
    found = stars(exact.metadata.compute(), "exact")
    assert found == {f"{number:03d}same": key for number, key in enumerate(chosen)}
    left = exact.filter("exact_duplicate_of is null", name="exact duplicates")
    found = stars(ic.PerceptualDeduplicator()(left).metadata.compute())
    assert all(chosen[int(copy[:3])] == key for copy, key in found.items())
    counts = {kind: sum(copy[3:] == kind for copy in found) / len(chosen) for kind in kinds[1:]}
    assert counts.pop("cut") >= 0.9
    assert min(counts.values()) >= 0.98


def photographs(folder: Path) -> dict[str, bytes]:
    """The files of the images in some tars, by their keys."""
    files = {}
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                data = tar.extractfile(member)
                if data is not None and member.name.endswith((".jpg", ".png", ".webp")):
                    files[member.name.split(".")[0]] = data.read()
    return files


def test_leakage_of_an_evaluation_set(folder: Path, tmp_path: Path) -> None:
    """What the reference has is marked, by the first level that finds it, and can be filtered."""
    members = [
        ("e0.jpg", encoded(scene(0), quality=92)),  # equal bytes
        ("e1.jpg", encoded(scene(1).resize((200, 147)), "PNG")),  # looks equal
        ("e2.jpg", encoded(scene(2).crop((9, 0, 294, 209)), quality=80)),  # cut
        ("e9.jpg", encoded(scene(9))),
    ]
    write_tar(tmp_path / "eval/0.tar", members)
    reference = ic.read_webdataset({"eval": str(tmp_path / "eval")}, workdir=tmp_path / "eval-work")
    found = ic.find_leakage(opened(folder), reference)
    frame = found.metadata.compute().set_index("key")
    assert frame.leakage_of.dropna().to_dict() == {
        "0": "eval/0#0", "half": "eval/0#0", "1": "eval/0#1", "q30": "eval/0#1", "2": "eval/0#2",
    }  # fmt: skip
    assert frame.leakage_by["0"] == "exact"
    assert set(frame.leakage_by.dropna()) == {"exact", "perceptual"}
    assert len(found.filter("leakage_of is null").metadata) == 7
    embedded = [each.pipe(ic.ThumbnailEmbedder()) for each in (opened(folder), reference)]
    again = ic.find_leakage(*embedded, min_similarity=0.9, max_distance=0).metadata.compute().set_index("key")
    assert (again.leakage_by == "semantic").sum() >= 3
    with pytest.raises(ParameterError, match="reference must be a dataset"):
        ic.find_leakage(opened(folder), "eval")  # type: ignore[arg-type]
