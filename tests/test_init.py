"""``imagecurate init``: what it writes runs as it is."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import yaml
from making import write_folder
from typer.testing import CliRunner, Result

from imagecurate import Pipeline
from imagecurate.cli import app
from imagecurate.pipeline import Filter


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with eight samples in ``data``."""
    write_folder(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def made(*arguments: str) -> Pipeline:
    done = run("init", "-i", "data", "-o", "out", "--force", *arguments)
    assert done.exit_code == 0, done.stderr
    return Pipeline.from_yaml("pipeline.yaml")


def names(pipeline: Pipeline) -> list[str]:
    return [step.name if isinstance(step, Filter) else type(step).__name__ for step in pipeline.stages]


@pytest.mark.parametrize(
    ("recipe", "steps"),
    [
        ("basic-quality", ["TimmImageEmbedder", "AestheticClassifier", "aesthetic", "NsfwClassifier", "nsfw"]),
        ("embedding-only", ["TimmImageEmbedder"]),
        (
            "full",
            ["TimmImageEmbedder", "AestheticClassifier", "aesthetic", "NsfwClassifier", "nsfw", "Deduplicate"],
        ),
    ],
)
def test_recipes(recipe: str, steps: list[str]) -> None:
    """Each with what belongs to it, and the columns fit together."""
    pipeline = made("--recipe", recipe)
    assert names(pipeline) == steps
    pipeline.rehearse()
    text = Path("pipeline.yaml").read_text()
    assert sum(line.strip().startswith("#") for line in text.splitlines()) >= 3


def test_it_runs_as_it_is() -> None:
    """With the embedder that needs no weights."""
    made("--model", "thumbnail", "--no-aesthetic", "--no-nsfw", "--dedup", "--workdir", "work", "--images-per-tar", "3")
    assert run("run", "pipeline.yaml", "-q").exit_code == 0
    assert len(list(Path("out").glob("*.tar"))) == 3


def test_older_names() -> None:
    """Those of the scripts that people have."""
    done = run("init", "--input-path", "data", "--output-path", "o", "--output-file", "p.yaml", "--images-per-tar", "7")
    assert done.exit_code == 0, done.stderr
    pipeline = Pipeline.from_yaml("p.yaml")
    assert (pipeline.input, pipeline.output, pipeline.export.samples_per_shard) == ("data", "o", 7)


@pytest.mark.parametrize(
    ("aesthetic", "nsfw"),
    list(product([(), ("--aesthetic",), ("--no-aesthetic",)], [(), ("--nsfw",), ("--no-nsfw",)])),
)
def test_filters_are_switched(aesthetic: tuple[str, ...], nsfw: tuple[str, ...]) -> None:
    """On by default, off by their switch."""
    found = names(made(*aesthetic, *nsfw))
    assert ("aesthetic" in found) == (aesthetic != ("--no-aesthetic",))
    assert ("nsfw" in found) == (nsfw != ("--no-nsfw",))


def test_a_threshold_of_0_is_a_threshold() -> None:
    """Not "off"; aesthetic keeps at least it, NSFW less than it; what keeps everything or nothing is told."""
    done = run("init", "-i", "data", "-o", "out", "--aesthetic-threshold", "0", "--nsfw-threshold", "0")
    assert "an aesthetic threshold of 0 keeps nearly everything" in done.stderr
    assert "an NSFW threshold of 0 keeps nothing" in done.stderr
    stages = Pipeline.from_yaml("pipeline.yaml").stages
    assert [step.expr for step in stages if isinstance(step, Filter)] == ["aesthetic_score >= 0", "nsfw_score < 0"]
    exact = made("--recipe", "embedding-only", "--aesthetic-threshold", "5.123456789")
    assert [step.expr for step in exact.stages if isinstance(step, Filter)] == ["aesthetic_score >= 5.123456789"]


def test_options_reach_the_file() -> None:
    """Model, batch, threshold of similarity, sources; odd paths are quoted."""
    pipeline = made("--batch-size", "64", "--min-similarity", "0.97", "-i", "b=x: [y] #z")
    values = yaml.safe_load(Path("pipeline.yaml").read_text())
    assert values["input"] == {"default": ["data"], "b": ["x: [y] #z"]}
    assert values["stages"][0]["TimmImageEmbedder"]["batch_size"] == 64
    assert values["stages"][-1] == {"Deduplicate": {"min_similarity": 0.97, "keep_by": "aesthetic_score"}}
    assert pipeline.export.samples_per_shard == 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--output", ""), "--output expects a path or URL, but got nothing"),
        (("--input", " "), "--input expects a path or URL, but got nothing"),
        (("--recipe", "ful"), "there is no recipe 'ful'\n\nHint: did you mean 'full'?"),
        (("--no-nsfw", "--nsfw-threshold", "0.1"), "--no-nsfw and --nsfw-threshold 0.1 contradict each other"),
        (
            ("--model", "thumbnail"),
            "the aesthetic and nsfw scores need embeddings of OpenAI CLIP ViT-L/14, not of 'thu",
        ),
        (("--model", "resnet5"), "TimmImageEmbedder: model_name='resnet5': timm knows no such model"),
        (("--model", "resnet18", "--recipe", "embedding-only", "--dedup"), "how near duplicates are is not known"),
        (("--dedup", "--min-similarity", "2"), "Deduplicate: SemanticDeduplicator: min_similarity=2"),
        (("--batch-size", "0"), "TimmImageEmbedder: batch_size=0"),
        (("--samples-per-shard", "0"), "export.samples_per_shard should be greater than 0"),
        (("--aesthetic-threshold", "nan"), ""),
    ],
)
def test_mistakes(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    """One sentence, exit code 2, and no file."""
    done = run("init", "-i", "data", "-o", "out", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"imagecurate: {message}")
    assert not (folder / "pipeline.yaml").exists()


def test_a_file_that_is_there_stays(folder: Path) -> None:
    """Unless it is to be replaced."""
    (folder / "pipeline.yaml").write_text("mine")
    done = run("init", "-i", "data", "-o", "out")
    assert done.exit_code == 2
    assert "there is a file 'pipeline.yaml' already\n\nHint: --force replaces it" in done.stderr
    assert (folder / "pipeline.yaml").read_text() == "mine"
