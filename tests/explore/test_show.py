"""``ds.show``, ``ds.compare`` and what all results have in common."""

from __future__ import annotations

import io
import logging
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from making import picture, samples, write_folder, write_shard
from opening import opened
from PIL import Image
from toys import Brightness, Corner, Rank, Twice

import imagecurate as ic
from imagecurate.errors import ColumnNotFoundError, OutputError, ParameterError
from imagecurate.shards.sources import LocalSource

HOSTILE = {
    "a": "<script>alert(1)</script>",
    "b": '"><img src=x onerror=alert(1)>',
    "c": "\u202egnp.exe\u202c שלום",
    "d": "line\nbreak \x07 & 'quotes' \"too\"",
    '"><svg onload=alert(1)>': "a name that is markup",
}


class Elements(HTMLParser):
    """All elements of a page with their attributes."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def assert_harmless(page: str) -> list[tuple[str, dict[str, str | None]]]:
    """No script, no handler, nothing loaded, and every picture said in words."""
    found = Elements(page).found
    assert "script" not in {name for name, _ in found}
    for name, attributes in found:
        assert not any(attribute.startswith("on") for attribute in attributes)
        for link in ("src", "href"):
            assert (attributes.get(link) or "data:").startswith("data:")
        if name == "img":
            assert attributes["alt"]
        if name == "svg" and attributes.get("class") != "ic-swatch":
            assert attributes["aria-label"]
    return found


@pytest.fixture
def hostile(tmp_path: Path) -> ic.ImageTextPairDataset:
    """Names and captions that would be markup."""
    made = [(key, {"jpg": picture(n), "txt": text}) for n, (key, text) in enumerate(HOSTILE.items())]
    write_shard(tmp_path / "data" / "0.tar", made)
    return opened(tmp_path / "data")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """File, offset and size of each read of a shard."""
    seen: list[tuple[str, int, int]] = []
    read, init = LocalSource.read, LocalSource.__init__

    def opening(self: LocalSource, path: str) -> None:
        init(self, path)
        self.path = path  # type: ignore[attr-defined]

    def counted(self: LocalSource, offset: int, size: int) -> bytes:
        seen.append((Path(self.path).stem, offset, size))  # type: ignore[attr-defined]
        return read(self, offset, size)

    monkeypatch.setattr(LocalSource, "__init__", opening)
    monkeypatch.setattr(LocalSource, "read", counted)
    return seen


def test_the_first_samples_are_shown(folder: Path) -> None:
    """In the order of the data, with their captions; as a frame for scripts, and as words for terminals."""
    gallery = opened(folder).show(6)
    assert gallery.rows["key"].tolist() == [f"{n:09d}" for n in range(6)]
    assert len(gallery) == 6
    assert gallery
    assert "picture number 5" in repr(gallery)
    found = assert_harmless(gallery._repr_html_())
    assert [attributes["alt"] for name, attributes in found if name == "img"] == [
        f"picture number {n}" for n in range(6)
    ]


def test_only_the_members_shown_are_read(tmp_path: Path, reads: list[tuple[str, int, int]]) -> None:
    """Of 1,000 shards one is opened, and of that, once it is indexed, the six pictures."""
    write_folder(tmp_path / "data", shards=1000, samples_per_shard=1)
    write_folder(tmp_path / "data", shards=1, samples_per_shard=20)
    dataset = opened(tmp_path / "data")
    reads.clear()  # of those that told the columns
    dataset.show(6)._repr_html_()
    assert {shard for shard, _, _ in reads} == {"00000"}
    reads.clear()
    gallery = dataset.show(6)
    assert not reads
    gallery._repr_html_()
    table = gallery.picked.table
    places = zip(table["_image_offset"].to_pylist(), table["_image_size"].to_pylist(), strict=True)
    assert set(reads) - {("00000", offset, size) for offset, size in places} <= {
        ("00000", 0, size) for *_, size in reads
    }
    gallery._repr_html_()
    assert len(reads) <= 7  # the first bytes tell whether the tar is compressed


def test_drawn_samples_come_from_some_shards(tmp_path: Path, reads: list[tuple[str, int, int]]) -> None:
    """The same by the same seed; no more shards are opened than are shown."""
    dataset = opened(write_folder(tmp_path / "data", shards=30, samples_per_shard=4))
    reads.clear()
    gallery = dataset.show(16, seed=3)
    assert len(gallery) == 16
    assert {shard for shard, _, _ in reads} == set(gallery.rows["shard"])
    assert gallery.rows["shard"].nunique() == 8
    assert dataset.show(16, seed=3).rows["key"].tolist() == gallery.rows["key"].tolist()
    assert dataset.show(16, seed=4).rows["key"].tolist() != gallery.rows["key"].tolist()


def test_as_many_are_drawn_as_were_asked_for(tmp_path: Path) -> None:
    """From few shards, too, and from few rows of some; none twice."""
    dataset = opened(write_folder(tmp_path / "data", shards=3, samples_per_shard=20))
    assert dataset.show(24, seed=1).rows["key"].nunique() == 24
    assert dataset.filter("score < 0.5 or score >= 7").show(24, seed=1).rows["key"].nunique() == 24
    assert dataset.filter("score < 5").show(24, seed=1).rows["key"].nunique() == 20
    assert dataset.show(100, seed=1).rows["key"].nunique() == 60


@pytest.mark.parametrize(("sort", "largest"), [("brightness", True), ("-brightness", False), ("-0 - brightness", True)])
def test_sorting_is_over_all_shards(tmp_path: Path, sort: str, largest: bool) -> None:
    """The same rows in the same order as sorting the frame gives."""
    dataset = opened(write_folder(tmp_path / "data", shards=5, samples_per_shard=9)).pipe(Brightness())
    frame = dataset.metadata.compute().sort_values("brightness", ascending=not largest, kind="stable")
    gallery = dataset.show(7, sort=sort)
    assert gallery.rows["key"].tolist() == frame["key"].tolist()[:7]
    every = dataset.show(45, sort=sort).rows
    assert every["key"].tolist() == frame["key"].tolist()
    assert every["sample_id"].tolist() == frame["sample_id"].tolist()


def test_nulls_are_sorted_last(folder: Path) -> None:
    """In either order."""
    dataset = opened(folder).with_column("odd", "score * 4 % 2").with_column("null_or_one", "1 / odd")
    for sort in ("null_or_one", "-null_or_one"):
        values = dataset.show(8, sort=sort).rows["null_or_one"]
        assert values.notna().tolist() == [True] * 4 + [False] * 4


def test_filters_count_and_where_adds_one(folder: Path) -> None:
    """By an expression or a mask, before or in the call."""
    dataset = opened(folder)
    keys = [f"{n:09d}" for n in (3, 5, 6)]
    by_filter = dataset.filter("score > 0.5 and score < 1.75 and width != 48 + 4 * 8")
    assert by_filter.show(where="score != 1.0").rows["key"].tolist() == ["000000003", "000000005", "000000006"] == keys
    mask = dataset.metadata["score"] >= 1.5
    assert dataset.show(where=mask).rows["key"].tolist() == ["000000006", "000000007"]
    assert dataset[mask].show(1, sort="-score").rows["key"].tolist() == ["000000006"]


def test_masks_are_settled_for_the_shards_shown(tmp_path: Path, reads: list[tuple[str, int, int]]) -> None:
    """A raw mask costs the shards that are looked at, and is that of the whole run."""
    dataset = opened(write_folder(tmp_path / "data", shards=20, samples_per_shard=4))
    masked = dataset[dataset.metadata["score"] >= 1.5]
    reads.clear()
    assert masked.show(3).rows["key"].tolist() == ["000000006", "000000007", "000000008"]
    assert {shard for shard, _, _ in reads} == {"00000", "00001", "00002"}


def test_groups(folder: Path) -> None:
    """By text, truth values, whole numbers and ranges; the counts are those of all samples."""
    dataset = opened(folder).with_column("even", "score * 4 % 2 == 0").with_column("third", "score / 3")
    gallery = dataset.show(1, by="even", sort="-score")
    assert [(group.name, group.count) for group in gallery.groups] == [("no", 4), ("yes", 4)]
    assert gallery.rows["key"].tolist() == ["000000001", "000000000"]
    by_width = dataset.show(9, by="width")
    assert {group.name: group.count for group in by_width.groups} == {"48": 2, "56": 2, "64": 2, "72": 1, "80": 1}
    assert [group.name for group in dataset.show(1, by="caption").groups][:1] == ["picture number 0"]
    assert sum(group.count or 0 for group in dataset.show(1, by="third").groups) == 8
    assert assert_harmless(gallery._repr_html_())


def test_ranges_of_a_number_with_many_values(tmp_path: Path) -> None:
    """Every row is in one of them, and each shows rows from within it."""
    dataset = opened(write_folder(tmp_path / "data", shards=3, samples_per_shard=20))
    gallery = dataset.show(2, by="score")
    assert sum(group.count or 0 for group in gallery.groups) == 60
    assert gallery.groups[0].name == "0 to 5"
    assert gallery.rows["score"].iloc[:2].between(0, 5).all()


def test_sources_need_no_look_at_all_shards(tmp_path: Path, reads: list[tuple[str, int, int]]) -> None:
    """Some samples of each."""
    paths = {name: str(write_folder(tmp_path / name, shards=5)) for name in ("cats", "dogs")}
    dataset = ic.read_webdataset(paths, workdir=tmp_path / "work")
    reads.clear()
    gallery = dataset.show(3, by="source")
    assert gallery.rows["source"].tolist() == ["cats"] * 3 + ["dogs"] * 3
    assert [group.name for group in gallery.groups] == ["cats", "dogs"]
    assert {shard for shard, _, _ in reads} == {"00000"}


def test_what_was_computed_stays(folder: Path, decodes: list[int]) -> None:
    """The samples that were shown are not decoded again by the full run; the pictures are made when looked at."""
    dataset = opened(folder).pipe(Brightness(), Twice())
    gallery = dataset.show(3)
    assert gallery.columns == ["key", "brightness", "twice"]
    assert gallery.rows["twice"].notna().all()
    seen = len(decodes)
    dataset.compute()
    assert len(decodes) == 8
    assert seen < 8
    gallery._repr_html_()
    assert len(decodes) == 8 + 3


def test_hostile_data_stays_text(hostile: ic.ImageTextPairDataset, tmp_path: Path) -> None:
    """In a gallery, a comparison and a file; names of columns and expressions, too."""
    keys = list(HOSTILE)
    dataset = hostile.with_column('<b onclick="x">', "caption").pipe(Brightness(column="<script>"))
    shown = [
        dataset.show(9, columns=list(dataset.columns[:6])),
        dataset.show(9, by="caption"),
        dataset.compare(*keys[:2]),
    ]
    shown += [dataset.show(9, by='`<b onclick="x">`'), dataset.hist("<script>"), dataset.thresholds("<script>")]
    for result in shown:
        assert_harmless(result._repr_html_())
        assert "alert(1)" in result._repr_html_() or "&lt;script" in result._repr_html_()
        result.save(tmp_path / "page.html")
        assert_harmless((tmp_path / "page.html").read_text(encoding="utf-8"))
        assert repr(result)


def test_damaged_pictures_are_told(tmp_path: Path) -> None:
    """A tile says why it shows nothing, and costs its neighbours nothing."""
    made = samples(3)
    broken = [(key, dict(fields) | ({"jpg": b"no picture"} if n == 1 else {})) for n, (key, fields) in enumerate(made)]
    write_shard(tmp_path / "data" / "0.tar", [*broken, ("x", {"txt": "no image at all"})])
    page = opened(tmp_path / "data").show()._repr_html_()
    assert page.count("no picture: not an image") == 1
    assert page.count("no picture: no image") == 1
    assert sum(name == "img" for name, _ in Elements(page).found) == 2


def test_a_shard_that_went_away_is_told(folder: Path) -> None:
    """The page is still made."""
    gallery = opened(folder).show(2)
    (folder / "00000.tar").unlink()
    assert gallery._repr_html_().count("shard 00000 cannot be read") == 2


def test_pictures_with_a_high_score_are_covered(folder: Path) -> None:
    """Above 0.2 by default, by any score or none if asked, and those without a score if asked."""
    dataset = opened(folder).with_column("nsfw_score", "score / 4 * (1 / (score * 4 % 2))")  # null for every other one

    def covered(**options: object) -> int:
        return sum(name == "details" for name, _ in Elements(dataset.show(8, **options)._repr_html_()).found)  # type: ignore[arg-type]

    assert covered() == 2
    assert covered(blur=0.0) == 4
    assert covered(blur=None) == 0
    assert covered(blur_unscored=True) == 6
    assert covered(blur=None, blur_unscored=True) == 4


def test_nothing_left_is_said(folder: Path) -> None:
    """No exception, but a page that names the filters."""
    gallery = opened(folder).filter("score > 100", name="too strict").show(sort="score")
    assert "No sample passes: too strict." in repr(gallery)
    assert "No sample passes: too strict." in gallery._repr_html_()
    assert len(gallery.rows) == 0
    assert "No sample passes" in repr(opened(folder).show(where="score > 100"))


def test_wrong_arguments_are_told_before_anything_runs(folder: Path, decodes: list[int]) -> None:
    """With what was probably meant."""
    dataset = opened(folder).pipe(Brightness(), Corner())
    with pytest.raises(ColumnNotFoundError, match="did you mean 'brightness'"):
        dataset.show(sort="-brigthness")
    with pytest.raises(ColumnNotFoundError, match="column 'capton' not found"):
        dataset.show(columns=["capton"])
    with pytest.raises(ColumnNotFoundError, match="run AestheticClassifier"):
        dataset.show(by="aesthetic_score")
    with pytest.raises(ParameterError, match="has no order"):
        dataset.show(sort="corner")
    with pytest.raises(ParameterError, match="by which nothing can be grouped"):
        dataset.show(by="corner")
    with pytest.raises(ParameterError, match="n is a whole number of at least 1, but got 0"):
        dataset.show(0)
    with pytest.raises(ParameterError, match="sample is a share of the rows"):
        dataset.show(sort="score", sample=50)
    with pytest.raises(ParameterError, match="blur is an NSFW score"):
        dataset.show(blur=True)
    assert not decodes


def test_too_many_groups_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has a value for each sample is no group."""
    monkeypatch.setattr("imagecurate.explore.best._MOST_GROUPS", 5)
    with pytest.raises(ParameterError, match="'key' has more than 5 values"):
        opened(write_folder(tmp_path / "data")).show(by="key")


def test_image_files_can_be_had(folder: Path) -> None:
    """Byte for byte, by the place of the row."""
    gallery = opened(folder).show(3, sort="score")
    files = dict(gallery.picked.files())
    assert files[0] == picture(7, (64, 48))
    assert Image.open(io.BytesIO(files[2])).size == (48, 48)  # type: ignore[arg-type]


def test_compare(folder: Path) -> None:
    """By key or id, filtered out or not; equal columns are told from others, vectors by their cosine."""
    dataset = opened(folder).pipe(Corner()).filter("score > 100")
    found = dataset.compare("000000001", "default/00001#2")
    assert found.frame.loc["key"].tolist() == ["000000001", "000000006", False]
    assert found.frame.loc["width", "same"]
    first, second = (np.array(found.frame.loc["corner", side]) for side in "ab")
    expected = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert found.similarity["corner"] == pytest.approx(expected)
    assert "Cosine of the two by corner" in repr(found)
    assert_harmless(found._repr_html_())


def test_a_key_that_several_have_is_told(tmp_path: Path) -> None:
    """With the ids to choose from; and one that nobody has."""
    for name in ("0", "1"):
        write_shard(tmp_path / "data" / f"{name}.tar", samples(2))
    dataset = opened(tmp_path / "data")
    with pytest.raises(ParameterError, match="name one of default/0#1, default/1#1"):
        dataset.compare("000000001", "000000000")
    with pytest.raises(ParameterError, match="no sample has the key or the sample_id 'cat'"):
        dataset.compare("cat", "dog")
    with pytest.raises(ParameterError, match="but got 3"):
        dataset.compare(3, 4)  # type: ignore[arg-type]


def test_the_dataset_says_what_it_is(folder: Path, reads: list[tuple[str, int, int]], decodes: list[int]) -> None:
    """Samples, shards, sources, columns, plan and what is computed; nothing is read for it."""
    dataset = opened(folder).pipe(Brightness(), Twice()).filter("twice > 1", name="<bright>")
    reads.clear()
    assert "samples are counted when somebody looks" in dataset._repr_html_()
    assert not reads
    assert not decodes
    dataset.compute()
    page = dataset._repr_html_()
    assert_harmless(page)
    for said in ("8 samples in 2 shards", "2 of 2 shards", "&lt;bright&gt;", "Brightness", "came with the data"):
        assert said in page


def test_progress_is_shown(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """As by every run; and counted with the others."""
    monkeypatch.setenv("IMAGECURATE_PROGRESS", "1")
    dataset = opened(folder).pipe(Brightness())
    dataset.show(2, sort="brightness")
    assert "sorting: 2 of 2 shards, 8 images decoded" in capsys.readouterr().err
    assert dataset.all_runs.decoded == 8


def test_stages_over_all_rows_can_be_shown(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A gallery in the order that a dataset stage gave."""
    dataset = opened(folder).pipe(Brightness(), Rank())
    with caplog.at_level(logging.WARNING):
        ranks = dataset.show(4, sort="-rank").rows["rank"]
    assert ranks.tolist() == [0, 1, 2, 3]
    assert not caplog.records
    assert isinstance(dataset.show(1).rows, pd.DataFrame)


def test_hashes_and_digests_are_not_shown_unless_asked(folder: Path) -> None:
    """They are for machines; a long value is cut, and all of it is there for who points at it."""
    dataset = opened(folder).pipe(ic.PerceptualHash(), ic.ImageDigest(), Brightness())
    assert dataset.show(1).columns == ["key", "brightness"]
    shown = dataset.show(1, columns=["perceptual_hash"])
    value = shown.rows["perceptual_hash"].iloc[0]
    page = shown._repr_html_()
    assert f'title="{value}"' in page
    assert page.count(value) == 1


def test_a_caption_without_end_is_cut(tmp_path: Path) -> None:
    """Wherever it stands: a page is for looking."""
    write_shard(tmp_path / "data" / "0.tar", [("a", {"jpg": picture(1), "txt": "x" * 100_000})])
    assert len(opened(tmp_path / "data").show()._repr_html_()) < 50_000


def test_scores_that_cover_are_numbers(folder: Path) -> None:
    """A column of another kind is none; all are covered that have no score, also where no score covers."""
    dataset = opened(folder)
    assert dataset.with_column("nsfw_score", "caption").show(2, blur_unscored=True)._repr_html_().count("<details") == 2
    scored = dataset.with_column("nsfw_score", "score")
    assert "<details" not in scored.hist("width", blur=None, blur_unscored=True)._pictures()  # type: ignore[operator]
    for blur in (float("nan"), True, "x"):
        with pytest.raises(ParameterError, match="blur is an NSFW score"):
            dataset.show(blur=blur)  # type: ignore[arg-type]


def test_more_wrong_arguments(folder: Path) -> None:
    """Of seeds and columns; and a share of which nothing is drawn says so."""
    dataset = opened(folder)
    for seed in (-1, "x", 1.5):
        for options in ({}, {"sort": "score", "sample": 0.5}):
            with pytest.raises(ParameterError, match="seed is a whole number of at least 0"):
                dataset.show(seed=seed, **options)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="columns is a list of names, but got 5"):
        dataset.show(columns=5)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="a column is named by a text, not by 1"):
        dataset.show(columns=[1])  # type: ignore[list-item]
    assert "a larger sample=… draws more" in repr(dataset.show(sort="score", sample=1e-9))


def test_a_page_is_saved_or_the_reason_told(folder: Path) -> None:
    """Folders are made; a folder in its place, and what is no path, are told."""
    gallery = opened(folder).show(1)
    gallery.save(folder / "new" / "page.html")
    assert (folder / "new" / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(OutputError, match="it is a folder"):
        gallery.save(folder)
    for path in (None, "", "a\0b"):
        with pytest.raises(ParameterError, match="a page needs a path"):
            gallery.save(path)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="the page cannot be written at"):
        gallery.save(folder / "00000.tar" / "page.html")
