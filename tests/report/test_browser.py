"""The page in a real browser: keys, slider, phone, dark and light, and nothing asked of anyone."""

import shutil

import pytest

from seamask.report.page import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("NO REPORT IS LOOKED AT: there is no chromium (apt-get install chromium)")
    with api.sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"], timeout=300_000
        )


def open_page(browser, path, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    faults = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda r: r.url.startswith("data:") or faults.append(r.url))
    page.set_default_timeout(300_000)  # a busy machine
    page.goto(path.as_uri())
    page.wait_for_load_state("load")
    faults.remove(path.as_uri())
    return page, faults


def shown(page):
    return page.eval_on_selector_all("section:not([hidden])", "all => all.map((s) => s.id)")


SHOWS_ANOTHER = """
([selector, before]) => {
  const canvas = document.querySelector(selector);
  const empty = document.createElement("canvas");
  [empty.width, empty.height] = [canvas.width, canvas.height];
  const shown = canvas.toDataURL();
  return ![empty.toDataURL(), before].includes(shown) && shown;
}
"""


def picture(page, selector, before=""):
    """Return what a canvas shows once something is drawn that is not `before`."""
    return page.wait_for_function(SHOWS_ANOTHER, arg=[selector, before]).json_value()


@pytest.mark.slow
def test_a_report_is_used_with_keys_and_asks_nothing_of_anyone(browser, runs, tmp_path):
    page, faults = open_page(browser, runs["learned"] / "report.html", 1200, "light")
    assert shown(page) == ["masks"]
    mask = ".cell:nth-of-type(2) canvas"
    last = picture(page, mask)
    page.focus("#time")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#when") == "epoch 1"
    first = picture(page, mask, last)
    page.check("input[value=outline]")
    picture(page, mask, first)

    page.focus("#tab-masks")
    visited = []
    for _ in range(5):
        page.keyboard.press("ArrowRight")
        visited += shown(page)
    assert visited == ["health", "embedding", "curves", "settings", "masks"]
    page.click("#tab-health")
    assert page.locator(".bars").count() == 3
    page.click("#tab-embedding")
    page.focus("#map")
    before = page.inner_html("#picked")
    page.keyboard.press("ArrowRight")
    assert page.inner_html("#picked") != before
    page.click("#tab-curves")
    page.focus(".u-series:nth-child(2) th")
    page.keyboard.press("Enter")
    assert page.locator(".u-series.u-off").count() == 1
    assert faults == []

    write_report(*runs.values(), out=tmp_path / "both.html")
    for path in (
        runs["learned"] / "report.html",
        runs["random"] / "report.html",
        tmp_path / "both.html",
    ):
        page, faults = open_page(browser, path, 380, "dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"
        for tab in page.query_selector_all("nav button"):
            tab.click()
            assert page.evaluate("document.documentElement.scrollWidth") <= 380, tab.inner_text()
        assert faults == []
