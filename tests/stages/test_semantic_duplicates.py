"""Embeddings within a cosine: what is marked, by which preference, and what is computed for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import picture, write_shard
from numpy.typing import NDArray

import imagecurate as ic
from imagecurate.errors import ColumnNotFoundError, ParameterError

VECTORS = np.random.default_rng(3).normal(size=(60, 8)).astype(np.float32)
for _copy, _of in ((11, 3), (30, 3), (31, 11), (45, 20), (59, 58)):
    VECTORS[_copy] = VECTORS[_of] + 0.05 * np.random.default_rng(_copy).normal(size=8)


def write(folder: Path, vectors: NDArray[np.float32] = VECTORS, shards: int = 3, **columns: list[Any]) -> Path:
    """Samples with an embedding that came with the data, and further columns."""
    rows = [f"{number:03d}" for number in range(len(vectors))]
    for shard, numbers in enumerate(np.array_split(np.arange(len(vectors)), shards)):
        made = [(rows[number], {"jpg": picture(0, (8, 8))}) for number in numbers]
        table = {
            "key": [rows[number] for number in numbers],
            "emb": pa.array(
                [None if np.isnan(vectors[n]).any() else vectors[n] for n in numbers], pa.list_(pa.float32())
            ),
        }
        table |= {name: [values[number] for number in numbers] for name, values in columns.items()}
        write_shard(folder / f"{shard}.tar", made)
        pq.write_table(pa.table(table), folder / f"{shard}.parquet")
    return folder


def opened(folder: Path, work: str = "work") -> ic.ImageTextPairDataset:
    return ic.read_webdataset(str(folder), workdir=folder.parent / work)


def brute_force(vectors: NDArray[np.float32], order: list[int], eps: float) -> dict[int, int]:
    """The row that each duplicate names."""
    units = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    kept: list[int] = []
    named = {}
    for row in order:
        near = [other for other in kept if units[row] @ units[other] >= 1 - eps]
        if near:
            named[row] = near[0]
        else:
            kept.append(row)
    return named


def marks(ds: ic.ImageTextPairDataset) -> dict[int, int]:
    frame = ds.metadata.compute()
    number = dict(zip(frame.sample_id, frame.key.astype(int), strict=True))
    marked = frame[frame.semantic_duplicate_of.notna()]
    return {int(row.key): number[row.semantic_duplicate_of] for row in marked.itertuples()}


def dedup(**parameters: Any) -> ic.SemanticDeduplicator:
    return ic.SemanticDeduplicator(image_embedding_column="emb", **parameters)


@pytest.mark.parametrize("shards", [1, 4])
@pytest.mark.parametrize("eps", [0.001, 0.02, 0.2])
def test_the_outcome_is_brute_forces(tmp_path: Path, shards: int, eps: float) -> None:
    """The kept set and every name, whatever the shards; the similarity is beside each."""
    ds = dedup(eps=eps)(opened(write(tmp_path / "data", shards=shards)))
    expected = brute_force(VECTORS, list(range(60)), eps)
    assert marks(ds) == expected
    frame = ds.metadata.compute().set_index(ds.metadata.key.compute().astype(int))
    units = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    for row, kept in expected.items():
        assert frame.semantic_similarity[row] == pytest.approx(units[row] @ units[kept], abs=1e-6)
        assert frame.semantic_duplicate_group[row] == frame.sample_id[kept] == frame.semantic_duplicate_group[kept]
    assert frame.semantic_similarity.notna().sum() == len(expected)


def test_the_preferred_ones_stay(tmp_path: Path) -> None:
    """Largest first, several columns, smallest with a minus, nulls last, ties as in the data."""
    quality = [float("nan") if n % 7 == 0 else float(n % 5) for n in range(60)]
    folder = write(tmp_path / "data", quality=quality, size=[n % 3 for n in range(60)])
    frame = pd.DataFrame({"quality": quality, "size": [n % 3 for n in range(60)]})
    order = frame.sort_values(["quality", "size"], ascending=[False, True], na_position="last", kind="stable")
    ds = dedup(min_similarity=0.98, keep_by=["quality", "-size"])(opened(folder))
    assert marks(ds) == brute_force(VECTORS, order.index.tolist(), 0.02)
    backwards = dedup(eps=0.02, keep_by="key")(opened(folder))
    assert marks(backwards) == brute_force(VECTORS, list(range(59, -1, -1)), 0.02)


@pytest.mark.parametrize("order", ["first", "random", "hard", "easy"])
def test_other_orders(tmp_path: Path, order: str) -> None:
    """No two that stay are near; each that goes names one that stays."""
    ds = dedup(eps=0.02, order=order, n_clusters=3)(opened(write(tmp_path / "data")))
    found = marks(ds)
    groups = {frozenset(group) for group in ({3, 11, 30, 31}, {20, 45}, {58, 59})}
    assert {row for group in groups for row in group} >= set(found) | set(found.values())
    again = ic.read_webdataset(str(tmp_path / "data"), workdir=None)
    assert marks(dedup(eps=0.02, order=order, n_clusters=3)(again)) == found


def test_rows_without_a_vector_are_no_duplicates(tmp_path: Path) -> None:
    """Null and zero vectors stay; few rows, one row, none at all, work."""
    vectors = VECTORS[:5].copy()
    vectors[1] = np.nan
    vectors[2:4] = 0
    ds = dedup(eps=0.3, n_clusters=50)(opened(write(tmp_path / "data", vectors)))
    assert marks(ds) == {}
    one = opened(tmp_path / "data").filter("key == '004'")
    assert marks(dedup(eps=0.3)(one)) == {}
    assert dedup(eps=0.3)(opened(tmp_path / "data").filter("key == 'x'")).metadata.compute().empty


def test_only_within_a_group(tmp_path: Path) -> None:
    """Samples of other groups, or of none, are not compared."""
    groups = ["a" if n < 20 else "b" if n < 58 else None for n in range(60)]
    ds = dedup(eps=0.02, within="group")(opened(write(tmp_path / "data", group=groups)))
    assert marks(ds) == {11: 3, 31: 30, 45: 20}


def test_the_rule_of_the_paper(tmp_path: Path) -> None:
    """Any preferred one within eps drops a row, marked or not; every row has its score."""
    ds = dedup(eps=0.02, rule="semdedup", order="first", n_clusters=1)(opened(write(tmp_path / "data")))
    units = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    scores = np.array([max(units[:row] @ units[row], default=0.0) for row in range(60)])
    frame = ds.metadata.compute()
    assert np.allclose(frame.semantic_similarity, scores, atol=1e-6)
    assert set(marks(ds)) == set(np.flatnonzero(scores > 0.98).tolist())


def test_preview_compares_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several thresholds, then a run with one of them and another preference: vectors are compared once."""
    from imagecurate.neighbours import pairs

    compared: list[float] = []
    compare = pairs.compare_cells

    def counted(layout: Any, eps: float, *rest: Any) -> Any:
        compared.append(eps)
        return compare(layout, eps, *rest)

    monkeypatch.setattr(pairs, "compare_cells", counted)
    ds = opened(write(tmp_path / "data"))
    frame = dedup(eps=0.05).preview(ds, min_similarity=[0.9, 0.98, 0.999])
    expected = [len(brute_force(VECTORS, list(range(60)), eps)) for eps in (0.1, 0.02, 0.001)]
    assert frame.duplicates.tolist() == expected
    assert frame.share.tolist() == [count / 60 for count in expected]
    folders = sorted((tmp_path / "work").rglob("done"))
    assert marks(dedup(eps=0.02)(ds)) == brute_force(VECTORS, list(range(60)), 0.02)
    assert marks(dedup(eps=0.1, keep_by="key")(ds)) == brute_force(VECTORS, list(range(59, -1, -1)), 0.1)
    assert sorted((tmp_path / "work").rglob("done")) == folders
    assert set(compared) == {0.1}


def test_what_is_refused(tmp_path: Path) -> None:
    """Arguments that contradict each other, columns that are not there, a threshold that nobody knows."""
    ds = opened(write(tmp_path / "data"))
    with pytest.raises(ParameterError, match="eps or min_similarity, which say the same"):
        dedup(eps=0.1, min_similarity=0.9)
    with pytest.raises(ParameterError, match="keep_by is for order='best'"):
        dedup(eps=0.1, keep_by="key", order="hard")
    with pytest.raises(ParameterError, match="eps"):
        dedup(eps=0.0)
    with pytest.raises(ParameterError, match="n_clusters"):
        dedup(eps=0.1, n_clusters=0)
    with pytest.raises(ParameterError, match="how near duplicates are depends on the embedder") as raised:
        dedup()(ds)
    assert "preview(ds" in str(raised.value)
    with pytest.raises(ColumnNotFoundError, match="'image_embedding' not found"):
        ic.SemanticDeduplicator(eps=0.1)(ds)
    with pytest.raises(ParameterError, match="between 0 and 1"):
        dedup(eps=0.1).preview(ds, min_similarity=[1.5])


def test_a_plan_can_be_looked_at(tmp_path: Path) -> None:
    """What the planner would do, without doing it."""
    plan = dedup(eps=0.02).plan(opened(write(tmp_path / "data")))
    assert plan.chosen in str(plan)
    assert not list((tmp_path / "work").rglob("pairs"))


def test_against_what_was_curated_before(tmp_path: Path) -> None:
    """What the other dataset has is marked and names the sample there; the rest is compared among itself."""
    old = ic.read_webdataset({"old": str(write(tmp_path / "old", VECTORS[:25]))}, workdir=tmp_path / "old-work")
    new = VECTORS[25:].copy()
    new[0], new[1] = VECTORS[5], VECTORS[5]
    ds = opened(write(tmp_path / "new", new))
    found = dedup(eps=0.02, against=old)(ds)
    frame = found.metadata.compute().reset_index(drop=True)
    named = frame[frame.semantic_duplicate_of.notna()].set_index("key").semantic_duplicate_of.to_dict()
    positions = old.metadata.compute().set_index("key").sample_id
    assert named == {
        "000": positions["005"], "001": positions["005"], "005": positions["003"], "006": positions["003"],
        "020": positions["020"], "034": frame.sample_id[33],
    }  # fmt: skip
    assert frame.semantic_similarity[0] == pytest.approx(1)
    assert found.drop_duplicates().counts().left.iloc[-1] == 35 - 6
    again = dedup(eps=0.02, against=old.filter("key != '005'"))(ds)
    assert set(marks_of(again)) == {"001", "005", "006", "020", "034"}
    marked = dedup(eps=0.02)(old)  # as an export of what was curated has the columns of its own deduplication
    assert set(marks_of(dedup(eps=0.02, against=marked)(ds))) == set(named)
    with pytest.raises(ParameterError, match="against must be a dataset"):
        dedup(eps=0.02, against="old")


def marks_of(ds: ic.ImageTextPairDataset) -> list[str]:
    frame = ds.metadata.compute()
    return frame.key[frame.semantic_duplicate_of.notna()].tolist()
