"""``ds.nearest``, ``ds.embedding_map``, ``ds.show_duplicates``: what embeddings and hashes say of each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import picture, samples, write_folder, write_shard
from opening import opened
from test_show import Elements, assert_harmless
from toys import Brightness, Corner

import imagecurate as ic
from imagecurate.errors import ColumnNotFoundError, ParameterError
from imagecurate.explore import lookalikes


@pytest.fixture
def embedded(tmp_path: Path) -> ic.ImageTextPairDataset:
    """Sixty samples in three shards with thumbnails as embeddings."""
    return ic.ThumbnailEmbedder()(opened(write_folder(tmp_path / "data", shards=3, samples_per_shard=20)))


def cosines(dataset: ic.ImageTextPairDataset, query: np.ndarray) -> list[str]:
    """Keys in the order of their cosine, by brute force."""
    frame = dataset.metadata.compute()
    vectors = np.stack(frame["image_embedding"].tolist())
    similarity = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    return frame["key"].to_numpy()[np.argsort(-similarity, kind="stable")].tolist()


def test_nearest_is_what_brute_force_finds(embedded: ic.ImageTextPairDataset) -> None:
    """By key, by id, by vector; the sample itself is not among its look-alikes."""
    frame = embedded.metadata.compute().set_index("key")
    vector = np.array(frame.loc["000000030", "image_embedding"])
    expected = cosines(embedded, vector)
    assert expected[0] == "000000030"
    for query in ("000000030", "default/00001#10"):
        found = embedded.nearest(query, 7)
        assert found.rows["key"].tolist() == expected[1:8]
        assert found.rows["similarity"].is_monotonic_decreasing
    assert embedded.nearest(vector, 7).rows["key"].tolist() == expected[:7]
    assert embedded.nearest(vector.tolist(), 1).rows["similarity"].iloc[0] == pytest.approx(1)


def test_nearest_to_an_image_file(embedded: ic.ImageTextPairDataset, tmp_path: Path) -> None:
    """By its path, as text or not, or its bytes; it is embedded as the samples were, and shown."""
    data = picture(42, (64, 48))
    path = tmp_path / "query.jpg"
    path.write_bytes(data)
    for query in (path, str(path), data):
        found = embedded.nearest(query, 3)
        assert found.rows["key"].iloc[0] == "000000042"
        assert found.rows["similarity"].iloc[0] > 0.99
    page = found._repr_html_()
    assert_harmless(page)
    assert next(attributes["alt"] for name, attributes in Elements(page).found if name == "img") == "the query"


def test_a_large_file_is_prepared_as_the_samples_were(tmp_path: Path) -> None:
    """One that embedders have decoded at less than its size has the vector of the same file in a shard, to the bit."""

    class Flat(ic.ImageEmbedder):
        input_size = 16
        normalize_embeddings = False

        def load_model(self, device: str) -> Any:
            return lambda pictures: pictures.flatten(1)

    data = picture(7, (640, 480))
    write_shard(tmp_path / "data/00000.tar", [*samples(3), ("big", {"jpg": data, "txt": "a large one"})])
    ds = Flat()(opened(tmp_path / "data"))
    frame = ds.metadata.compute().set_index("key")
    vector = lookalikes.embedded(ds._ready.plan, "image_embedding", data)
    assert vector.tolist() == list(frame.loc["big", "image_embedding"])
    assert vector.tolist() != lookalikes.embedded(ds._ready.plan, "image_embedding", picture(7, (64, 48))).tolist()


def test_look_alikes_are_among_what_is_left(tmp_path: Path, decodes: list[int]) -> None:
    """The query may have been dropped; what was embedded is not embedded again."""
    dataset = opened(write_folder(tmp_path / "data", shards=3, samples_per_shard=20))
    half = dataset.filter("score >= 10").pipe(ic.ThumbnailEmbedder())
    found = half.nearest("000000001", 5)
    assert len(decodes) == 21  # the query, and what passes
    assert found.rows["key"].min() >= "000000040"
    half.nearest("000000041", 5)
    assert len(decodes) == 21
    assert len(half.nearest("000000041", 500)) == 19


def test_wrong_queries(embedded: ic.ImageTextPairDataset, tmp_path: Path) -> None:
    """Each says what it is and what could be asked instead."""
    with pytest.raises(ParameterError, match="no sample has the key or the sample_id 'cat'"):
        embedded.nearest("cat")
    with pytest.raises(ParameterError, match=r"there is no image file .*nothing.jpg"):
        embedded.nearest(tmp_path / "nothing.jpg")
    with pytest.raises(ParameterError, match="cannot be embedded: not an image"):
        embedded.nearest(b"no picture")
    with pytest.raises(ParameterError, match="a vector of 3 numbers, but 'image_embedding' has 67"):
        embedded.nearest([1.0, 2.0, 3.0])
    for query in (np.eye(3), [], [np.nan], 7, object()):
        with pytest.raises(ParameterError, match="a query is a sample_id, an image file, a key or a vector"):
            embedded.nearest(query)
    with pytest.raises(ParameterError, match="'score' holds double, but an embedding is a list of floats"):
        embedded.nearest("000000001", column="score")


def test_no_embedding_is_told(folder: Path) -> None:
    """With the stages that make one."""
    with pytest.raises(ColumnNotFoundError, match=r"run an embedder such as .* or ThumbnailEmbedder\(\) first"):
        opened(folder).nearest("000000001")
    with pytest.raises(ColumnNotFoundError, match="run an embedder"):
        opened(folder).embedding_map()


def test_a_map(embedded: ic.ImageTextPairDataset) -> None:
    """Distances in the plane are those of PCA; dots have colours, words, and pictures where one points."""
    found = embedded.embedding_map(color="width", pictures=7)
    assert len(found) == 60
    vectors = np.stack(embedded.metadata.compute()["image_embedding"].tolist()).astype(np.float64)
    spread = np.linalg.svd(vectors - vectors.mean(0), compute_uv=False) ** 2
    assert found.explained == pytest.approx((spread[:2] / spread.sum()).tolist(), rel=1e-3)
    assert sorted(found.frame.columns) == ["key", "sample_id", "width", "x", "y"]
    page = found._repr_html_()
    assert_harmless(page)
    names = [name for name, _ in Elements(page).found]
    assert names.count("image") == 7
    assert names.count("circle") == 60 + 7 + 5
    assert "explain" in repr(found)


def test_a_map_of_some(embedded: ic.ImageTextPairDataset, decodes: list[int]) -> None:
    """Only as many as are drawn are embedded, and what is known is taken first."""
    found = embedded.embedding_map(n=10)
    assert len(found) == 10
    assert len(decodes) < 40
    embedded.compute()
    assert len(decodes) == 60
    assert embedded.embedding_map(n=10, seed=1).frame["key"].tolist() != found.frame["key"].tolist()
    assert len(decodes) == 60


def test_a_map_covers_pictures(embedded: ic.ImageTextPairDataset) -> None:
    """Those with a high score show their colours only."""
    dataset = embedded.with_column("nsfw_score", "score * 0 + 0.9")
    plain, covered = (dataset.embedding_map(n=60, blur=blur)._repr_html_() for blur in (None, 0.2))
    images = [[a["href"] for name, a in Elements(page).found if name == "image"] for page in (plain, covered)]
    assert not set(images[0]) & set(images[1])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_maps_of_next_to_nothing(embedded: ic.ImageTextPairDataset, count: int) -> None:
    """No sample, one, and two."""
    found = embedded.filter(f"score < {count / 4}").embedding_map(color="caption")
    assert found.points.shape == (count, 2)
    assert repr(found)
    assert ("no sample that was looked at has a vector" in found._repr_html_()) == (count == 0)


def test_groups_of_duplicates(tmp_path: Path) -> None:
    """The one that stays first, then the others with the reason; across shards, and after they were dropped."""
    made = [*samples(6), *[(f"copy{n}", {"jpg": picture(n % 2, (48 + n % 2 * 8, 48))}) for n in range(5)]]
    for number in range(2):
        write_shard(tmp_path / "data" / f"{number}.tar", made[number::2])
    dataset = ic.SemanticDeduplicator(eps=0.01)(ic.ThumbnailEmbedder()(opened(tmp_path / "data")))
    for each in (dataset, dataset.drop_duplicates(), dataset.drop_duplicates().filter("key != '000000005'")):
        gallery = each.show_duplicates()
        assert len(gallery.groups) == 2
        by_size = sorted(gallery.groups, key=lambda group: group.count or 0)
        assert [group.count for group in by_size] == [3, 4]
        for group in gallery.groups:
            rows = gallery.rows.iloc[list(group.places)]
            assert group.has_kept
            assert rows["semantic_duplicate_of"].isna().tolist() == [True] + [False] * (len(rows) - 1)
            assert set(rows["semantic_duplicate_of"].dropna()) == {rows["sample_id"].iloc[0]}
            assert group.notes[0] == ""
            assert set(group.notes[1:]) == {"equal in meaning: similarity 1"}
    page = gallery._repr_html_()
    assert_harmless(page)
    assert page.count("<strong>kept</strong>") == 2
    assert len(dataset.show_duplicates(1, most=2)) == 2
    assert dataset.show_duplicates(1, most=2).groups[0].count in (3, 4)


def test_levels_and_orders_of_duplicates(tmp_path: Path) -> None:
    """Each level has its groups; the most doubtful can come first."""
    made = [(f"{n}", {"jpg": picture(n // 2, (64, 48))}) for n in range(6)]
    near = [(f"near{n}", {"jpg": picture(n, (80, 60))}) for n in range(2)]
    write_shard(tmp_path / "data" / "0.tar", [*made, *near])
    dataset = ic.ThumbnailEmbedder()(opened(tmp_path / "data"))
    dataset = ic.SemanticDeduplicator(eps=0.1)(ic.ExactDeduplicator()(dataset))
    assert {group.name.partition(":")[0] for group in dataset.show_duplicates().groups} == {"exact", "semantic"}
    exact = dataset.show_duplicates(level="exact")
    assert len(exact.groups) == 3
    assert {note for group in exact.groups for note in group.notes[1:]} == {"equal"}
    doubtful = dataset.show_duplicates(1, level="semantic", sort="-semantic_similarity")
    assert doubtful.rows["semantic_similarity"].min() == dataset.metadata["semantic_similarity"].min().compute()
    with pytest.raises(ParameterError, match="no level 'perceptual' of duplicates; the dataset has: exact, semantic"):
        dataset.show_duplicates(level="perceptual")


def test_no_duplicates_are_said(folder: Path) -> None:
    """Where none was found on the page; where nobody looked, with what to run."""
    with pytest.raises(ParameterError, match=r"run ExactDeduplicator\(\)"):
        opened(folder).show_duplicates()
    gallery = ic.ExactDeduplicator()(opened(folder)).show_duplicates()
    assert len(gallery) == 0
    assert "No sample is marked as a duplicate." in gallery._repr_html_()


def test_other_vectors_can_be_named(folder: Path) -> None:
    """The only column of vectors is taken by itself, of several the one that is named."""
    dataset = opened(folder).pipe(Corner())
    assert "by corner" in dataset.nearest("000000001", 2).title
    both = dataset.pipe(Corner(column="other"), Brightness())
    with pytest.raises(ColumnNotFoundError, match="column 'image_embedding' not found"):
        both.nearest("000000001")
    assert len(both.nearest("000000001", 2, column="other")) == 2


def test_everything_runs_on_workers(tmp_path: Path) -> None:
    """Tasks and their results are picklable, and what is shown is the same."""
    from distributed import Client, LocalCluster

    dataset = opened(write_folder(tmp_path / "data", shards=2, samples_per_shard=5)).pipe(ic.ThumbnailEmbedder())
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0", host="127.0.0.1") as cluster,
        Client(cluster),
    ):
        nearest = dataset.nearest("000000003", 4).rows["key"].tolist()
        assert dataset.show(3).rows["key"].tolist() == [f"{n:09d}" for n in range(3)]
        assert dataset.show(3, sort="-score", by="width").rows["key"].tolist()[0] == "000000000"
        assert dataset.hist("score").counts.sum() == 10
        assert len(dataset.embedding_map(color="score")) == 10
        assert len(ic.ExactDeduplicator()(dataset).show_duplicates()) == 0
        dataset.report(tmp_path / "there.html", title="t", progress=False)
    dataset.report(tmp_path / "here.html", title="t", progress=False)
    pages = [(tmp_path / name).read_text(encoding="utf-8") for name in ("there.html", "here.html")]
    there, here = (page.partition('id="samples"')[2].partition('id="record"')[0] for page in pages)
    assert there == here
    assert "k-means" in here
    assert nearest == dataset.nearest("000000003", 4).rows["key"].tolist()


def test_values_that_are_no_numbers_have_a_colour(embedded: ic.ImageTextPairDataset) -> None:
    """Infinite and missing ones; and a column that has nothing else."""
    dataset = embedded.with_column("odd", "1 / (score % 2) * 1e308 * 10 + score").with_column(
        "inf", "score * 1e308 * 99"
    )
    for color in ("odd", "inf", "image_embedding"):
        page = dataset.embedding_map(color)._repr_html_()
        assert_harmless(page)
        assert "nan" not in page.partition("<circle")[2].partition("<image")[0]


@pytest.fixture
def uneven(tmp_path: Path) -> ic.ImageTextPairDataset:
    """Two shards whose vectors have another length; one is missing, one holds NaN, one is zero, one is empty."""
    vectors = [[[1.0, 0.0], [1.0, 0.1], None, [float("nan"), 1.0]], [[1.0, 0.0, 0.0], [0.0] * 3, [], [1.0, 1.0, 0.0]]]
    for shard, some in enumerate(vectors):
        rows = [{"key": f"{shard}{n}", "vector": each} for n, each in enumerate(some)]
        made = [(row["key"], {"jpg": picture(n), "txt": "t"}) for n, row in enumerate(rows)]
        write_shard(tmp_path / "data" / f"{shard}.tar", made, rows)
    return opened(tmp_path / "data")


def test_a_map_of_uneven_vectors(uneven: ic.ImageTextPairDataset) -> None:
    """Those that can lie in one plane are drawn."""
    found = uneven.embedding_map(column="vector")
    assert found.frame["key"].str[0].nunique() == 1
    assert len(found) in (2, 3)
    assert_harmless(found._repr_html_())


def test_queries_without_a_direction_are_told(uneven: ic.ImageTextPairDataset) -> None:
    """Of a sample, or given."""
    with pytest.raises(ParameterError, match="the sample '02' has no value"):
        uneven.nearest("02")
    for key in ("03", "11", "12"):
        with pytest.raises(ParameterError, match=f"the vector of the sample '{key}' is empty, zero, or not of finite"):
            uneven.nearest(key)
    for vector in ([0.0, 0.0], [], [np.inf, 1.0]):
        with pytest.raises(ParameterError, match="a vector of finite numbers that are not all 0"):
            uneven.nearest(vector)


def test_names_that_are_no_sample(embedded: ic.ImageTextPairDataset) -> None:
    """Longer than a path may be, a home that nobody has, an id behind the last of its shard."""
    for name in ("x" * 5000, "~nobody-here/x", "a\0b", "default/00001#20"):
        with pytest.raises(ParameterError, match="no sample has the key or the sample_id"):
            embedded.nearest(name)
    with pytest.raises(ParameterError, match="no sample has the key or the sample_id"):
        embedded.compare("default/00001#19", "default/00001#20")
    for pictures in (-1, 2.5, "x"):
        with pytest.raises(ParameterError, match="pictures is a whole number of at least 0"):
            embedded.embedding_map(pictures=pictures)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="a column is named by a text"):
        embedded.embedding_map(column=5)  # type: ignore[arg-type]
