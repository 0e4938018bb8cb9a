"""The report in a real browser: opened from the disk, used by mouse and by keyboard, without network and complaints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reporting import HOSTILE, HOSTILE_KEY


@pytest.fixture
def page(chromium: Any, report: Path) -> Iterator[Any]:
    """The report, opened from the disk; in the end nothing was asked of the network, and nobody complained."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: None if _is_here(request.url) else complaints.append(request.url))
    page.goto(report.as_uri())
    yield page
    context.close()
    assert complaints == []


def _is_here(url: str) -> bool:
    return url.startswith("data:image/jpeg;base64,") or (url.startswith("file:///") and url.endswith("report.html"))


def visible(page: Any, selector: str) -> int:
    """How many elements can be seen."""
    return sum(each.is_visible() for each in page.locator(selector).all())


def test_hostile_text_stays_text(page: Any) -> None:
    """What would be a script or a handler is on the page as it was written, and nothing of it ran."""
    caption = page.locator("#samples .caption").filter(has_text="alert(1)").first
    assert caption.text_content() == HOSTILE.replace("\x00", "\ufffd")
    assert page.get_by_text(HOSTILE_KEY, exact=False).count() > 0
    assert page.evaluate("document.scripts.length") == 1
    assert page.evaluate("document.querySelectorAll('[onerror], [onload], [style], i, img[src=x]').length") == 0


def test_its_own_policy_forbids_what_is_not_its_own(chromium: Any, report: Path) -> None:
    """Were markup to come in all the same, neither its script would run nor its picture be fetched."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(report.as_uri())
    page.evaluate(
        """() => {
          document.addEventListener('securitypolicyviolation', (event) => {
            window.refused = [...(window.refused ?? []), event.effectiveDirective];
          });
          const box = document.createElement('div');
          box.innerHTML = '<img src="https://example.com/x.png" onerror="window.ran = 1">';
          const script = document.createElement('script');
          script.textContent = 'window.ran = 2';
          document.body.append(box, script);
        }"""
    )
    page.wait_for_function("window.refused?.length >= 3")
    assert set(page.evaluate("window.refused")) == {"img-src", "script-src-attr", "script-src-elem"}
    assert page.evaluate("window.ran ?? null") is None
    context.close()


def test_everything_has_a_text_alternative(page: Any) -> None:
    """Every picture, chart, control and region has a name."""
    assert page.evaluate("[...document.images].filter((each) => !each.alt.trim()).length") == 0
    assert page.evaluate("[...document.images].filter((each) => each.complete && !each.naturalWidth).length") == 0
    assert (
        page.evaluate("[...document.querySelectorAll('svg')].filter((each) => !each.querySelector('title')).length")
        == 0
    )
    unnamed = """[...document.querySelectorAll('button, a, summary, input, select')].filter((each) =>
        !(each.textContent.trim() || each.ariaLabel || each.labels?.length || each.querySelector('img[alt]'))).length"""
    assert page.evaluate(unnamed) == 0
    assert page.evaluate(
        "new Set([...document.querySelectorAll('[id]')].map((each) => each.id)).size"
    ) == page.evaluate("document.querySelectorAll('[id]').length")


def test_filters_by_mouse(page: Any) -> None:
    """Chips, search and source narrow the samples down, and say how many are left."""
    every = visible(page, "#samples figure")
    assert page.locator(".filters output").text_content() == f"{every} of {every} pictures"
    page.get_by_role("button", name="Failed", exact=True).click()
    assert visible(page, "#samples .group") == 1
    assert 0 < visible(page, "#samples figure.failed") == visible(page, "#samples figure") < every
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_label("Search").fill("PICTURE NUMBER 12")
    assert visible(page, "#samples figure") == 1
    page.get_by_label("Search").fill("")
    page.get_by_label("Source").select_option("second")
    assert 0 < visible(page, "#samples figure") < every
    assert visible(page, "#samples figure[data-source=first]") == 0


def test_filters_by_keyboard(page: Any) -> None:
    """Tab and the space bar do the same."""
    page.get_by_role("button", name="All", exact=True).focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert page.evaluate("document.activeElement.textContent") == "Kept"
    assert page.evaluate("document.activeElement.ariaPressed") == "true"
    assert visible(page, "#samples .group") == 1
    page.get_by_label("Search").focus()
    page.keyboard.type("number 12")
    page.keyboard.press("Enter")
    assert visible(page, "#samples figure") == 1


def test_the_flow_leads_to_its_samples(page: Any) -> None:
    """A step's name is a link to what it took out, also where a filter had hidden that."""
    page.get_by_role("button", name="Kept", exact=True).click()
    page.locator(".flow").get_by_role("link", name="score <b>range</b>").click()
    heading = page.get_by_role("heading", name="Dropped by score <b>range</b>")
    assert heading.is_visible()
    assert heading.bounding_box()["y"] < 900


def test_lightbox_by_mouse(page: Any) -> None:
    """A picture opens large with what is known of it; next, previous, close, and a click beside it."""
    page.locator("#samples .group.kept button.open:visible").nth(1).click()
    dialog = page.get_by_role("dialog")
    assert dialog.is_visible()
    first = dialog.locator(".caption").text_content()
    assert dialog.locator(".stage img").evaluate("(image) => image.decode().then(() => image.naturalWidth > 0)")
    assert "kept" in dialog.locator("dl").text_content()
    dialog.get_by_role("button", name="Next").click()
    assert dialog.locator(".caption").text_content() != first
    dialog.get_by_role("button", name="Previous").click()
    assert dialog.locator(".caption").text_content() == first
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()
    page.locator("#samples .group.kept button.open:visible").nth(1).click()
    page.mouse.click(5, 5)
    assert not dialog.is_visible()


def test_lightbox_by_keyboard(page: Any) -> None:
    """Enter opens, arrows turn, Escape closes, and the focus is back on a picture."""
    page.locator("#samples .group.kept button.open:visible").first.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    position = dialog.locator(".position")
    before = position.text_content()
    page.keyboard.press("ArrowRight")
    assert position.text_content() != before
    page.keyboard.press("ArrowLeft")
    assert position.text_content() == before
    for _ in range(8):  # the focus stays inside
        page.keyboard.press("Tab")
        assert page.evaluate(
            "['BODY', 'HTML'].includes(document.activeElement.tagName) || "
            "document.activeElement.closest('dialog') !== null"
        )
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.closest('figure') !== null")


def test_a_blurred_picture_opens_by_hand(page: Any) -> None:
    """It is covered on the page and in the lightbox until somebody opens it, by mouse or by keyboard."""
    covers = page.locator("#samples details.veiled > summary")
    assert covers.count() > 0
    figure = page.locator("#samples figure").filter(has=page.locator("details.veiled")).first
    inner = figure.locator("button.open")
    assert not inner.is_visible()
    figure.locator("summary").focus()
    page.keyboard.press("Enter")
    assert inner.is_visible()
    figure.locator("summary").click()
    assert not inner.is_visible()
    # In the lightbox: from its neighbour with the arrow keys.
    group = figure.locator("xpath=ancestor::section[contains(@class, 'group')]")
    group.locator("button.open:visible").first.click()
    dialog = page.get_by_role("dialog")
    for _ in range(group.locator("figure").count()):
        if dialog.get_by_role("button", name="Show this picture").count():
            break
        page.keyboard.press("ArrowRight")
    assert "blurred picture" in dialog.locator(".stage img").get_attribute("alt")
    dialog.get_by_role("button", name="Show this picture").click()
    assert "blurred picture" not in dialog.locator(".stage img").get_attribute("alt")


def test_the_flow_has_no_gaps(page: Any) -> None:
    """The band fills its row, however high that is, and goes on in the next."""
    page.set_viewport_size({"width": 700, "height": 900})  # expressions need several lines
    gaps = """[...document.querySelectorAll('.flow tbody tr')].map((row) => {
        const band = row.querySelector('svg').getBoundingClientRect(), own = row.getBoundingClientRect();
        return Math.max(Math.abs(band.top - own.top), Math.abs(band.bottom - own.bottom)); })"""
    assert max(page.evaluate(gaps)) < 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1400])
def test_it_fits_any_screen_in_light_and_dark(chromium: Any, report: Path, scheme: str, width: int) -> None:
    """Nothing is wider than the screen, and text stands out from its ground: 4.5 to 1, WCAG 2.2, 1.4.3."""
    context = chromium.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    worst = page.evaluate(_CONTRAST)
    assert worst["ratio"] >= 4.5, worst
    context.close()


#: The least contrast between the colour of an element with text of its own and the ground behind it.
_CONTRAST = """() => {
  const parts = (colour) => {
    const found = colour.match(/[\\d.]+/g).map(Number);
    return found.length > 3 && !found[3] ? null : found;
  };
  const linear = (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const shares = [0.2126, 0.7152, 0.0722];
  const light = (colour) => shares.reduce((sum, share, n) => sum + share * linear(colour[n] / 255), 0);
  let worst = { ratio: 99 };
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest('script, svg')) continue;
    let ground = element;
    while (!parts(getComputedStyle(ground).backgroundColor)) ground = ground.parentElement;
    const pair = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor].map(parts).map(light);
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    if (ratio < worst.ratio) worst = { ratio, text: element.textContent.slice(0, 40), of: element.className };
  }
  return worst;
}"""
