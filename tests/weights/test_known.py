"""Known weights: where they are looked for, and what is refused."""

from __future__ import annotations

import dataclasses
import functools
import http.server
import logging
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from imagecurate.errors import WeightsError
from imagecurate.weights import (
    AESTHETIC,
    KNOWN,
    NSFW,
    KnownWeights,
    file_digest,
    model_folder,
    read_tensors,
    tensor_digest,
)

STATE = {"layers.0.weight": torch.arange(6.0).reshape(2, 3), "layers.0.bias": torch.ones(2)}
SHAPES = {"layers.0.weight": (2, 3), "layers.0.bias": (2,)}


@pytest.fixture
def published(tmp_path: Path) -> Iterator[KnownWeights]:
    """Small weights on a server: plain as toy.pth, zipped as toy.zip."""
    folder = tmp_path / "site"
    folder.mkdir()
    torch.save(STATE, folder / "toy.pth")
    with zipfile.ZipFile(folder / "toy.zip", "w") as archive:
        archive.write(folder / "toy.pth", "some/folder/toy.pth")
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *args: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield KnownWeights(
        name="Toy",
        file="toy.pth",
        url=f"http://127.0.0.1:{server.server_address[1]}/toy.pth",
        licence="MIT",
        embedding_of="nothing",
        tensors=tensor_digest(STATE),
        shapes=SHAPES,
        sha256=file_digest(folder / "toy.pth"),
    )
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty model folder."""
    monkeypatch.setenv("IMAGECURATE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


def test_model_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Named by the user, else in the cache folder; an empty variable counts as unset."""
    assert model_folder() == tmp_path / "models"
    monkeypatch.setenv("IMAGECURATE_MODELS", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert model_folder() == Path("/caches/imagecurate/models")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert model_folder() == Path.home() / ".cache/imagecurate/models"


@pytest.mark.parametrize("zipped", [False, True])
def test_fetched_once_then_found(published: KnownWeights, models: Path, zipped: bool) -> None:
    """Fetched into the model folder; the second time the server is not asked."""
    known = dataclasses.replace(published, url=published.url.replace(".pth", ".zip")) if zipped else published
    known = dataclasses.replace(known, zipped=zipped, sha256=None if zipped else known.sha256)
    assert tensor_digest(known.load()) == tensor_digest(STATE)
    assert [path.name for path in models.iterdir()] == ["toy.pth"]
    elsewhere = dataclasses.replace(known, url="http://127.0.0.1:9/gone")
    assert tensor_digest(elsewhere.load()) == tensor_digest(STATE)


def test_not_there_says_what_to_do(published: KnownWeights, models: Path) -> None:
    """No file, no network: where it was looked for, and the three ways out."""
    gone = dataclasses.replace(published, url="http://127.0.0.1:9/gone")
    with pytest.raises(
        WeightsError, match=r"Toy: its weights are not in .*models' and could not be fetched: cannot fetch"
    ):
        gone.load()
    with pytest.raises(
        WeightsError, match=r"Hint: put toy.pth there, name its folder in .IMAGECURATE_MODELS, or give model_path="
    ):
        gone.load()
    assert list(models.iterdir()) == []


@pytest.mark.parametrize("field", ["sha256", "tensors"])
def test_other_bytes_are_not_kept(published: KnownWeights, models: Path, field: str) -> None:
    """What the server gives is verified before it appears under its name."""
    changes = {"sha256": None} if field == "tensors" else {}
    other = dataclasses.replace(published, **(changes | {field: "0" * 64}))
    with pytest.raises(WeightsError, match=r"is not the published toy\.pth: .* expected 0000"):
        other.load()
    assert list(models.iterdir()) == []


def test_damage_in_the_model_folder_is_refused(published: KnownWeights, models: Path) -> None:
    """A file that was cut by another tool is named, with the way out."""
    path = published.find()
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"is not the published toy\.pth: its sha256 is"):
        published.load()
    with pytest.raises(WeightsError, match="Hint: remove it and it will be fetched"):
        published.load()


def test_a_given_path_is_a_file_or_its_folder(published: KnownWeights, tmp_path: Path) -> None:
    """Both name the same weights, and nothing is fetched."""
    site = tmp_path / "site"
    gone = dataclasses.replace(published, url="http://127.0.0.1:9/gone")
    assert gone.find(str(site)) == gone.find(str(site / "toy.pth")) == site / "toy.pth"
    assert gone.digest(str(site)) == gone.digest() == tensor_digest(gone.load(str(site)))
    with pytest.raises(WeightsError, match=r"Toy: cannot read weights from .*models.*: there is no such file"):
        gone.load(str(tmp_path / "models"))
    with pytest.raises(WeightsError, match=r"empty/toy.pth"):
        (tmp_path / "empty").mkdir()
        gone.load(str(tmp_path / "empty"))


def test_own_weights_are_used_and_said(
    published: KnownWeights, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Other values of the same shapes: a digest of their own, and a line in the log."""
    path = tmp_path / "mine.pth"
    torch.save({name: value + 1 for name, value in STATE.items()}, path)
    with caplog.at_level(logging.WARNING):
        state = published.load(str(path))
    assert torch.equal(state["layers.0.bias"], torch.full((2,), 2.0))
    assert "does not hold the published weights" in caplog.text
    assert published.digest(str(path)) == tensor_digest(state) != published.digest()


def test_another_architecture_is_refused(published: KnownWeights, tmp_path: Path) -> None:
    """Keys and shapes are compared, and named."""
    path = tmp_path / "mine.pth"
    torch.save({"layers.0.weight": torch.ones(2, 4), "head": torch.ones(1)}, path)
    message = (
        r"do not fit its architecture: missing: layers\.0\.bias; unexpected: head; "
        r"of another shape: layers\.0\.weight \(2, 4\) instead of \(2, 3\)"
    )
    with pytest.raises(WeightsError, match=message):
        published.load(str(path))


class Trap:
    """Would run code while it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("caught",))


def test_files_with_code_in_them_are_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pickle that needs more than tensors is refused."""
    path = tmp_path / "trap.pth"
    torch.save({"layers.0.weight": torch.ones(1), "trap": Trap()}, path)
    with pytest.raises(WeightsError, match="cannot read weights from"):
        read_tensors(path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("place", range(24))
def test_a_damaged_value_is_refused(tmp_path: Path, place: int) -> None:
    """One byte of one tensor turned over: torch would not notice, the archive's checksums do."""
    path = tmp_path / "state.pth"
    torch.save(STATE, path)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(STATE["layers.0.weight"].numpy().tobytes()) + place] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(WeightsError, match=r"cannot read weights from .*: 'state/data/0' in it is damaged"):
        read_tensors(path)


@pytest.mark.parametrize("data", [b"", b"not a pickle", b"PK\x03\x04 half a zip"])
def test_damaged_files_are_refused(tmp_path: Path, data: bytes) -> None:
    """In either format."""
    for name in ("x.pth", "x.safetensors"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(WeightsError, match=f"cannot read weights from .*{name}"):
            read_tensors(tmp_path / name)


def test_what_holds_no_tensors_is_refused(tmp_path: Path) -> None:
    """A checkpoint with other things beside its tensors."""
    torch.save({"state_dict": STATE}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="holds no mapping from names to tensors"):
        read_tensors(tmp_path / "x.pth")


@pytest.mark.shared
def test_the_published_files_are_what_is_pinned(shared: Path) -> None:
    """Both digests of both, from the real files."""
    for known in KNOWN:
        path = known.find(str(shared / "weights"))
        assert known.sha256 in (None, file_digest(path))
        assert tensor_digest(read_tensors(path)) == known.tensors
        assert known.digest(str(path)) == known.digest()


@pytest.mark.shared
def test_the_real_files_pass_as_a_model_folder(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by the environment, they are verified and loaded."""
    monkeypatch.setenv("IMAGECURATE_MODELS", str(shared / "weights"))
    assert {len(known.load()) for known in (AESTHETIC, NSFW)} == {10}


def test_the_register_is_complete() -> None:
    """What `imagecurate models` needs to show is there for each."""
    for known in KNOWN:
        assert known.url.startswith("https://github.com/")
        assert len(known.tensors) == 64
        assert known.licence
        assert "shapes" not in repr(known)
