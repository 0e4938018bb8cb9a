"""``imagecurate run --dry-run``: what would be done, and what is most likely a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from making import write_folder
from typer.testing import CliRunner, Result

from imagecurate.cli import app

CLIP = "TimmImageEmbedder: {model_name: vit_large_patch14_clip_quickgelu_224.openai}"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with eight samples in two shards."""
    write_folder(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pipeline(*stages: str) -> None:
    lines = "".join(f"  - {stage}\n" for stage in stages)
    Path("curate.yaml").write_text(f"input: data\noutput: out\nworkdir: work\nstages:\n{lines}")


def plan() -> dict[str, object]:
    done = run("run", "curate.yaml", "--dry-run", "--json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_everything_is_filled_in(folder: Path, decodes: list[int]) -> None:
    """Settings and parameters with their defaults, columns at each step, shards; nothing is computed or written."""
    pipeline("Filter: {expr: width >= 50, name: size}", "ThumbnailEmbedder", "SemanticDeduplicator", "DropDuplicates")
    found = plan()
    assert found["shards"] == 2
    assert found["settings"]["metadata"] == "auto"
    assert found["settings"]["decode_policy"]["timeout_s"] == 10.0
    assert found["settings"]["export"]["samples_per_shard"] == 10_000
    steps = found["steps"]
    assert [step["step"] for step in steps] == ["Filter", "ThumbnailEmbedder", "SemanticDeduplicator", "DropDuplicates"]
    assert steps[2]["parameters"]["n_clusters"] == "auto"
    assert steps[1]["adds"]["image_embedding"] == "list<item: float>"
    assert "semantic_similarity" in steps[2]["columns"]
    assert "semantic_similarity" not in steps[1]["columns"]
    assert steps[2]["stored"] == {"SemanticDeduplicator": 0}
    assert steps[2]["comparison"] is None
    assert (decodes, (folder / "out").exists()) == ([], False)


def test_what_the_store_has(folder: Path) -> None:
    """Shards by stage, and how pairs would be found once the embeddings are there."""
    pipeline("ThumbnailEmbedder", "SemanticDeduplicator", "DropDuplicates")
    assert run("run", "curate.yaml", "--until", "ThumbnailEmbedder", "-q").exit_code == 0
    steps = plan()["steps"]
    assert steps[0]["stored"] == {"decode": 2, "ThumbnailEmbedder": 2}
    assert steps[1]["stored"] == {"SemanticDeduplicator": 0}
    assert steps[1]["comparison"].startswith("8 vectors of length 67")
    text = run("run", "curate.yaml", "--dry-run").stdout
    assert "    store: ThumbnailEmbedder of 2 of 2 shards\n" in text
    assert "    pairs: 8 vectors of length 67" in text
    assert run("run", "curate.yaml", "-q").exit_code == 0
    assert plan()["steps"][1]["stored"] == {"SemanticDeduplicator": 2}


def test_weights_that_are_not_here_are_not_fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named, and what the store has of their stages is not known."""
    monkeypatch.setenv("IMAGECURATE_MODELS", str(folder / "models"))
    pipeline(CLIP, "AestheticClassifier")
    found = plan()
    assert [name.partition(" ")[0] for name in found["missing_weights"]] == ["sac+logos+ava1-l14-linearMSE.pth"]
    assert found["steps"][1]["stored"] == {"AestheticClassifier": None}
    assert not (folder / "models").exists()


@pytest.mark.parametrize(
    ("stages", "warning"),
    [
        ((CLIP, "AestheticClassifier", "Filter: {expr: aesthetic_score >= 0.5}"), ":7: aesthetic_score >= 0.5 keeps"),
        ((CLIP, "AestheticClassifier", "Filter: {expr: 0.9 < aesthetic_score}"), ":7: aesthetic_score > 0.9 keeps"),
        ((CLIP, "AestheticClassifier", "Filter: {expr: aesthetic_score between 1 and 9}"), ":7: aesthetic_score >= 1 "),
        ((CLIP, "NsfwClassifier", "Filter: {expr: nsfw_score < 20 and width > 1}"), ":7: nsfw_score < 20 keeps every"),
        (
            (CLIP, "NsfwClassifier", "Deduplicate: {levels: [exact]}", "Filter: {expr: nsfw_score < 0.2, name: safe}"),
            ":8: the filter 'safe' on nsfw_score stands behind a deduplicator",
        ),
        (
            ("WithColumn: {name: nsfw, expr: width}", "Deduplicate: {levels: [exact]}", "Filter: {expr: nsfw < 1}"),
            ":7: the filter 'nsfw < 1' on nsfw stands behind a deduplicator",
        ),
    ],
)  # fmt: skip
def test_what_is_most_likely_a_mistake(folder: Path, stages: tuple[str, ...], warning: str) -> None:
    """Is told with its line, once."""
    pipeline(*stages)
    done = run("run", "curate.yaml", "--dry-run")
    assert done.exit_code == 0
    assert done.stderr.startswith(f"warning: curate.yaml{warning}")
    assert done.stderr.count("warning:") == 1


def test_what_is_none(folder: Path) -> None:
    """The usual thresholds, with the filter on safety in front."""
    pipeline(
        CLIP, "AestheticClassifier", "NsfwClassifier", "Filter: {expr: aesthetic_score >= 5 and nsfw_score < 0.2}",
        "ExactDeduplicator", "DropDuplicates", "Filter: {expr: aesthetic_score >= 5.5}",
    )  # fmt: skip
    assert run("run", "curate.yaml", "--dry-run").stderr == ""


def test_a_run_warns_too(folder: Path) -> None:
    """And goes on."""
    pipeline(
        "WithColumn: {name: nsfw, expr: width / 999}", "Deduplicate: {levels: [exact]}", "Filter: {expr: nsfw < 1}"
    )
    done = run("run", "curate.yaml")
    assert done.exit_code == 0
    assert "warning: curate.yaml:7: the filter 'nsfw < 1'" in done.stderr
