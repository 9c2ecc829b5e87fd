"""The page as a browser shows it."""

import re

import pytest
from reporting.made_up import papers_rows, row, save_samples, write_run

from dpi.reporting import report

RUN = "avatars-diffusion-adm-dpi-mini-seed1"
PHONE = {"width": 390, "height": 800}


@pytest.fixture
def page(open_page, papers_report):
    return open_page((papers_report[0] / "index.html").as_uri())


def cells(page, table, block, row):
    """The cells of a row of a table, without its name."""
    start = f"//*[@id='{table}']//tr[@class='block'][th='{block}']"
    return page.locator(f"xpath={start}/following-sibling::tr[th='{row}'][1]/td")


def style(locator, name):
    return locator.evaluate(f"e => getComputedStyle(e).{name}")


def shade(locator, name):
    """From 0, black, to 765, white."""
    return sum(map(int, re.findall(r"\d+", style(locator, name))[:3]))


def column(page, title):
    """The texts under a header in the table of runs."""
    headers = page.locator("#runs thead th").all_inner_texts()
    number = [text.rstrip(" ↑↓") for text in headers].index(title) + 1
    return page.locator(f"#runs tbody tr:visible > :nth-child({number})").all_inner_texts()


def test_it_says_first_whether_anything_is_significant_and_shows_samples(page):
    assert re.match(
        r"\d+ of 79 differences are significant \(DPI: ", page.locator("h1").inner_text()
    )
    assert page.locator("section h2").all_inner_texts()[:3] == [
        "Samples",
        "Table 2: error of the predicted noise",
        "Table 3: quality of the samples",
    ]
    images = page.locator("#samples img")
    assert images.count() == 14
    assert images.first.evaluate("e => e.decode().then(() => e.naturalWidth)") == 132


def test_it_shows_the_tables_with_their_marks(page):
    of = cells(page, "table3", "ADM, diffusion", "DPI")
    # The seeds themselves, not how many.
    assert of.nth(0).inner_text().split() == ["0", "1"]
    ours, papers = of.nth(1), of.nth(2)
    assert ours.inner_text().split() == ["8.32", "±", "0.01"]
    assert [papers.inner_text(), of.nth(4).inner_text()] == ["8.32", "17.45"]
    assert [style(cell.locator("span"), "fontWeight") for cell in (ours, papers)] == ["700", "700"]
    second = cells(page, "table3", "ADM, diffusion", "MLP").nth(1).locator("span")
    assert (second.inner_text(), style(second, "textDecorationLine")) == ("10.14", "underline")
    other = cells(page, "table3", "ADM, diffusion", "t map").nth(1).locator("span")
    assert (style(other, "fontWeight"), style(other, "textDecorationLine")) == ("400", "none")
    outcomes = page.locator("#pairs td.better"), page.locator("#pairs td.worse")
    assert style(outcomes[0].first, "color") != style(outcomes[1].first, "color")


def test_figures_are_inside_and_follow_dark_mode_and_print_in_black(page):
    for name in ("lambda", "errors", "losses"):
        assert page.locator(f"#{name} svg path").count() > 20
    text = page.locator("#errors svg text").first
    line = page.locator("#errors svg path[style*='stroke: currentColor']").first
    shades = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        of = page.locator("body")
        shades[scheme] = shade(text, "fill"), shade(line, "stroke"), shade(of, "backgroundColor")
    assert max(shades["light"][:2]) < 150 < 600 < shades["light"][2]
    assert shades["dark"][2] < 150 < 600 < min(shades["dark"][:2])
    page.emulate_media(media="print", color_scheme="dark")
    assert shade(page.locator("h1"), "color") == 0


def test_a_header_sorts_the_runs_and_a_text_filters_them(page):
    objective = page.locator("#runs thead button", has_text="objective")
    orders = []
    for direction in ("ascending", "descending"):
        objective.click()
        assert page.locator("#runs th[aria-sort]").get_attribute("aria-sort") == direction
        texts = column(page, "objective")
        assert texts[-1] == "–"  # noqa: RUF001 - what is missing comes last, either way
        orders.append([float(text) for text in texts if text != "–"])  # noqa: RUF001
    assert orders[0] == sorted(orders[0]) == orders[1][::-1] and orders[0][0] < orders[0][-1]
    page.locator("#runs thead button", has_text="seed").click()
    assert column(page, "seed") == sorted(column(page, "seed"))
    number = len(column(page, "run"))
    page.locator("#runs input").fill("ADM Dpi seed1")
    assert len(column(page, "run")) == 4
    assert all(re.search("adm-dpi-mini-seed1", name) for name in column(page, "run"))
    assert page.locator("#runs output").inner_text() == f"4 of {number}"


def test_a_run_opens_from_the_samples_a_table_and_the_list_and_closes(page):
    details = page.locator(f"[id='run-{RUN}']")
    for place in ("#table2", "#runs"):
        assert not details.is_visible()
        page.locator(f"{place} button[title='{RUN}']").click()
        assert details.is_visible()
        assert details.locator("img").evaluate("e => e.decode().then(() => e.naturalWidth)") == 132
        details.get_by_role("button", name="close").click()
    page.locator("#samples button").first.click()
    aside = page.locator("aside:visible")
    assert not aside.locator("pre").is_visible()
    aside.locator("summary").click()
    assert "cond: ncsnv2" in aside.locator("pre").inner_text()
    page.keyboard.press("Escape")
    assert not aside.is_visible()


def test_it_fits_a_phone(page):
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    for name in ("table2", "runs"):
        # The wide table scrolls in its own box, all but its first column.
        box = page.locator(f"#{name} .box")
        first = box.locator("tbody tr:not(.block) th").nth(1)
        second = box.locator("tbody tr:not(.block) td").nth(1)
        before, other = first.bounding_box(), second.bounding_box()
        box.evaluate("e => e.scrollLeft = 120")
        assert box.evaluate("e => e.scrollLeft") == 120
        assert first.bounding_box()["x"] == pytest.approx(before["x"], abs=1)
        assert second.bounding_box()["x"] == pytest.approx(other["x"] - 120, abs=1)
        assert before["width"] < PHONE["width"] / 2
    page.locator(f"#runs button[title='{RUN}']").click()
    box = page.locator(f"[id='run-{RUN}']").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]


def test_hostile_names_are_text(open_page, tmp_path):
    bad = "<img src=x onerror=alert(1)>"
    rows = papers_rows("diffusion", "adm", "tmap")
    rows["denoising"] += [row("noise_scaled_mse", 1.0, 5, solver=bad)]
    folder = write_run(tmp_path / "runs", ("diffusion", "adm", "own"), rows)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("settings: {}", f'settings: {{"tag": "{bad}"}}'))
    save_samples(folder / "samples" / "step_0003000.png")
    folder.rename(folder.with_name("a run's #1 & <b>"))
    report(tmp_path / "runs", tmp_path / "out")
    page = open_page((tmp_path / "out" / "avatars-mini" / "index.html").as_uri())
    assert bad in page.locator("#ranking").inner_text()
    page.locator("#ranking button").click()
    assert page.locator("aside").is_visible()
    assert bad in page.locator("aside dl").inner_text()
    # That of the training, which is not compared with others.
    assert page.locator("img").count() == 1 == page.locator("aside img").count()
