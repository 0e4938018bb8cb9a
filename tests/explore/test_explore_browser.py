"""What notebooks show, in a real browser: without network and complaints, by mouse and by keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from making import picture, write_shard
from opening import opened
from test_show import HOSTILE

import imagecurate as ic


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> ic.ImageTextPairDataset:
    """Names and captions that would be markup, with embeddings and a score by which every picture is covered."""
    folder = tmp_path_factory.mktemp("browser") / "data"
    made = [(key, {"jpg": picture(n, (200, 150)), "txt": text}) for n, (key, text) in enumerate(HOSTILE.items())]
    write_shard(folder / "0.tar", made)
    return ic.ThumbnailEmbedder()(opened(folder)).with_column("nsfw_score", "image_width / 200")


def shown(browser: Any, result: Any, folder: Path) -> tuple[Any, list[str]]:
    """A page with a result, and whatever it complains of or asks the network for."""
    result.save(folder / "page.html")
    page = browser.new_page(viewport={"width": 1000, "height": 800}, color_scheme="dark")
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("dialog", lambda dialog: (complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda asked: complaints.append(asked.url) if asked.url.startswith("http") else None)
    page.goto((folder / "page.html").as_uri())
    return page, complaints


def test_a_covered_picture_is_opened_by_keyboard(
    chromium: Any,
    dataset: ic.ImageTextPairDataset,
    tmp_path: Path,
) -> None:
    """Captions stay text; Enter opens the picture that has the focus, and closes it again."""
    page, complaints = shown(chromium, dataset.show(), tmp_path)
    real = page.locator("details > img")
    assert real.count() == len(HOSTILE)
    assert not any(picture.is_visible() for picture in real.all())
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert [picture.is_visible() for picture in real.all()] == [True] + [False] * (len(HOSTILE) - 1)
    page.keyboard.press("Enter")
    assert not real.first.is_visible()
    assert page.get_by_text("<script>alert(1)</script>", exact=True).count() == 1
    assert complaints == []
    page.close()


def test_a_dot_shows_its_picture(
    chromium: Any,
    dataset: ic.ImageTextPairDataset,
    tmp_path: Path,
) -> None:
    """Where the mouse is, and where the focus is; nowhere else."""
    page, complaints = shown(chromium, dataset.embedding_map(color="key", blur=None), tmp_path)
    pictures = page.locator("image.ic-peek")
    assert not any(picture.is_visible() for picture in pictures.all())
    page.locator(".ic-point circle").nth(2).hover()
    assert pictures.nth(2).is_visible()
    page.mouse.move(0, 0)
    page.keyboard.press("Tab")
    assert pictures.nth(0).is_visible()
    assert complaints == []
    page.close()


@pytest.mark.parametrize("call", ["hist", "thresholds"])
def test_charts_fit_a_narrow_page(
    chromium: Any,
    dataset: ic.ImageTextPairDataset,
    tmp_path: Path,
    call: str,
) -> None:
    """Nothing is cut off on a small screen."""
    page, complaints = shown(chromium, getattr(dataset, call)("image_width * image_height"), tmp_path)
    page.set_viewport_size({"width": 420, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    assert page.locator("svg[role=img]").count() == 1
    assert complaints == []
    page.close()
