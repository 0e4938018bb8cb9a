"""A pipeline file: what it refuses and where it says so, and what running it gives."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import write_folder

from imagecurate import Pipeline
from imagecurate.errors import (
    ColumnExistsError,
    ColumnNotFoundError,
    ExpressionError,
    ImageCurateError,
    MissingDependencyError,
    OutputError,
    ParameterError,
    ShardError,
    StageError,
)
from imagecurate.pipeline import Filter, installed_stages

HEAD = "input: data\noutput: out\nworkdir: work\n"

#: Ten lines that mean ten thousand million values.
BOMB = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 11))


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, in which nothing is."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def folder(empty: Path) -> Path:
    """The current folder, with eight samples of widths 48 to 80 in ``data``."""
    write_folder(empty / "data")
    return empty


def loaded(text: str | bytes) -> Pipeline:
    Path("curate.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return Pipeline.from_yaml("curate.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: a pipeline is a mapping"),
        ("- input: data", "1: a pipeline is a mapping"),
        (b"input: data\noutput: \xff\n", "2: expected UTF-8 text, but found the byte 0xff"),
        ("input: data\noutput: \x00\n", "2: not well-formed YAML: special characters"),
        ("input: data\noutput: [\n", "3: not well-formed YAML: "),
        ("input: data\noutput: 2024-13-45", "2: not well-formed YAML: month must be in 1..12"),
        (HEAD + "output: other", "4: not well-formed YAML: the key 'output' stands in line 2 already"),
        (HEAD + "stages:\n  - Filter:\n      expr: a\n      expr: b", "7: not well-formed YAML: the key 'expr' stands"),
        ("input: data\noutput: \"o\\0t\"", "2: not well-formed YAML: a text holds the character NUL"),
        ("output: out\ninput: !!python/name:os.system ''", "2: not well-formed YAML: could not determine a const"),
        ("output: out\n\tinput: data", "2: not well-formed YAML: while scanning for the next token, found character"),
        ("input: data\noutput: out\n---\ninput: data", "3: not well-formed YAML: expected a single document"),
        ("output: out\ninput: &a [*a]", "2: not well-formed YAML: an alias stands within what it names"),
        ("output: out\ninput: " + "[" * 3000 + "]" * 3000, "1: not well-formed YAML: lists and mappings are nested"),
        (BOMB, "6: not well-formed YAML: with its aliases written out this has more than 100,000 values"),
        (BOMB.replace("[", "{<<: [").replace("]", "]}"), "6: not well-formed YAML: with its aliases written out this"),
        (HEAD + "export: {shard_digits: 400}", "4: export.shard_digits should be less than or equal to 18, but is 400"),
        ("input: data\nouput: out", "2: unknown key 'ouput'; did you mean 'output'?"),
        (HEAD + "1: 2", "4: unknown key '1'\n\nHint: known are input, output, "),
        ("output: out", "1: the key 'input' is missing"),
        ("output: out\ninput: 5", "2: input should be a valid string or a valid list or a valid dictionary, but is 5"),
        ("output: out\ninput:\n- a\n- 5", "4: input.1 should be a valid string, but is 5\n\nHint: put it in quotes"),
        ("output: out\ninput:\n  a: b\n  c: [5]", "4: input.c.0 should be a valid string, but is 5"),
        ("input: data\noutput: 2024-01-02", "2: output should be a valid string, but is datetime.date(2024, 1, 2)"),
        (HEAD + "metadata: json5", "4: metadata should be 'auto', 'parquet', 'json' or 'none', but is 'json5'"),
        (HEAD + "schema: {width: foo}", "4: schema: 'foo' is no type for column 'width'"),
        (HEAD + "decode_policy: {max_pixel: 3}", "4: unknown key 'max_pixel'; did you mean 'max_pixels'?"),
        (HEAD + "decode_policy: {max_pixels: 0}", "4: DecodePolicy expects max_pixels of at least 1, found 0"),
        (HEAD + "export:\n  digets: md5", "5: unknown key 'digets'; did you mean 'digest'?"),
        (HEAD + "export:\n  samples_per_shard: yes", "5: export.samples_per_shard should be a valid integer, but is "),
        (HEAD + "stages: ThumbnailEmbedder", "4: stages should be a valid list, but is 'ThumbnailEmbedder'"),
        (HEAD + "stages:\n  -", "5: a step is one name, or one name with its parameters, but found None"),
        (HEAD + "stages:\n  - {A: 1, B: 2}", "5: a step is one name, or one name with its parameters, but found A, B"),
        (HEAD + "stages:\n  - 5: {}", "5: unknown stage 5\n\nHint: installed are AestheticClassifier, "),
        (HEAD + "stages:\n  - ThumbnailEmbedder: {1: 2}", "5: ThumbnailEmbedder takes its parameters by name, but was"),
        (HEAD + "stages:\n  - ThumbnailEmbedder: 2", "5: the parameters of ThumbnailEmbedder must be a mapping, but a"),
        (HEAD + "stages:\n  - Filter", "5: Filter needs the parameter 'expr'"),
        (HEAD + "stages:\n  - Filter: {exp: a}", "5: Filter has no parameter 'exp'\n\nHint: did you mean 'expr'?"),
        (
            HEAD + "stages:\n  - Filter: {expr: min(width, height) > 3}",
            "5: Filter has no parameter 'height) > 3'\n\nHint: between { and } a comma begins the next parameter: ",
        ),
        (HEAD + "stages:\n  - Filter: {expr: 5}", "5: Filter: expr should be text, but is 5\n\nHint: put it in quotes"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_before_any_shard_is_looked_for(empty: Path, text: str | bytes, message: str) -> None:
    """There is no data here at all; file, line, and what was expected or meant."""
    with pytest.raises(ParameterError) as caught:
        loaded(text)
    assert str(caught.value).startswith(f"curate.yaml:{message}")


def test_an_expression_is_parsed_before_any_shard_is_looked_for(empty: Path) -> None:
    """A slip at the end of a filter does not cost the hours before it."""
    for step in ("Filter: {expr: 'width >'}", "WithColumn: {name: wide, expr: 'width >'}"):
        with pytest.raises(ExpressionError, match=r"^curate\.yaml:5: expected a value, found the end"):
            loaded(HEAD + f"stages:\n  - {step}")


def test_a_file_that_is_none(empty: Path) -> None:
    """A name that is not there, and one that is a folder."""
    with pytest.raises(ParameterError, match=r"there is no pipeline file 'curate\.yaml'"):
        Pipeline.from_yaml("curate.yaml")
    with pytest.raises(ParameterError, match="cannot be read: Is a directory"):
        Pipeline.from_yaml(empty)


@pytest.mark.parametrize("text", [HEAD.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + HEAD.encode()])
def test_what_editors_write(empty: Path, text: bytes) -> None:
    """The line ends of Windows, and its mark of UTF-8, change nothing."""
    assert loaded(text) == loaded(HEAD)


def test_what_the_output_refuses_is_told_with_its_line(folder: Path) -> None:
    """Before anything is computed, and nothing is left there."""
    Path("file").write_text("")
    for output, message in (("data", "the input lies there"), ("file", "Not a directory"), ("file/x", "Not a dir")):
        with pytest.raises(OutputError, match=rf"^curate\.yaml:2: .*{message}"):
            loaded(HEAD.replace("out\n", f"{output}\n")).run(progress=False)
    assert not list(Path("work/store/columns").glob("*"))
    with pytest.raises(ColumnExistsError, match=r"^curate\.yaml:4: .*caption"):
        loaded(HEAD + "export: {old_id_col: caption}").run(progress=False)
    with pytest.raises(OutputError, match=r"^curate\.yaml:3: the working folder .*file.* cannot be made"):
        loaded(HEAD.replace("work\n", "file\n")).open()
    assert not Path("out").exists()


def test_no_secret_is_shown(empty: Path) -> None:
    """What was written for ``storage_options`` is in no message and no repr."""
    with pytest.raises(ParameterError) as caught:
        loaded(HEAD + "storage_options: key=hunter2")
    assert str(caught.value) == "curate.yaml:4: storage_options should be a valid dictionary"
    assert "hunter2" not in repr(loaded(HEAD + "storage_options: {key: hunter2}"))
    with pytest.raises(ParameterError, match="output should be") as bare:
        Pipeline(input="data", output=5, storage_options={"key": "hunter2"})
    assert "hunter2" not in str(bare.value)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("stages:\n  - Filter: {expr: wdth > 3}", ColumnNotFoundError, "5: column 'wdth' not found"),
        ("stages:\n  - Filter: {expr: caption > 3}", ExpressionError, "5: "),
        ("stages:\n  - WithColumn: {name: width, expr: '1'}", ColumnExistsError, "5: with_column would overwrite"),
        ("stages:\n  - ThumbnailEmbedder\n  - ThumbnailEmbedder", ColumnExistsError, "6: ThumbnailEmbedder would"),
        ("stages:\n  - ThumbnailEmbedder\n  - NsfwClassifier", StageError, "6: NsfwClassifier needs embeddings of"),
        (
            "stages:\n  - ThumbnailEmbedder\n  - Filter: {expr: wide}\n  - WithColumn: {name: wide, expr: width > 3}",
            ColumnNotFoundError,
            "6: column 'wide' not found",
        ),
        ("id_col: uid", ColumnNotFoundError, "4: column 'uid', which should equal the tar keys"),
        ("backend: cudf", MissingDependencyError, "4: reading a dataset as cuDF"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_data_is_told_with_its_line(
    folder: Path, text: str, kind: type[ImageCurateError], message: str
) -> None:
    """The error keeps its class; made in Python the same pipeline raises the same without a place."""
    pipeline = loaded(HEAD + text)
    with pytest.raises(kind) as caught:
        pipeline.dataset()
    assert str(caught.value).startswith(f"curate.yaml:{message}")
    with pytest.raises(kind) as bare:
        Pipeline(**pipeline.model_dump(by_alias=True)).dataset()
    assert str(caught.value).endswith(str(bare.value))
    assert "curate.yaml" not in str(bare.value)


def test_a_column_that_is_used_before_it_exists(folder: Path) -> None:
    """The step that adds it is named, though it stands behind."""
    for late, column in (
        ("ThumbnailEmbedder", "image_embedding"),
        ("WithColumn: {name: wide, expr: width > 3}", "wide"),
    ):
        with pytest.raises(ColumnNotFoundError) as caught:
            loaded(HEAD + f"stages:\n  - Filter: {{expr: {column} is not null}}\n  - {late}").rehearse()
        name = late.partition(":")[0]
        assert str(caught.value).startswith(f"curate.yaml:5: column {column!r} not found")
        assert str(caught.value).endswith(f"Hint: {name}, which stands behind, adds it: put that in front")


def test_shards_that_are_not_there_are_told_with_the_line(empty: Path) -> None:
    """The line is that of ``input``."""
    with pytest.raises(ShardError, match=r"^curate\.yaml:2: no file or folder 'data'"):
        loaded("output: out\ninput: data").dataset()


def test_an_empty_part_is_its_default(folder: Path) -> None:
    """``stages:`` and ``export:`` with everything in them commented out."""
    pipeline = loaded(HEAD + "stages:\nexport:\ndecode_policy:\nschema:\n")
    assert pipeline == loaded(HEAD) == Pipeline(input="data", output="out", workdir="work")
    assert len(pipeline.dataset()) == 8


def test_anchors_and_merged_keys(empty: Path) -> None:
    """YAML's own way to say a thing once; the line of what is merged is where it was written."""
    text = "stages:\n  - Filter: &small\n      expr: width > 3\n  - Filter: {<<: *small, name: again}\n"
    assert loaded(HEAD + text).stages == [Filter("width > 3"), Filter("width > 3", "again")]
    with pytest.raises(ParameterError, match=r"^curate\.yaml:7: Filter has no parameter 'nam'"):
        loaded(HEAD + text.replace("name: again", "nam: again"))


@pytest.mark.parametrize(
    ("first", "reason"), [("", "`big`"), ("  - Filter: {expr: caption is not null, name: '`big`'}\n", "```big```")]
)
def test_filter_column_is_a_filter_of_the_dataset(folder: Path, first: str, reason: str) -> None:
    """The dataset that is returned is what was written, and knows what was computed; odd names and taken ones work."""
    stages = f"stages:\n{first}  - WithColumn: {{name: '`big`', expr: width > 60}}\n"
    pipeline = loaded(HEAD + stages + "export: {filter_column: '`big`'}")
    dataset, summary = pipeline.run(progress=False)
    assert dataset.last_run is not None
    assert len(dataset.metadata) == summary.samples == 4
    dropped = dataset.ledger().compute().query("status == 'dropped'")
    assert set(dropped["reason"]) == {reason}
    with pytest.raises(ColumnNotFoundError, match=r"^curate\.yaml:4: column 'bigg' not found"):
        loaded(HEAD + "export: {filter_column: bigg}").run(progress=False)


def test_stages_of_packages(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package announces stages; one that cannot be imported harms who names it, and no one else."""
    info = tmp_path / "site" / "their_stages-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-stages\nVersion: 1.0\n")
    announced = "Brightness = toys:Brightness\nBroken = their_missing_module:Stage\nOdd = json:dumps\n"
    (info / "entry_points.txt").write_text(f"[imagecurate.stages]\n{announced}")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    installed_stages.cache_clear()
    pipeline = {"input": str(folder), "output": str(tmp_path / "out"), "workdir": str(tmp_path / "work")}
    assert "brightness" in Pipeline(**pipeline, stages=["Brightness"]).dataset().columns
    with pytest.raises(StageError, match=r"stage 'Broken', .* by their-stages, cannot be imported"):
        Pipeline(**pipeline, stages=["Broken"]).dataset()
    with pytest.raises(StageError, match=r"'Odd', .* is no stage"):
        Pipeline(**pipeline, stages=["Odd"]).dataset()
    monkeypatch.undo()
    installed_stages.cache_clear()


def test_keys_are_text_that_yaml_takes_for_true_or_false(folder: Path) -> None:
    """``on`` above all, as the steps are documented; values keep YAML's meaning."""
    Path("seen.txt").write_text("000000000\n000000001\n")
    pq.write_table(pa.table({"key": ["000000000"], "off": [0.5], "no": [1]}), "scores.parquet")
    text = """schema: {yes: int32}
decode_policy: {accept_truncated: on}
stages:
  - Join: {path: scores.parquet, on: key, columns: {off: similarity, no: number}}
  - Include:
      path: seen.txt
      on: key
  - Exclude: {path: seen.txt, "on": similarity}
"""
    pipeline = loaded(HEAD + text)
    assert pipeline.input_schema == {"yes": "int32"}
    assert pipeline.decode_policy is not None
    assert pipeline.decode_policy.accept_truncated is True
    frame = pipeline.dataset().metadata.compute()
    assert frame.key.tolist() == ["000000000", "000000001"]
    assert frame.similarity.tolist()[0] == 0.5
    assert frame.yes.isna().all()
    with pytest.raises(ParameterError, match=r"^curate\.yaml:7: Join has no parameter 'off'"):
        loaded(HEAD + text.replace("on: key, columns", "off: key, columns"))
    with pytest.raises(ParameterError, match=r"^curate\.yaml:4: not well-formed YAML: the key 'on' stands in line 4"):
        loaded(HEAD + "schema: {on: int32, on: int64}")
