"""The commands that tell: ``stages``, ``models``, ``ledger``, ``schema``."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from making import picture, write_tar
from typer.testing import CliRunner, Result

import imagecurate as ic
from imagecurate.cli import app
from imagecurate.pipeline import Pipeline, installed_stages
from imagecurate.weights import AESTHETIC, NSFW


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an export of seven samples: two kept, three dropped, two failed."""
    members = [(f"{number}.jpg", picture(number)) for number in range(5)]
    write_tar(tmp_path / "data" / "00000.tar", [*members, ("bad.jpg", b"<html>"), ("half.jpg", picture(9)[:300])])
    write_tar(tmp_path / "data" / "00001.tar", [(f"{number}.txt", b"[red]") for number in range(2)])
    (tmp_path / "curate.yaml").write_text(
        "input: data/00000.tar\noutput: out\nworkdir: work\nstages:\n  - ThumbnailEmbedder\n"
        "  - Filter:\n      expr: key in ['0', '1']\n      name: '[one] of two'\n"
    )
    monkeypatch.chdir(tmp_path)
    assert run("run", "curate.yaml", "-q").exit_code == 0
    return tmp_path


def test_the_ledger_in_sums(folder: Path) -> None:
    """Kept, dropped and failed with their reasons; they add up."""
    found = json.loads(run("ledger", "out", "--json").stdout)
    assert found["samples"] == 7 == sum(row["samples"] for row in found["sums"])
    sums = {(row["status"], row["reason"]): row["samples"] for row in found["sums"]}
    assert sums == {
        ("kept", ""): 2, ("dropped", "[one] of two"): 3, ("failed", "not an image"): 1, ("failed", "truncated"): 1,
    }  # fmt: skip
    assert re.search(r"dropped │ \[one\] of two │ +3 │", run("ledger", "out").stdout)


def test_rows_of_the_ledger(folder: Path) -> None:
    """By status, reason, key, shard; so many at most, and how many there are."""

    def rows(*arguments: str) -> list[str]:
        done = run("ledger", "out", "--json", *arguments)
        return [row["key"] for row in json.loads(done.stdout)["rows"]]

    assert rows("--failed") == ["bad", "half"]
    assert rows("--failed", "--reason", "truncated") == ["half"]
    assert rows("--kept") == ["0", "1"]
    assert rows("--dropped", "--failed") == ["2", "3", "4", "bad", "half"]
    assert rows("--key", "3") == ["3"]
    assert rows("--shard", "00000", "--source", "default", "--kept") == ["0", "1"]
    assert rows("--reason", "nothing") == []
    assert rows("--dropped", "--limit", "1") == ["2"]
    assert rows("--dropped", "--limit", "0") == ["2", "3", "4"]
    assert "3 samples, 1 of them shown; --limit 0 shows all" in run("ledger", "out", "--dropped", "--limit", "1").stdout


def test_a_folder_without_a_ledger(folder: Path) -> None:
    """Is a mistake."""
    for name in ("data", "nowhere"):
        done = run("ledger", name)
        assert done.exit_code == 2
        assert done.stderr.startswith(f"imagecurate: there is no ledger in '{name}'")


def test_every_stage_is_listed() -> None:
    """With kind, columns and every parameter with its default; as text, in full, and for machines."""
    found = json.loads(run("stages", "--json").stdout)
    stages = {stage["name"]: stage for stage in found["stages"]}
    assert stages.keys() == set(installed_stages())
    for name, stage in stages.items():
        fields = getattr(ic, name).model_fields
        shown = {each["name"]: each for each in stage["parameters"]}
        assert shown.keys() == {field for field, info in fields.items() if not info.exclude}
        assert all(each["required"] == fields[field].is_required() for field, each in shown.items())
        assert stage["kind"] in ("image", "column", "dataset", "several")
        assert stage["summary"]
    assert stages["AestheticClassifier"]["reads"] == ["image_embedding"]
    assert stages["AestheticClassifier"]["adds"] == ["aesthetic_score"]
    assert {step["name"] for step in found["steps"]} >= {"Filter", "DropDuplicates"}
    verbose = run("stages", "--verbose").stdout
    assert "    min_similarity: number > 0, < 1, or null = None\n" in verbose
    assert "    model_name: string needed\n" in verbose
    assert "11 stages" in run("stages").stdout


def test_every_weight_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Source, licence, digest, the embedding that it needs or gives."""
    monkeypatch.setenv("IMAGECURATE_MODELS", str(tmp_path))
    found = {each["name"]: each for each in json.loads(run("models", "--json").stdout)}
    aesthetic = found[AESTHETIC.file]
    assert (aesthetic["licence"], aesthetic["sha256"], aesthetic["path"]) == ("Apache-2.0", AESTHETIC.sha256, None)
    assert found[NSFW.file]["tensors_sha256"] == NSFW.tensors
    clip = found["vit_large_patch14_clip_quickgelu_224.openai"]
    assert clip["gives"] == aesthetic["needs"] == found[NSFW.file]["needs"] == "openai/clip-vit-large-patch14"
    assert all(each["source"].startswith("https://") and each["licence"] for each in found.values())
    assert "not on this machine" in run("models").stdout


def test_weights_are_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that the pipeline needs is fetched; a file of one's own is where it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGECURATE_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("imagecurate.weights.known.fetch", lambda url, path, **how: _write(path))
    Path("mine.safetensors").write_bytes(b"weights")
    Path("curate.yaml").write_text(
        "input: x\noutput: y\nstages:\n"
        "  - TimmImageEmbedder: {model_name: resnet18, checkpoint_path: mine.safetensors}\n"
        "  - AestheticClassifier\n  - ThumbnailEmbedder: {image_embedding_column: t}\n"
    )
    mine, aesthetic = json.loads(run("models", "pull", "curate.yaml", "--json").stdout)
    assert (mine["name"], mine["sha256"]) == ("mine.safetensors", sha256(b"weights").hexdigest())
    assert aesthetic["path"] == str(tmp_path / "models" / AESTHETIC.file)
    Path("none.yaml").write_text("input: x\noutput: y\nstages: [ThumbnailEmbedder]\n")
    assert run("models", "pull", "none.yaml").stdout == "no stage needs weights\n"


def _write(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"fetched")


def test_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Are a failure, not a mistake."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IMAGECURATE_MODELS", str(tmp_path))
    monkeypatch.setattr("imagecurate.weights.known.fetch", _offline)
    Path("curate.yaml").write_text("input: x\noutput: y\nstages: [AestheticClassifier]\n")
    done = run("models", "pull", "curate.yaml")
    assert done.exit_code == 3
    assert done.stderr.startswith("imagecurate: AestheticClassifier: its weights are not in ")


def _offline(*given: Any, **how: Any) -> None:
    raise ic.errors.WeightsError("no network")


GOOD = [
    "input: data\noutput: out",
    "input: {a: x, b: [y]}\noutput: o\nworkdir: null\nschema: {n: int32}\ndecode_policy: {timeout_s: 3}\nstages:\n",
    "input: [a]\noutput: o\nstages:\n- ThumbnailEmbedder\n- ThumbnailEmbedder:\n- Filter: {expr: a}\n- DropDuplicates",
    "input: a\noutput: o\nstages:\n- TimmImageEmbedder: {model_name: resnet18, batch_size: 8, checkpoint_path: null}\n",
    "input: a\noutput: o\nstages:\n- Deduplicate: {levels: [exact], keep_by: [a, -b]}",
    "input: a\noutput: o\nstages:\n- Join: {path: [a], 'on': k, columns: {a: b}}",
    "input: a\noutput: o\nexport: {samples_per_shard: 3, digest: sha256}",
]  # fmt: skip
BAD = [
    "output: out",
    "input: a\noutput: o\nworkdr: x",
    "input: a\noutput: o\nmetadata: all",
    "input: a\noutput: o\nstages: [Thumbnail]",
    "input: a\noutput: o\nstages: [Filter]",
    "input: a\noutput: o\nstages:\n- Filter: {exp: a}",
    "input: a\noutput: o\nstages:\n- TimmImageEmbedder: {model_name: resnet18, batch_size: 0}",
    "input: a\noutput: o\nstages:\n- SemanticDeduplicator: {order: worst, eps: 0.1}",
    "input: a\noutput: o\nexport: {samples_per_shard: many}",
]


def test_editors_and_we_agree(tmp_path: Path) -> None:
    """What the JSON schema lets pass, we do, and what it does not, we do not."""
    schema = json.loads(run("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    path = tmp_path / "curate.yaml"
    for text in GOOD:
        assert [error.message for error in validator.iter_errors(yaml.safe_load(text))] == []
        path.write_text(text)
        Pipeline.from_yaml(path)
    for text in BAD:
        assert list(validator.iter_errors(yaml.safe_load(text))), text
        path.write_text(text)
        with pytest.raises(ic.errors.ImageCurateError):
            Pipeline.from_yaml(path)
