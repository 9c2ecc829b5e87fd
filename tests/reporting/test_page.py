"""The page as a browser shows it."""

import re
import shutil

import pytest
from omegaconf import OmegaConf

from dpi.reporting.report import report

playwright = pytest.importorskip("playwright.sync_api")

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser():
    found = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    path = next(filter(None, found), None)  # None: the browser that playwright brings
    with playwright.sync_playwright() as p:
        try:
            browser = p.chromium.launch(executable_path=path, args=QUIET)
        except playwright.Error:
            pytest.skip("no browser: install chromium, or `playwright install chromium`")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(papers_runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    names = {"data": None, "scale": None, "variant": None}
    report(OmegaConf.create({"runs": str(papers_runs), "out": str(out), "names": names}))
    return (out / "avatars-mini" / "index.html").as_uri()


@pytest.fixture
def page(browser, address):
    """The open page; nothing may be asked of a network, nothing may go wrong in it."""
    page = browser.new_page()
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    yield page
    assert not [url for url in asked if not re.match("(file|data):", url)]
    assert not wrong
    page.close()


def cells(page, table: str, block: str, row: str):
    """The cells of a row after its title and seeds: ours, the paper's, ours, ..."""
    body = page.locator(f"#{table} tbody", has=page.get_by_text(block, exact=True))
    title = page.get_by_role("rowheader", name=row, exact=True)
    return body.locator("tr", has=title).locator("td:not(.seeds)")


def weight(number) -> int:
    return int(number.locator("span").evaluate("e => getComputedStyle(e).fontWeight"))


def test_it_shows_the_tables(page):
    headings = page.locator("section h2").all_inner_texts()
    assert [f"Table {i}" for i in range(1, 6)] == [h for h in headings if h.startswith("Table")]
    fid = cells(page, "table3", "ADM, diffusion", "DPI")
    assert fid.nth(0).inner_text().split() == ["8.32", "±", "0.01"]
    assert fid.nth(1).inner_text() == "8.32"
    assert page.locator("#table3 thead tr").nth(1).locator("th").all_inner_texts()[:2] == [
        "ours",
        "paper",
    ]
    assert [weight(fid.nth(i)) for i in (0, 1)] == [700, 700]
    second = cells(page, "table3", "ADM, diffusion", "MLP").nth(0).locator("span")
    line = second.evaluate("e => getComputedStyle(e).textDecorationLine")
    assert (second.inner_text(), line) == ("10.14", "underline")
    assert weight(cells(page, "table3", "ADM, diffusion", "t map").nth(0)) == 400


def test_it_says_whether_the_orderings_agree(page):
    line = page.locator("#verdict tr", has_text="Table 2, DRUNet, diffusion")
    assert line.locator("td").all_inner_texts() == [
        "the paper's in every column",
        "30",
        "30",
        "0",
        "0",
    ]


def test_its_pictures_are_inside_and_described(page):
    images = page.locator("img")
    assert images.count() == 4
    for image in images.all():
        assert image.evaluate("e => e.decode().then(() => e.naturalWidth)") > 500
        assert len(image.get_attribute("alt")) > 20


def test_a_runs_configuration_is_a_click_away(page):
    run = page.locator("details", has=page.get_by_text("avatars-flow-adm-mlp-mini-seed1"))
    text = run.locator("pre")
    assert not text.is_visible()
    run.locator("summary").click()
    assert text.is_visible()
    assert "_target_: dpi.conditioning.MLP" in text.inner_text()


def test_a_seed_in_a_table_leads_to_its_run(page):
    name = "avatars-diffusion-adm-tmap-mini-seed1"
    text = page.locator(f"[id='{name}'] pre")
    assert not text.is_visible()
    page.locator(f"#table2 a[title='{name}']").click()
    assert text.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read_by_night(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 375, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # The wide table scrolls in its own box.
    box = page.locator("#table2 .box")
    assert box.evaluate("e => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX")
    shade = "e => getComputedStyle(e).{}.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0)"
    ink, paper = (
        page.locator("body").evaluate(shade.format(of)) for of in ("color", "backgroundColor")
    )
    assert ink < 150 < 600 < paper if scheme == "light" else paper < 150 < 600 < ink
