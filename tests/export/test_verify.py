"""An export is checked against its manifest."""

from __future__ import annotations

from pathlib import Path

import pytest
from making import write_folder
from tar_survivors import TarSurvivors

from imagecurate.errors import OutputError
from imagecurate.export import to_webdataset, verify


@pytest.mark.parametrize("digest", ["xxh3_128", "sha256"])
def test_damage_is_found(tmp_path: Path, digest: str) -> None:
    """A changed byte, a changed length and a missing file are told from each other."""
    write_folder(tmp_path / "in")
    out = tmp_path / "out"
    to_webdataset(TarSurvivors.of(tmp_path / "in"), out, samples_per_shard=3, digest=digest)  # type: ignore[arg-type]
    assert verify(out) == []
    with (out / "00000.tar").open("r+b") as file:
        file.seek(600)
        file.write(b"?")
    (out / "00001.idx").write_text("short")
    (out / "00002.parquet").unlink()
    first, second, third = verify(out)
    assert first.startswith(f"00000.tar has {digest} ")
    assert second.startswith("00001.idx has 5 bytes, manifest.json promises ")
    assert third == "00002.parquet is missing"


def test_no_manifest(tmp_path: Path) -> None:
    """A folder without one is no finished export."""
    with pytest.raises(OutputError, match=r"there is no readable manifest\.json"):
        verify(tmp_path)


@pytest.mark.parametrize(
    "content", ["{}", "[]", '{"digest": "md5", "files": {}}', '{"digest": "sha256", "files": {"a": {}}}']
)
def test_a_manifest_of_another_kind(tmp_path: Path, content: str) -> None:
    """JSON of that name that somebody else wrote is no manifest."""
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(OutputError, match=r"there is no readable manifest\.json"):
        verify(tmp_path)
