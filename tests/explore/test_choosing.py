"""``ds.hist``, ``ds.thresholds``, ``ds.filter_fraction``: choosing a threshold."""

from __future__ import annotations

import itertools
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from making import picture, samples, write_folder, write_shard
from opening import opened
from test_show import assert_harmless
from toys import Brightness, Corner, Picky, Twice

import imagecurate as ic
from imagecurate.errors import ColumnNotFoundError, ExpressionError, ParameterError
from imagecurate.explore.look import Look


@pytest.fixture
def scores(tmp_path: Path) -> ic.ImageTextPairDataset:
    """Forty samples in two sources, ``score`` 0 to 9.75 in steps of a quarter."""
    for name, first in (("cats", 0), ("dogs", 20)):
        for number in (0, 1):
            made = samples(10, first=first + 10 * number)
            write_shard(tmp_path / name / f"{number}.tar", made)
    paths = {name: str(tmp_path / name) for name in ("cats", "dogs")}
    return ic.read_webdataset(paths, workdir=tmp_path / "work")


def test_a_histogram_counts_what_numpy_counts(scores: ic.ImageTextPairDataset) -> None:
    """In all and of each source; nothing is decoded for a column that came with the data."""
    found = scores.hist("score", threshold=5, bins=7)
    counts, edges = np.histogram(np.arange(40) / 4, 7)
    assert found.counts.tolist() == counts.tolist()
    assert found.edges.tolist() == pytest.approx(edges.tolist())
    assert found.frame["cats"].tolist() == np.histogram(np.arange(20) / 4, edges)[0].tolist()
    assert "50 % (20 of 40) have at least 5." in repr(found)
    page = found._repr_html_()
    assert_harmless(page)
    assert page.count("<img") == 10
    assert 'aria-label="Histogram of score. Values from 0 to 9.75.' in page


def test_pictures_stand_where_their_values_are(scores: ic.ImageTextPairDataset) -> None:
    """One for each part of the axis that has values, the nearest to its middle."""
    found = scores.filter("score < 2 or score > 9").hist("score")
    assert found.picked is not None
    values = found.picked.frame["score"].tolist()
    assert values == sorted(values)
    width = 9.75 / 10
    assert list(found.slots) == [min(int(value / width), 9) for value in values]
    assert set(found.slots) == {0, 1, 9}


def test_the_yield_curve(scores: ic.ImageTextPairDataset) -> None:
    """What each threshold keeps, in all and of each source, is what filtering keeps."""
    found = scores.thresholds("score", keep=0.3)
    assert found.threshold == 7.0
    assert found.share == 0.3
    assert found.kept["score"].tolist() == [7.0, 7.25, 7.5, 7.75, 8.0, 8.25]
    assert found.dropped["score"].tolist() == [6.75, 6.5, 6.25, 6.0, 5.75, 5.5]
    targets = found.targets.set_index("keep")
    assert targets.loc[0.5, ["threshold", "samples", "cats", "dogs"]].tolist() == [5.0, 20, 0.0, 1.0]
    assert scores.filter(found.expression).counts()["left"].iloc[-1] == 12
    curve = found.curve
    values = np.arange(40) / 4
    assert curve["share"].tolist() == pytest.approx([(values >= each).mean() for each in curve["threshold"]])
    assert curve["dogs"].tolist() == pytest.approx([(values[20:] >= each).mean() for each in curve["threshold"]])
    assert "score &gt;= 7 keeps 30 % (12 of 40)." in found._repr_html_()
    assert "score >= 7 keeps 30 % (12 of 40)." in repr(found)
    assert_harmless(found._repr_html_())


def test_lower_is_better_for_some(scores: ic.ImageTextPairDataset) -> None:
    """As for an NSFW score; and a line of one's own."""
    found = scores.thresholds("score", 1.1, highest=False, n=2)
    assert found.kept["score"].tolist() == [1.0, 0.75]
    assert found.dropped["score"].tolist() == [1.25, 1.5]
    assert found.expression == "score <= 1.1"
    assert found.at(0.1) == 0.75


def test_expressions_are_columns(scores: ic.ImageTextPairDataset, decodes: list[int]) -> None:
    """And what is said of them can be typed."""
    found = scores.thresholds("-2 * score + 1", keep=0.1)
    assert found.threshold == -0.5
    assert scores.filter(found.expression).counts()["left"].iloc[-1] == 4
    assert not decodes
    assert scores.hist("image_width / image_height").counts.sum() == 40


def test_a_sampled_pass_decodes_its_share_once(tmp_path: Path, decodes: list[int]) -> None:
    """The full run decodes the rest, whatever other stages the plan has; the same pass again decodes nothing."""
    dataset = opened(write_folder(tmp_path / "data", shards=4, samples_per_shard=100)).pipe(
        Brightness(), Corner(), Twice()
    )
    found = dataset.thresholds("brightness", sample=0.05)
    drawn = len(decodes)
    assert 16 <= drawn <= 24
    assert found.basis.rows == drawn
    assert f"of {drawn} drawn at random" in repr(found)
    assert dataset.thresholds("twice", sample=0.05, seed=0).basis.rows == drawn
    assert len(decodes) == drawn
    dataset.compute()
    assert len(decodes) == 400
    assert dataset.thresholds("brightness").basis.complete


def test_a_larger_sample_has_the_smaller_one() -> None:
    """The shards and the rows of each; every source is seen."""
    from imagecurate.explore.look import _drawn
    from imagecurate.shards import Shard

    shards = [Shard(source, str(n), "", 1, "", None, "") for source in "ab" for n in range(500)]
    chosen = [Look(share).shards(shards) for share in (0.001, 0.01, 0.1, 0.5, 1.0)]
    for less, more in itertools.pairwise(chosen):
        assert {number for number, _ in less} <= {number for number, _ in more}
        shares = dict(more)
        assert all(share <= shares[number] + 1e-12 for number, share in less)
    assert [len(some) for some in chosen] == [128, 128, 128, 500, 1000]
    assert sum(share for _, share in chosen[1]) == pytest.approx(10)
    assert set(_drawn(100, 0.1, (0, 1))) <= set(_drawn(100, 0.2, (0, 1)))
    assert sum(len(_drawn(3, 0.01, (0, n))) for n in range(10_000)) == pytest.approx(300, rel=0.2)


def test_what_is_known_is_enough(tmp_path: Path, decodes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where enough rows are known nothing is decoded; where too few are, a sample is drawn that has them."""
    dataset = opened(write_folder(tmp_path / "data", shards=4, samples_per_shard=100)).pipe(Brightness())
    dataset.head(110)
    monkeypatch.setattr("imagecurate.explore.basis.ENOUGH", 100)
    found = dataset.hist("brightness")
    assert len(decodes) == 110
    assert "110 samples whose value is known already: nothing was computed" in repr(found)
    monkeypatch.setattr("imagecurate.explore.basis.ENOUGH", 150)
    assert 150 <= dataset.hist("brightness").basis.rows < 250
    assert len(decodes) < 350


def test_few_rows_are_all_looked_at(folder: Path, decodes: list[int]) -> None:
    """No share of eight samples says anything."""
    found = opened(folder).pipe(Brightness()).hist("brightness")
    assert found.basis.rows == len(decodes) == 8


def test_a_fraction_is_kept(scores: ic.ImageTextPairDataset, caplog: pytest.LogCaptureFixture) -> None:
    """An ordinary filter at the exact threshold; silent where it is exact."""
    with caplog.at_level(logging.INFO, "imagecurate"):
        assert scores.filter_fraction("score", keep=0.3).counts()["left"].iloc[-1] == 12
        lowest = scores.filter("score > 1").filter_fraction("score", 0.5, highest=False, name="half")
    assert lowest.counts()[["step", "left"]].iloc[-1].tolist() == ["half", 18]
    assert not caplog.records
    assert "filter: score: highest 30 %" in repr(scores.filter_fraction("score"))
    assert scores.filter_fraction("score", keep=1).counts()["left"].iloc[-1] == 40
    assert scores.filter_fraction("score", keep=1e-9).counts()["left"].iloc[-1] == 1


def test_ties_and_nulls_are_said(scores: ic.ImageTextPairDataset, caplog: pytest.LogCaptureFixture) -> None:
    """What is really kept, how many have the value of the line, and how many have none."""
    tied = scores.with_column("floor", "(score - score % 5) * (1 / (score * 4 % 8))")  # 5 of 40 have none
    found = tied.filter_fraction("floor", keep=0.5)
    assert "floor >= 0.0 keeps 88 % of the samples (asked for: 50 %)" in caplog.text
    assert re.search(
        r"\d+ have exactly the value 0, 5 have none; told from 35 samples with a value, of all", caplog.text
    )
    assert found.counts()["left"].iloc[-1] == 35


def test_failed_samples_are_no_part_of_a_share(folder: Path) -> None:
    """They can neither be kept nor dropped."""
    dataset = opened(folder).pipe(Picky(limit=128))
    failed = int(dataset.counts()["failed"].sum())
    assert 0 < failed < 8
    found = dataset.thresholds("picky", keep=0.5)
    assert found.total.rows == 8 - failed
    assert f"{failed} failed" in repr(found)
    assert dataset.filter_fraction("picky", keep=0.5).counts()["left"].iloc[-1] == -(-(8 - failed) // 2)


def test_a_threshold_told_from_a_sample_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It keeps about the share; the pictures that it looked at are few."""
    dataset = opened(write_folder(tmp_path / "data", shards=4, samples_per_shard=100))
    left = dataset.filter_fraction("score", keep=0.5, sample=0.5).counts()["left"].iloc[-1]
    assert 160 <= left <= 240
    assert "keeps about 50 % of the samples" in caplog.text
    assert "drawn at random" in caplog.text


def test_nothing_to_draw_is_said(scores: ic.ImageTextPairDataset) -> None:
    """On the page and in the terminal; only a filter, which cannot be made, is an error."""
    empty = scores.filter("score > 100", name="all gone")
    for shown in (empty.hist("score"), empty.thresholds("score")):
        assert "o sample has a value of score" in shown._repr_html_()
        assert repr(shown)
    assert empty.thresholds("score").targets.empty
    assert empty.thresholds("score").kept.empty
    with pytest.raises(ParameterError, match="no sample has a value of 'score', so there is no threshold"):
        empty.filter_fraction("score")


def test_infinite_values_are_not_drawn(scores: ic.ImageTextPairDataset) -> None:
    """But counted, and thresholds among them can be typed."""
    dataset = scores.with_column("steep", "score * 1e308")
    assert "infinite and not drawn" in repr(dataset.hist("steep"))
    found = dataset.thresholds("steep", keep=0.1)
    assert np.isinf(found.threshold)
    assert dataset.filter(found.expression).counts()["left"].iloc[-1] == 32  # 2e308 and more are no doubles
    assert_harmless(found._repr_html_())


def test_wrong_arguments(folder: Path) -> None:
    """Told with what was probably meant."""
    dataset = opened(folder).pipe(Corner())
    with pytest.raises(ColumnNotFoundError, match="did you mean 'score'"):
        dataset.hist("scorre")
    with pytest.raises(ColumnNotFoundError, match="column 'no such thing' not found"):
        dataset.hist("no such thing")
    with pytest.raises(ExpressionError):
        dataset.hist("score >")
    with pytest.raises(ColumnNotFoundError, match="run NsfwClassifier"):
        dataset.thresholds("nsfw_score")
    with pytest.raises(ParameterError, match="'caption' holds string, but a threshold needs numbers"):
        dataset.hist("caption")
    with pytest.raises(ParameterError, match="a threshold needs numbers"):
        dataset.filter_fraction("corner")
    for keep in (0, 1.5, "30 %", True):
        with pytest.raises(ParameterError, match="keep is a share of the samples"):
            dataset.filter_fraction("score", keep)  # type: ignore[arg-type]
    for sample in (0, 2, -0.1, float("nan"), True):
        with pytest.raises(ParameterError, match="sample is a share of the rows"):
            dataset.thresholds("score", sample=sample)
    with pytest.raises(ParameterError, match="bins is a whole number"):
        dataset.hist("score", bins=0)


@pytest.mark.parametrize(
    ("options", "expression", "left"),
    [
        ({"keep": 0.5}, "{} ", 4),
        ({"keep": 0.9}, "{} is not null ", 8),
        ({"keep": 0.5, "highest": False}, "not {} ", 4),
        ({"threshold": 2}, "{} and not {} ", 0),
    ],
)
@pytest.mark.parametrize("column", ["even", "(score * 4 % 2 == 0)"])
def test_truth_values_count_as_0_and_1(
    folder: Path, column: str, options: dict[str, Any], expression: str, left: int
) -> None:
    """And the filter is one that truth values pass."""
    dataset = opened(folder).with_column("even", "score * 4 % 2 == 0")
    found = dataset.thresholds(column, **options)
    assert found.total.values.tolist() == [0, 1]
    assert dataset.filter(found.expression).counts()["left"].iloc[-1] == left
    if column == "even":
        assert f"{found.expression} " == expression.format(column, column)
    if "threshold" not in options:
        assert dataset.filter_fraction(column, **options).counts()["left"].iloc[-1] == left


def test_numbers_at_the_edge_of_doubles(tmp_path: Path) -> None:
    """Ids of 62 bits, the largest doubles of either sign, and the smallest are drawn, without a NaN on the page."""
    wild = [1.7e308, -1.7e308, 5e-324, 0.0, 1e-310, 1.0]
    rows = [{"key": f"{n}", "id": 2**62 + n, "wild": wild[n], "tiny": n * 1e-320} for n in range(6)]
    write_shard(tmp_path / "data" / "0.tar", [(f"{n}", {"jpg": picture(n), "txt": "t"}) for n in range(6)], rows)
    dataset = opened(tmp_path / "data")
    for column in ("id", "wild", "tiny"):
        found = dataset.hist(column)
        assert found.counts.sum() == 6
        for shown in (found, dataset.thresholds(column), dataset.show(1, by=column)):
            assert not re.search(r'="-?(nan|inf)', shown._repr_html_())
    assert dataset.filter("wild < 3", name="w").report(tmp_path / "r.html", progress=False).kept == 5
    assert not re.search(r'="-?(nan|inf)', (tmp_path / "r.html").read_text(encoding="utf-8"))


def test_only_infinite_values_are_said(scores: ic.ImageTextPairDataset) -> None:
    """Rather than that there is no value."""
    shown = scores.filter("score > 1").with_column("steep", "score * 1e308 * 1e10").hist("steep")
    assert "35 values are infinite and not drawn." in shown._repr_html_()
    assert "No sample has a value" not in shown._repr_html_()


def test_numbers_of_numpy_are_numbers(folder: Path) -> None:
    """As they come out of frames."""
    dataset = opened(folder)
    assert len(dataset.show(np.int64(3), seed=np.int32(1))) == 3
    found = dataset.thresholds("score", np.float32(0.5), n=np.int64(2), sample=np.float32(1))
    assert found.threshold == 0.5
    assert found.at(np.float32(0.5)) == 1.0
    assert dataset.filter_fraction("score", np.float32(0.5)).counts()["left"].iloc[-1] == 4


@pytest.mark.parametrize("threshold", ["5", float("nan"), True, [1], 10**400])
def test_thresholds_are_numbers(folder: Path, threshold: Any) -> None:
    """Or told before anything runs."""
    dataset = opened(folder)
    for call in (dataset.hist, dataset.thresholds):
        with pytest.raises(ParameterError, match="threshold is a number, but got"):
            call("score", threshold)


def test_more_wrong_arguments(folder: Path) -> None:
    """Of seeds, shares, counts and names."""
    dataset = opened(folder)
    for seed in (-1, "x", 1.5):
        for call in (dataset.hist, dataset.thresholds, dataset.filter_fraction):
            with pytest.raises(ParameterError, match="seed is a whole number of at least 0"):
                call("score", seed=seed)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="bins is a whole number from 1 to 1,000"):
        dataset.hist("score", bins=10**7)
    with pytest.raises(ParameterError, match="a column is named by a text, not by"):
        dataset.hist(["score"])  # type: ignore[arg-type]
    for keep in (0, "30 %", float("nan"), None):
        with pytest.raises(ParameterError, match="keep is a share of the samples"):
            dataset.thresholds("score").at(keep)  # type: ignore[arg-type]
