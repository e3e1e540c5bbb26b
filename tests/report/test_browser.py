"""The page in a real headless Chromium: drawn without an error, clicked, narrow, dark, printed."""

import shutil

import pytest

from edgeprune.report.command import write_report
from tests.report.test_page import EVIL
from tests.run_folders import record, write

BROWSERS = "chromium", "chromium-browser", "google-chrome"
PATIENCE_MS = 120_000  # a loaded machine may take its time to parse 5 MB of script
MARK = '.plot[data-figure="tradeoff"] .scatterlayer .point'


@pytest.fixture(scope="module")
def browser():
    """One browser for all tests here."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium here: apt-get install chromium runs these tests")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as control:
        flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        opened = control.chromium.launch(executable_path=found, args=flags, timeout=PATIENCE_MS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of one run."""
    return write_report([write(tmp_path_factory.mktemp("page") / "r20")]).as_uri()


@pytest.fixture
def show(browser):
    """Opens an address; ends with the errors that the page wrote, of which there may be none."""
    contexts, errors = [], []

    def opened(address, **options):
        options = {"viewport": {"width": 1280, "height": 900}, **options}
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: errors.append(m.text) if m.type != "log" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda r: None if r.url == address else errors.append(r.url))
        page.goto(address)
        page.wait_for_selector("html[data-drawn]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


def places(page):
    """Pixels of every mark on the page, by series."""
    return page.evaluate(
        """() => {
          const node = document.querySelector('.plot[data-figure="tradeoff"]');
          const box = node.getBoundingClientRect(), full = node._fullLayout;
          const at = {};
          for (const trace of node.data) at[trace.name] = trace.x.map((x, i) => [
            box.x + full.xaxis._offset + full.xaxis.d2p(x),
            box.y + full.yaxis._offset + full.yaxis.d2p(trace.y[i]), trace.visible ?? true]);
          return at;
        }"""
    )


def test_every_figure_is_drawn_with_its_marks(show, address):
    page = show(address)
    assert page.get_attribute("html", "data-drawn") == "7"
    assert page.locator(".plot .main-svg").count() >= 7
    assert page.locator(MARK).count() == 5  # the sixth series is only in the legend
    across = places(page)
    dense, chosen = across["dense, measured"][0], across["chosen, measured"][0]
    assert chosen[0] < dense[0] and chosen[1] > dense[1]  # faster, and less accurate
    assert page.locator('.plot[data-figure="widths"] .bars .point').count() == 4


def test_a_click_shows_the_command_of_the_mark(show, address):
    page = show(address)
    page.locator('.plot[data-figure="tradeoff"]').scroll_into_view_if_needed()
    x, y, _ = places(page)["rules, predicted"][0]
    page.mouse.move(x, y)
    hover = page.locator(".hoverlayer .hovertext").first
    hover.wait_for()
    assert "rule uniform" in hover.text_content() and "widths: 8 0" in hover.text_content()
    page.mouse.click(x, y)
    command = page.locator('[data-panel="tradeoff"] pre')
    command.wait_for()
    assert "--strategy uniform" in command.text_content()
    page.locator('[data-panel="tradeoff"] button').click()
    page.get_by_text("Copied").wait_for()


def test_the_keyboard_reaches_every_mark(show, address):
    page = show(address)
    page.locator('.plot[data-figure="tradeoff"]').focus()
    seen = []
    for _ in range(5):
        page.keyboard.press("ArrowRight")
        seen.append(page.locator('[data-panel="tradeoff"] h3').text_content())
    assert seen[:2] == ["dense model", "chosen by joint"] and len(seen) == 5
    page.keyboard.press("ArrowLeft")
    assert page.locator('[data-panel="tradeoff"] h3').text_content() == seen[3]


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_sideways_scrolling_and_the_colours_that_were_asked_for(show, address, width, scheme):
    page = show(address, viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = page.evaluate(
        """() => [...document.querySelectorAll('.plot, .card, .tiles li, h1')]
             .filter((each) => each.getBoundingClientRect().right > innerWidth + 1).length"""
    )
    assert cut == 0
    channels = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)")
    assert (sum(map(int, channels)) < 200) == (scheme == "dark")
    ink = 'getComputedStyle(document.querySelector(".xtick text")).fill.match(/\\d+/g)'
    assert (sum(map(int, page.evaluate(ink))) > 500) == (scheme == "dark")


def test_the_toggle_turns_page_and_figures(show, address):
    page = show(address, color_scheme="light")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    fill = page.evaluate('getComputedStyle(document.querySelector(".xtick text")).fill')
    assert fill == "rgb(236, 238, 242)"
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == before


def test_on_paper_it_is_light_and_every_table_is_open(show, address):
    page = show(address, color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.get_attribute("html", "data-theme") == "light"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert page.get_attribute("html", "data-theme") is None


def test_a_hostile_folder_runs_nothing(show, tmp_path):
    folder = write(tmp_path / "r", run=record(notes=[EVIL], request={"strategy": EVIL}))
    page = show(write_report([folder]).as_uri())
    page.locator('.plot[data-figure="tradeoff"]').focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "alert(1)" in page.locator('[data-panel="tradeoff"] h3').text_content()
    assert page.locator("img").count() == 0


def test_several_runs_are_drawn_narrow_and_wide(show, tmp_path):
    folders = [write(tmp_path / f"run{number}") for number in range(7)]
    page = show(
        write_report(folders, tmp_path / "c.html").as_uri(), viewport={"width": 360, "height": 800}
    )
    assert page.get_attribute("html", "data-drawn") == "7"
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
