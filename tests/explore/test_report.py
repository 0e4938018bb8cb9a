"""The report as a file: what it says, what it never becomes, and how large it gets."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from making import picture, write_folder, write_shard
from opening import opened
from reporting import HOSTILE, HOSTILE_KEY, everything
from s3 import BUCKET, Requests
from typer.testing import CliRunner

import imagecurate as ic
from imagecurate.cli import app
from imagecurate.dataset.exported_report import report_export
from imagecurate.errors import OutputError, ParameterError
from imagecurate.explore.report.page import MOST_BYTES
from imagecurate.stages.classifier import EmbeddingWarning


class Page(HTMLParser):
    """The elements of a page, its text, and the attributes that could do harm."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.raw = path.read_text(encoding="utf-8")
        self.feed(self.raw)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not self.tags or self.tags[-1][0] not in ("style", "script"):
            self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page(report)


def test_it_says_what_became_of_every_sample(page: Page) -> None:
    """Sums, the flow with its filters, failures with reasons, groups, clusters, sizes, steps and versions."""
    assert "came in 36 " in page.text
    for said in (
        "score <b>range</b>",
        "score >= 2 and score < 8",
        "Just below 2",
        "Just above 8",
        "truncated",
        "not an image",
        "samples duplicate another, in ",
        "cluster 0 <i>",
        "nearest to the centre by cluster_distance",
        "Formats",
        "jpeg",
        "ExactDeduplicator",
        "pyarrow",
        "All <b>of</b> it",
    ):
        assert said in page.text, said


def test_data_never_becomes_markup(page: Page) -> None:
    """Captions, keys, cluster and filter names stay text: one script and one style, ours; no attribute is a script."""
    assert [len(page.all(tag)) for tag in ("script", "style", "i")] == [1, 1, 0]
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert tag == "a" or "href" not in attributes
        assert (attributes.get("src") or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
        assert (attributes.get("href") or "#").startswith("#")
    shown = HOSTILE.replace("\x00", "\ufffd")
    assert re.sub(r"\s+", " ", shown) in page.text
    assert re.sub(r"\s+", " ", HOSTILE_KEY) in page.text
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "base", "video", "audio"}


def test_everything_has_a_text_alternative(page: Page) -> None:
    """Each picture has alt text, each chart a title, each chart with numbers a table of them."""
    assert all(image.get("alt") for image in page.all("img"))
    starts = [number for number, (tag, _) in enumerate(page.tags) if tag == "svg"]
    assert starts
    assert all(page.tags[number + 1][0] == "title" for number in starts)
    histograms = [svg for svg in page.all("svg") if svg.get("class") == "histogram"]
    assert len(histograms) >= 2
    assert page.raw.count("<summary>Numbers</summary>") >= len(histograms)


def test_pictures_are_blurred_by_score(whole: ic.ImageTextPairDataset, tmp_path: Path) -> None:
    """Above the bound only; without a score where that is asked for; none where blur is None."""

    def blurred(**options: object) -> list[str]:
        whole.report(tmp_path / "report.html", progress=False, **options)  # type: ignore[arg-type]
        found = re.findall(r'<summary><img [^>]*alt="blurred picture, open to see: ([^"]*)"', read())
        return sorted(set(found))

    def read() -> str:
        return (tmp_path / "report.html").read_text(encoding="utf-8")

    assert blurred() == ["picture number 0", "picture number 12", "picture number 24"]
    unscored = blurred(blur_unscored=True)
    assert set(unscored) == {*blurred(), "picture number 1", "picture number 13", "picture number 25"}
    assert blurred(blur=None) == []
    assert blurred(blur=0.01) != blurred()


def test_a_report_computes_nothing_that_is_there(tmp_path: Path, decodes: list[int]) -> None:
    """After compute() only the pictures that are shown are decoded, and a second report of the same is the same."""
    dataset = opened(write_folder(tmp_path / "data", shards=4, samples_per_shard=40)).filter("width >= 50")
    dataset.compute(progress=False)
    decodes.clear()
    first = dataset.report(tmp_path / "a.html", progress=False)
    assert 0 < len(decodes) < 100
    assert dataset.last_run is not None and dataset.last_run.decoded == 0
    second = dataset.report(tmp_path / "b.html", progress=False)
    assert (
        (first.samples, first.kept, first.shown)
        == (second.samples, second.kept, second.shown)
        == (160, 128, first.shown)
    )
    made = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC|<td class=\"number\">[\d.,]+ m?s</td>|images/s")
    texts = [made.sub("", (tmp_path / name).read_text()) for name in ("a.html", "b.html")]
    assert texts[0] == texts[1]


def test_an_empty_dataset_and_one_without_steps_have_a_report(tmp_path: Path) -> None:
    """Nothing kept, and nothing done, are worth a page, too."""
    dataset = opened(write_folder(tmp_path / "data"))
    plain = dataset.report(tmp_path / "plain.html", progress=False)
    assert (plain.samples, plain.kept) == (8, 8)
    none = dataset.filter("width > 10000", name="huge").report(tmp_path / "none.html", progress=False)
    assert (none.samples, none.kept) == (8, 0)
    assert "Dropped by huge" in Page(tmp_path / "none.html").text


def test_masks_and_numbers_that_are_odd(tmp_path: Path) -> None:
    """Raw masks have a place in the flow; infinities, and columns without a value, do not break a chart."""
    rows = [
        {
            "key": f"{n}",
            "odd": float("inf") if n == 1 else float("nan") if n == 2 else n,
            "none": None,
            "big": 2**62 + n,
        }
        for n in range(6)
    ]
    write_shard(tmp_path / "data" / "0.tar", [(f"{n}", {"jpg": picture(n), "txt": "t"}) for n in range(6)], rows)
    dataset = opened(tmp_path / "data")
    dataset = dataset[dataset.metadata["key"] != "3"]
    dataset = dataset.with_column("ratio", "odd / 0").filter("odd >= 0 or odd is null", name="or")
    assert dataset.report(tmp_path / "r.html", progress=False).samples == 6
    assert "mask-1" in Page(tmp_path / "r.html").text


def test_mistakes_are_told_before_the_work(tmp_path: Path, decodes: list[int]) -> None:
    """A folder, no path, a bound that is no number."""
    dataset = opened(write_folder(tmp_path / "data")).filter("width > 1")
    with pytest.raises(OutputError, match="it is a folder"):
        dataset.report(tmp_path)
    for path in ("", None, 3):
        with pytest.raises(ParameterError, match="a page needs a path"):
            dataset.report(path)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="are blurred, or None, but got 'high'"):
        dataset.report(tmp_path / "x.html", blur="high")  # type: ignore[arg-type]
    assert not decodes
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="the page cannot be written at"):
        dataset.report(tmp_path / "file" / "x.html", progress=False)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    everything(folder).to_webdataset(folder / "out", progress=False)
    return folder


def test_the_report_of_an_output_folder(exported: Path) -> None:
    """Sums and ledger come from the folder; pictures of what was not kept are said to be missing."""
    done = CliRunner().invoke(app, ["report", str(exported / "out")])
    assert done.exit_code == 0, done.output
    page = Page(exported / "out" / "report.html")
    assert "Pictures of samples that were dropped or failed are missing here" in page.text
    assert "no picture: it is in the input" in page.text
    assert "Scores of the kept samples" in page.text
    assert "Just above 2" in page.text
    assert "Formats" in page.text
    ledger = pq.read_table(exported / "out" / "ledger")
    dropped = sum(status == "dropped" for status in ledger["status"].to_pylist())
    assert f"dropped by filters {dropped} " in page.text


def test_the_report_of_an_output_folder_with_its_input(exported: Path) -> None:
    """With the input every sample that can be shown is, and an input that is another is said to be."""
    data = {"first": str(exported / "data/first"), "second": str(exported / "data/second")}
    done = report_export(exported / "out", exported / "with.html", input=data)
    page = Page(exported / "with.html")
    assert "missing here" not in page.text
    assert "no picture: it is in the input" not in page.text
    assert HOSTILE_KEY in page.text
    assert done.kept < done.samples == 36
    other = write_folder(exported / "other")
    report_export(exported / "out", exported / "wrong.html", input={"first": str(other)})
    assert "The input that was given does not hold" in Page(exported / "wrong.html").text


def test_the_report_of_an_output_folder_where_nothing_was_kept(tmp_path: Path) -> None:
    """There is a ledger and no shard."""
    opened(write_folder(tmp_path / "data")).filter("width > 10000").to_webdataset(tmp_path / "out", progress=False)
    assert report_export(tmp_path / "out").kept == 0


def test_a_folder_that_is_no_output_is_told(tmp_path: Path) -> None:
    """As a mistake, with what to do instead."""
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 2
    with pytest.raises(OutputError, match="there is no run record with a ledger"):
        report_export(tmp_path)


def test_the_report_of_a_pipeline(tmp_path: Path) -> None:
    """Beside its output, or where it is asked for; with all scores and groups."""
    write_folder(tmp_path / "data")
    values = {"input": str(tmp_path / "data"), "output": str(tmp_path / "out"), "workdir": str(tmp_path / "work")}
    values["stages"] = [{"Filter": {"expr": "width >= 60", "name": "wide"}}]  # type: ignore[assignment]
    (tmp_path / "p.yaml").write_text(json.dumps(values))
    done = CliRunner().invoke(app, ["report", str(tmp_path / "p.yaml"), "--title", "Mine", "--quiet"])
    assert (done.exit_code, done.stdout) == (0, "")
    page = Page(tmp_path / "out" / "report.html")
    assert "Just below 60" in page.text
    assert "Mine" in page.text
    refused = CliRunner().invoke(app, ["report", str(tmp_path / "p.yaml"), "--input", "data"])
    assert refused.exit_code == 2


@pytest.mark.shared
def test_photographs_and_odd_files_stay_below_10_mb(shared: Path, tmp_path: Path) -> None:
    """The report over real pictures and files that are hard to read."""
    data = {name: shared / "data" / name for name in ("photos", "odd")}
    dataset = ic.read_webdataset(data, workdir=tmp_path / "work")
    dataset = ic.ThumbnailEmbedder()(dataset).filter("min(width, height) >= 128", name="size")
    done = ic.Deduplicate()(dataset).report(tmp_path / "report.html", progress=False)
    assert done.bytes == (tmp_path / "report.html").stat().st_size < 10_000_000
    assert done.shown > 100


@pytest.mark.shared
def test_models_are_named_with_their_weights(shared: Path, tmp_path: Path) -> None:
    """The digest of the weights is on the page, and the score of the model decides what is blurred."""
    weights = shared / "weights" / "clip_autokeras_binary_nsfw.pth"
    vectors = np.random.default_rng(0).normal(size=(4, 768)).astype(np.float32)
    rows = [{"key": f"{n}", "image_embedding": vectors[n].tolist()} for n in range(4)]
    write_shard(tmp_path / "data" / "0.tar", [(f"{n}", {"jpg": picture(n), "txt": "t"}) for n in range(4)], rows)
    with pytest.warns(EmbeddingWarning):
        dataset = ic.NsfwClassifier(model_path=weights, pred_column="unsafe")(opened(tmp_path / "data"))
    dataset.report(tmp_path / "r.html", blur=-1.0, progress=False)
    page = Page(tmp_path / "r.html")
    assert re.search(r"Models stage digest of the weights NsfwClassifier\(.*?\) [0-9a-z_:]{16,}", page.text)
    assert len([each for each in page.all("details") if each.get("class") == "veiled"]) == 4


def test_the_page_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it would grow too large, pictures become smaller."""
    dataset = opened(write_folder(tmp_path / "data", shards=2, samples_per_shard=30))
    large = dataset.report(tmp_path / "a.html", progress=False).bytes
    assert large < MOST_BYTES
    monkeypatch.setattr("imagecurate.explore.report.page.MOST_BYTES", large - 1)
    monkeypatch.setattr("imagecurate.explore.report.page._SIDES", (320, 24))
    assert dataset.report(tmp_path / "b.html", progress=False).bytes < large


def test_what_stays_in_its_group_and_goes_elsewhere_says_so(tmp_path: Path) -> None:
    """A word that agrees with its colour."""
    data = picture(1)
    made = [(f"{n}", {"jpg": data, "txt": "same"}) for n in range(2)]
    write_shard(tmp_path / "data" / "0.tar", made, [{"key": f"{n}", "size": n} for n in range(2)])
    dataset = ic.ExactDeduplicator()(opened(tmp_path / "data")).filter("size > 0", name="late")
    dataset.report(tmp_path / "r.html", progress=False)
    assert "stays here, dropped by late" in Page(tmp_path / "r.html").text


def test_sources_without_end_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table says how many more there are."""
    monkeypatch.setattr("imagecurate.explore.report.sections.overview._SOURCES", 2)
    paths = {f"s{n}": str(write_folder(tmp_path / f"s{n}", shards=1)) for n in range(5)}
    ic.read_webdataset(paths, workdir=tmp_path / "work").report(tmp_path / "r.html", progress=False)
    text = Page(tmp_path / "r.html").text
    assert "20 samples in 5 shards" in text
    assert "and 3 sources more" in text


def test_infinite_values_count_among_those_that_pass(tmp_path: Path) -> None:
    """So no share is above all."""
    rows = [{"key": f"{n}", "odd": float("inf") if n < 3 else float(n)} for n in range(4)]
    write_shard(tmp_path / "data" / "0.tar", [(f"{n}", {"jpg": picture(n), "txt": "t"}) for n in range(4)], rows)
    opened(tmp_path / "data").filter("odd >= 1").report(tmp_path / "r.html", progress=False)
    assert "4 samples with a value pass, 100 %." in Page(tmp_path / "r.html").text


def test_a_report_goes_where_its_options_lead(s3: tuple[Any, dict[str, Any], Requests], tmp_path: Path) -> None:
    """Behind a URL, with the storage options of the dataset."""
    client, options, _ = s3
    dataset = opened(write_folder(tmp_path / "data"), storage_options=options)
    done = dataset.report(f"s3://{BUCKET}/reports/r.html", progress=False)
    body = client.get_object(Bucket=BUCKET, Key="reports/r.html")["Body"].read()
    assert len(body) == done.bytes
