"""Progress: a bar where there is a terminal, lines where there is none, nothing when asked."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from making import write_folder

from imagecurate.plan.outcome import PassStats
from imagecurate.progress import Progress


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """One line at the end, to stderr, with images a second and failures."""
    with Progress("computing", 2) as bar:
        bar.block(PassStats(decoded=3, failed=1), 0.5)
        bar.shard(PassStats(samples=3, decoded=3, failed=1))
        bar.shard(PassStats(samples=4, decoded=4))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("computing: 2 of 2 shards, 7 images decoded, ")
    assert err.rstrip().endswith("1 failed")
    assert bar.stats.samples == 7


def test_silence_when_asked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By argument or by environment."""
    with Progress("computing", 1, show=False):
        pass
    monkeypatch.setenv("IMAGECURATE_PROGRESS", "0")
    with Progress("computing", 1):
        pass
    assert capsys.readouterr() == ("", "")


def test_a_bar_in_a_terminal(tmp_path: Path) -> None:
    """In a real terminal a bar is drawn, with images a second and the time left."""
    write_folder(tmp_path / "data")
    code = (
        "import imagecurate as ic\n"
        f"ic.ThumbnailEmbedder()(ic.read_webdataset({str(tmp_path / 'data')!r}, workdir=None)).compute()\n"
    )
    terminal, side = pty.openpty()
    environment = os.environ | {"COLUMNS": "140", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=side, stdout=subprocess.PIPE, env=environment
    ) as process:
        os.close(side)
        drawn = b""
        while True:
            try:
                piece = os.read(terminal, 4096)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            drawn += piece
    os.close(terminal)
    assert process.returncode == 0
    assert b"computing" in drawn
    assert b"images decoded" in drawn
    assert "━".encode() in drawn
