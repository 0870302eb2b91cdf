"""What goes wrong for a reader in a real browser: headless Chromium opens the page from the disk."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from knowledge_distillation.reporting import write_report
from knowledge_distillation.reporting.writing import PAGE
from tests.reporting.runs import full_run

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
TOO_WIDE = """() => [...document.querySelectorAll('body *')].filter(element => !element.closest('.scroll, nav ul'))
  .filter(element => element.getBoundingClientRect().right > innerWidth + 0.5)
  .map(element => element.outerHTML.slice(0, 80))"""
PLOTS = """() => [...document.querySelectorAll('svg')].map(plot => {
  const box = plot.getBoundingClientRect(), drawn = plot.querySelector('polyline, rect, .mark, .span')
  const inside = drawn.getBoundingClientRect()
  return {width: box.width, height: box.height, drawn: inside.width + inside.height}})"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as engine:
        running = engine.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(full_run(tmp_path_factory.mktemp("browser") / "run")).as_uri()


class Watched:
    """A page, what it asked for and what it complained about."""

    def __init__(self, browser: Any, address: str, width: int, scheme: str) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390, 360])
def test_the_page_is_whole_at_every_width_in_both_themes(browser: Any, address: str, width: int, scheme: str) -> None:
    """Otherwise a phone scrolls sideways, a plot is empty, or the page calls home."""
    watched = Watched(browser, address, width, scheme)
    page = watched.page
    assert watched.complaints == []
    assert [url for url in watched.requests if not url.startswith(("file:", "data:"))] == []
    assert [url for url in watched.requests if url.startswith("file:")] == [address]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(TOO_WIDE) == []
    plots = page.evaluate(PLOTS)
    assert len(plots) > 12
    for plot in plots:
        assert plot["width"] > 150
        assert plot["height"] > 60
        assert plot["drawn"] > 2
    for image in page.locator("img").all():
        assert image.evaluate("element => element.naturalWidth") == 28
    page.close()


def test_themes_differ(browser: Any, address: str) -> None:
    """Otherwise a dark desk gets a white page."""
    colours = []
    for scheme in ("light", "dark"):
        page = Watched(browser, address, 800, scheme).page
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.close()
    assert colours[0] != colours[1]


def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Any, address: str) -> None:
    """Otherwise who has no mouse cannot open a table or scroll one."""
    page = Watched(browser, address, 1280, "light").page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["y"] >= 0
    page.evaluate("document.querySelectorAll('details').forEach(element => { element.open = true; })")
    can = "a[href], summary, audio, [tabindex='0']"
    reachable = page.evaluate(
        f'[...document.querySelectorAll("{can}")].map((e, n) => {{ e.dataset.place = n; return n; }})'
    )
    reached, unseen = {0}, set()
    for _ in range(3 * len(reachable)):
        page.keyboard.press("Tab")
        place, tag, outline = page.evaluate(
            "(e => [e.dataset.place, e.tagName, getComputedStyle(e).outlineStyle])(document.activeElement)"
        )
        if place is None:
            break
        reached.add(int(place))
        unseen |= {tag} if outline == "none" else set()
    assert sorted(reached) == reachable
    assert unseen <= {"AUDIO"}  # the browser outlines the button within it
    page.close()


def test_print_shows_the_recipe_and_leaves_the_navigation_out(browser: Any, address: str) -> None:
    """Otherwise the paper copy lacks what was folded, and carries links that nobody can press."""
    page = Watched(browser, address, 1280, "light").page
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.locator(".verdict h2").is_visible()
    assert len(page.pdf()) > 10_000
    page.close()


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(theme: int) -> None:
    """Otherwise small grey text cannot be read (WCAG AA: 4.5 to 1 for text, 3 to 1 for marks)."""
    blocks = re.findall(r":root \{(.*?)\}", (PAGE / "report.css").read_text(), flags=re.S)[:2]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[0]))
    if theme:
        colours |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[1]))
    text = [(ink, ground) for ink in ("ink", "muted", "accent") for ground in ("page", "card", "sunk")]
    text += [(tone, ground) for tone in ("good", "bad", "unsure") for ground in ("page", "card", f"{tone}-tint")]
    text += [(ink, f"{tone}-tint") for ink in ("ink", "muted") for tone in ("good", "bad", "unsure", "none")]
    marks = [
        (name, "card") for name in colours if name in ("student", "teacher", "control") or name.startswith("other-")
    ]
    for pairs, least in ((text, 4.5), (marks, 3.0)):
        for front, ground in pairs:
            assert contrast(colours[front], colours[ground]) >= least, (front, ground)


def contrast(one: str, other: str) -> float:
    """The ratio of WCAG 2.2 between two colours."""
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
