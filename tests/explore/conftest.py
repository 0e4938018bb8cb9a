"""What tests of exploration share: a browser, and a dataset with a bit of everything, with its report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reporting import everything

import imagecurate as ic


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ic.ImageTextPairDataset:
    """A dataset with a bit of everything, computed; nobody changes it."""
    return everything(tmp_path_factory.mktemp("whole")).compute(progress=False)


@pytest.fixture(scope="session")
def report(whole: ic.ImageTextPairDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its report."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    whole.report(path, title="All <b>of</b> it", progress=False)
    return path


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser that is installed here; none is fetched."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("no chromium is installed here, as by apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: it is in the extra dev")
    with api.sync_playwright() as playwright:
        # Chromium refuses to shut its renderer in where everybody is root, as in a container.
        arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
