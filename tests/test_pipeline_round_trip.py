"""A pipeline in Python, as a file, and as the plan of a dataset: each gives and takes the same."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import toys
import yaml
from hypothesis import given
from hypothesis import strategies as st
from making import write_folder

import imagecurate as ic
from imagecurate.errors import ColumnNotFoundError, ParameterError, StageError
from imagecurate.images import DecodePolicy
from imagecurate.pipeline import DropDuplicates, Exclude, Filter, Include, Join, Pipeline, WithColumn

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)
EXPRESSIONS = st.sampled_from(["width >= 200", "caption is not null and len(caption) > 3", "key matches 'a: [b] #c'"])
NAMES = st.none() | TEXTS
STEPS = st.one_of(
    st.builds(Filter, EXPRESSIONS, NAMES),
    st.builds(WithColumn, TEXTS, EXPRESSIONS),
    st.just(DropDuplicates()),
    st.builds(
        Join, TEXTS | st.lists(TEXTS, min_size=1), TEXTS, st.none() | st.dictionaries(TEXTS, TEXTS), NAMES, NAMES
    ),
    st.builds(Exclude, TEXTS, TEXTS, NAMES),
    st.builds(Include, TEXTS, TEXTS, NAMES),
    st.builds(ic.ThumbnailEmbedder, image_embedding_column=TEXTS),
    st.builds(ic.AestheticClassifier, embedding_column=TEXTS, batch_size=st.integers(1, 9)),
    st.builds(
        ic.SemanticDeduplicator,
        eps=st.floats(1e-9, 0.999),
        keep_by=st.none() | TEXTS | st.lists(TEXTS, min_size=1).map(tuple),
        n_clusters=st.just("auto") | st.integers(1, 99),
        exact=st.booleans(),
    ),
    st.builds(ic.Deduplicate, levels=st.permutations(["exact", "perceptual"]).map(tuple), keep_by=st.none() | TEXTS),
)
PIPELINES = st.fixed_dictionaries(
    {"stages": st.lists(STEPS, max_size=4), "input": TEXTS | st.lists(TEXTS, min_size=1), "output": TEXTS},
    optional={
        "id_col": TEXTS,
        "metadata": st.sampled_from(["auto", "parquet", "json", "none"]),
        "schema": st.dictionaries(TEXTS, st.sampled_from(["int32", "string"]), min_size=1),
        "decode_policy": st.builds(DecodePolicy, st.integers(1, 10**9), st.floats(0.1, 100), st.booleans()),
        "images": st.sampled_from(["first", "all"]),
        "workdir": st.none() | st.just("work"),
        "export": st.fixed_dictionaries({"samples_per_shard": st.integers(1, 10**6), "durable": st.booleans()}),
    },
)


@given(PIPELINES)
def test_a_file_holds_a_whole_pipeline(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    """Whatever it is made of; read back it is equal, and written again it is the same file."""
    folder = tmp_path_factory.mktemp("round")
    pipeline = Pipeline(**values)
    pipeline.to_yaml(folder / "one.yaml")
    again = Pipeline.from_yaml(folder / "one.yaml")
    assert again == pipeline
    again.to_yaml(folder / "two.yaml")
    assert (folder / "one.yaml").read_text() == (folder / "two.yaml").read_text()


@given(PIPELINES)
def test_values_are_what_a_pipeline_is_made_of(values: dict[str, Any]) -> None:
    """From the plain values of one, another is made that is equal."""
    pipeline = Pipeline(**values)
    assert Pipeline(**pipeline.values()) == pipeline
    assert Pipeline(**pipeline.model_dump(by_alias=True)) == pipeline


def test_stages_come_first() -> None:
    """``ic.Pipeline([...])`` with objects or with what a file says of them."""
    entries = ["ThumbnailEmbedder", {"Filter": {"expr": "width >= 200", "name": "size"}}]
    steps = [ic.ThumbnailEmbedder(), Filter("width >= 200", "size")]
    assert ic.Pipeline(entries) == ic.Pipeline(steps) == ic.Pipeline(stages=steps)
    with pytest.raises(ParameterError, match=r"^unknown stage 'Thumbnail'; did you mean 'ThumbnailEmbedder'\?"):
        ic.Pipeline(["Thumbnail"])
    with pytest.raises(ParameterError, match=r"^unknown key 'ouput'; did you mean 'output'\?"):
        ic.Pipeline([], ouput="x")


def test_a_pipeline_can_be_called(tmp_path: Path) -> None:
    """With a dataset that is open; nothing but steps is needed, and its end is checked before its beginning runs."""
    ds = ic.read_webdataset(write_folder(tmp_path / "data"), workdir=tmp_path / "work")
    steps = [ic.ThumbnailEmbedder(), ic.ExactDeduplicator(), Filter("width > 60", "wide")]
    assert len(ic.Pipeline(steps)(ds).metadata) == 4
    with pytest.raises(ColumnNotFoundError, match="column 'wdth' not found"):
        ic.Pipeline([*steps, Filter("wdth > 60")])(ds)
    with pytest.raises(ParameterError, match="this pipeline has no input"):
        ic.Pipeline(steps).run()


def test_a_slip_at_the_end_is_told_before_a_deduplicator_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decodes: list[int]
) -> None:
    """With its line; nothing was decoded."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "data")
    Path("curate.yaml").write_text(
        "input: data\noutput: out\nworkdir: work\nstages:\n  - ThumbnailEmbedder\n  - Deduplicate\n"
        "  - Filter:\n      name: last\n      expr: semantic_duplicate is null\n"
    )
    with pytest.raises(ColumnNotFoundError, match=r"^curate\.yaml:7: column 'semantic_duplicate' not found"):
        Pipeline.from_yaml("curate.yaml").run(progress=False)
    assert decodes == []


@pytest.mark.parametrize(
    ("stage", "line", "message"),
    [
        (
            "TimmImageEmbedder:\n      model_name: resnet18\n      batch_sise: 3",
            7,
            "TimmImageEmbedder has no parameter",
        ),
        ("TimmImageEmbedder:\n      batch_size: many\n      model_name: resnet18", 6, "TimmImageEmbedder: batch_size="),
        ("WithColumn:\n      name: wide\n      exp: width", 7, "WithColumn has no parameter 'exp'"),
    ],
)
def test_the_line_is_that_of_the_parameter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, line: int, message: str
) -> None:
    """Where a step is written over several lines."""
    monkeypatch.chdir(tmp_path)
    Path("curate.yaml").write_text(f"input: data\noutput: out\nworkdir: work\nstages:\n  - {stage}\n")
    with pytest.raises(ParameterError) as caught:
        Pipeline.from_yaml("curate.yaml")
    assert str(caught.value).startswith(f"curate.yaml:{line}: {message}")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_folder(tmp_path / "data")


def test_a_dataset_is_written_as_a_pipeline(folder: Path, decodes: list[int]) -> None:
    """It finds in the store what was computed in Python; its export is byte for byte the same."""
    Path("seen.txt").write_text("000000000\n000000001\n")
    ds = ic.read_webdataset("data", workdir="work", schema={"n": int}, decode_policy=DecodePolicy(max_pixels=10**8))
    ds = ds.exclude("seen.txt", on="key").filter("min(width, height) >= 30", name="size")
    ds = ic.Deduplicate(levels=["exact", "semantic"])(ic.ThumbnailEmbedder()(ds)).with_column("wide", "width > height")
    ds.drop_duplicates().to_webdataset("one", samples_per_shard=2)
    looked = len(decodes)
    ds.drop_duplicates().to_yaml("curate.yaml", output="two", export={"samples_per_shard": 2})
    assert yaml.safe_load(Path("curate.yaml").read_text())["decode_policy"] == {"max_pixels": 10**8}
    pipeline = Pipeline.from_yaml("curate.yaml")
    assert pipeline.dataset().fingerprint == ds.drop_duplicates().fingerprint
    pipeline.run(progress=False)
    assert len(decodes) == looked
    for path in Path("one").glob("0*"):
        assert path.read_bytes() == Path("two", path.name).read_bytes()


def test_defaults_are_left_out(folder: Path) -> None:
    """A short dataset is a short file."""
    ic.read_webdataset("data").to_yaml("curate.yaml")
    assert Path("curate.yaml").read_text() == "input: data\noutput: curated\n"


def test_what_no_file_can_hold(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Is refused by name, with what to write instead; secrets are left out, and the log says so."""
    ds = ic.read_webdataset("data", workdir="work")
    refused = {
        "the filter 'mask-1' cannot be written": ds[ds.metadata["width"] > 60],
        "the list of ids of 'exclude\\(key\\)' cannot be written": ds.exclude(["000000000"], on="key"),
        "the stage Brightness cannot be written": ds.pipe(toys.Brightness()),
        "put together of others": ic.concat({"a": ds, "b": ds}),
    }
    for message, dataset in refused.items():
        with pytest.raises(ParameterError, match=message):
            dataset.to_yaml("curate.yaml")
    assert not Path("curate.yaml").exists()
    ic.read_webdataset("data", storage_options={"key": "hunter2"}).to_yaml("curate.yaml")
    assert "hunter2" not in Path("curate.yaml").read_text()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_sources_joins_and_lists(folder: Path) -> None:
    """Files are named where they lie."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({"uid": [f"{n:09d}" for n in range(8)], "CLIP": [n / 8 for n in range(8)]}), "scores.parquet"
    )
    ds = ic.read_webdataset({"few": Path("data/00000.tar"), "rest": ["data/00001.tar"]}, workdir=Path("work"))
    ds = ds.join("scores.parquet", on="key", columns={"CLIP": "clip"}, right_on="uid").filter("clip >= 0.25")
    ds.to_yaml("curate.yaml")
    again = Pipeline.from_yaml("curate.yaml").dataset()
    assert again.fingerprint == ds.fingerprint
    assert again.metadata["clip"].compute().tolist() == ds.metadata["clip"].compute().tolist()


def test_a_pipeline_runs_no_code(folder: Path) -> None:
    """YAML's tags for Python objects, modules and attributes of installed stages: refused when the file is read."""
    for tag in ("!!python/object/apply:os.system [touch x]", "!!python/name:os.system", "{_target_: os.system}"):
        Path("curate.yaml").write_text(f"input: data\noutput: out\nstages:\n  - {tag}\n")
        with pytest.raises((ParameterError, StageError)):
            Pipeline.from_yaml("curate.yaml")
    for name in ("os.system", "imagecurate.demo:make_demo", "EmbeddingWarning", "find_leakage", "LeakageFinder"):
        with pytest.raises(ParameterError, match="unknown stage"):
            Pipeline([name])
    assert not Path("x").exists()
