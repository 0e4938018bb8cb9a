"""Clusters that the report finds by itself, where there are embeddings and no column names any."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from making import picture, write_shard
from opening import opened

import imagecurate as ic
from imagecurate.explore.report import found_clusters
from imagecurate.explore.report.found_clusters import find_clusters


def with_vectors(folder: Path, vectors: Sequence[Sequence[float] | None], shards: int = 1) -> ic.ImageTextPairDataset:
    """A sample for each vector; keys count up."""
    parts = np.array_split(np.arange(len(vectors)), shards)
    for number, part in enumerate(parts):
        rows = [{"key": f"{n:04d}", "image_embedding": vectors[n], "size": n} for n in part.tolist()]
        pictures = [(f"{n:04d}", {"jpg": picture(n % 4), "txt": f"picture {n}"}) for n in part.tolist()]
        write_shard(folder / "data" / f"{number:05d}.tar", pictures, rows)
    return opened(folder / "data")


def around_axes(count: int, axes: int = 4) -> list[list[float]]:
    """Vectors near so many axes in turn."""
    random = np.random.default_rng(0)
    return (np.eye(axes)[np.arange(count) % axes] + random.normal(0, 0.01, (count, axes))).tolist()


def found_in(page: Path) -> str:
    """What the section says, without markup."""
    section = page.read_text(encoding="utf-8").partition('<section id="clusters"')[2].partition("</section>")[0]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", section))


def test_kept_samples_fall_into_clusters(tmp_path: Path) -> None:
    """Each holds vectors of one axis; none that a filter dropped is in it; the nearest pictures are its own."""
    dataset = with_vectors(tmp_path, around_axes(80), shards=3).filter("size >= 8", name="size")
    found = find_clusters(dataset._ready, dataset._shards, "image_embedding", "image_embedding")
    assert found is not None
    assert found.sampled == sum(cluster.size for cluster in found.found.values()) == 72
    firsts = [0, 27, 54]
    for cluster in found.found.values():
        numbers = [firsts[ref.shard] + ref.row for _, ref in cluster.nearest]
        assert min(numbers) >= 8
        assert len({number % 4 for number in numbers}) == 1
        distances = [distance for distance, _ in cluster.nearest]
        assert distances == sorted(distances)
    dataset.report(tmp_path / "r.html", progress=False)
    said = found_in(tmp_path / "r.html")
    assert "6 clusters that k-means finds among 72 kept samples by image_embedding" in said
    assert "cluster 1 " in said
    assert "picture " in said


def test_a_sample_is_drawn_from_some_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are."""
    monkeypatch.setattr(found_clusters, "_VECTORS", 20)
    monkeypatch.setattr(found_clusters, "_SHARDS", 2)
    dataset = with_vectors(tmp_path, around_axes(100), shards=5)
    found = find_clusters(dataset._ready, dataset._shards, "image_embedding", "image_embedding")
    assert found is not None
    assert found.sampled == 20
    assert {ref.shard for cluster in found.found.values() for _, ref in cluster.nearest} == {0, 4}


def test_a_column_that_names_clusters_is_taken(whole: ic.ImageTextPairDataset, tmp_path: Path) -> None:
    """Also where there are embeddings."""
    ic.ThumbnailEmbedder()(whole).report(tmp_path / "r.html", progress=False)
    assert "3 clusters in column cluster; pictures are those nearest to the centre by cluster_distance" in found_in(
        tmp_path / "r.html"
    )


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        ([[1.0, 2.0]] * 30, "1 cluster that k-means finds among 30 kept samples"),
        ([[1.0, 0.0], [], [1.0, float("nan")], None, [0.0, 0.0], [2.0]] * 10, "among 10 kept samples"),
        ([[1.0, 0.0], [0.0, 1.0]], ""),
        ([None] * 9 + [[1.0]], ""),
    ],
    ids=["equal", "odd", "few", "one"],
)
def test_vectors_of_which_there_is_little_to_say(tmp_path: Path, vectors: list[list[float] | None], said: str) -> None:
    """Equal ones are one cluster; empty, zero, missing and infinite ones are in none; of a few there is none."""
    with_vectors(tmp_path, vectors).report(tmp_path / "r.html", progress=False)
    found = found_in(tmp_path / "r.html")
    assert said in found
    assert bool(said) == bool(found)
