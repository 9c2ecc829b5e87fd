"""The page as a browser shows it."""

import json
import re

import pytest
from reporting.made_up import papers_rows, row, write_run

from dpi.reporting import report

RUN = "avatars-diffusion-adm-dpi-mini-seed1"
PHONE = {"width": 390, "height": 800}


@pytest.fixture
def page(open_page, papers_report):
    return open_page((papers_report[0] / "index.html").as_uri())


def cells(page, table, block, row, kind):
    """Ours, or the paper's, in a row of a table."""
    body = page.locator(f"#{table} tbody", has=page.get_by_text(block, exact=True))
    title = page.get_by_role("rowheader", name=row, exact=True)
    return body.locator("tr", has=title).locator(f"td.{kind}")


def style(locator, name):
    return locator.evaluate(f"e => getComputedStyle(e).{name}")


def shade(locator, name):
    """From 0, black, to 765, white."""
    return sum(map(int, re.findall(r"\d+", style(locator, name))[:3]))


def names(page):
    """Of the runs that the explorer shows."""
    return page.locator("#runs tbody:visible > tr:first-child > th").all_inner_texts()


def column(page, number):
    return page.locator(f"#runs tbody > tr:first-child > :nth-child({number})").all_inner_texts()


def test_it_says_first_what_came_out(page):
    sentence = page.locator("h1 + p").inner_text()
    assert sentence.startswith("Over the schedule DPI's error is lower than that of every other ")


def test_it_shows_the_tables_with_their_marks(page):
    headings = page.locator("section h2").all_inner_texts()
    assert headings[:3] == [
        "Table 1: the networks",
        "Table 2: error of the predicted noise",
        "Table 3: quality of the samples",
    ]
    # The seeds themselves, not how many.
    assert page.locator("#table3 thead th").nth(1).inner_text().lower() == "seed"
    seeds = cells(page, "table3", "ADM, diffusion", "DPI", "seeds")
    assert seeds.inner_text().split() == ["0", "1"]
    ours, papers = (cells(page, "table3", "ADM, diffusion", "DPI", k) for k in ("ours", "paper"))
    assert ours.nth(0).inner_text().split() == ["8.32", "±", "0.01"]
    assert papers.all_inner_texts() == ["8.32", "17.45", "0.667", "0.377"]
    weights = [style(of.nth(0).locator("span"), "fontWeight") for of in (ours, papers)]
    assert weights == ["700", "700"]
    second = cells(page, "table3", "ADM, diffusion", "MLP", "ours").nth(0).locator("span")
    assert (second.inner_text(), style(second, "textDecorationLine")) == ("10.14", "underline")
    other = cells(page, "table3", "ADM, diffusion", "t map", "ours").nth(0).locator("span")
    assert (style(other, "fontWeight"), style(other, "textDecorationLine")) == ("400", "none")
    assert page.locator("#table2 code").inner_text() == "make table2 SCALE=mini"
    # Without numbers of the paper there is no second line of headers.
    assert page.locator("#ablations thead tr").count() == 1


def test_it_shows_paired_differences(page):
    table = page.locator("#pairs .box", has_text="Table 3")
    block = table.locator("tbody", has_text="ADM, diffusion")
    row = block.locator("tr", has=page.get_by_role("rowheader", name="DPI − MLP"))  # noqa: RUF001
    assert row.locator("td > span").all_inner_texts() == ["-17.95", "-22.24", "-3.61", "+10.23"]
    better, worse = row.locator("td > span").nth(0), row.locator("td > span").nth(2)
    assert style(better, "color") != style(worse, "color")
    p_value = row.locator("small").nth(0).inner_text()
    assert re.fullmatch(r"p (= 0\.0\d\d|< 0\.001), 2 seeds", p_value)


def test_figures_are_inside_and_their_images_load(page):
    assert page.locator("main > figure h2").all_inner_texts() == [
        "Figure 2: samples of DPI",
        "Figure 3: learned λ",
        "Figure 4: error over the schedule",
        "Figure 5: samples of each conditioning",
    ]
    for name in ("figure3", "figure4"):
        assert page.locator(f"#{name} svg path").count() > 20
    images = page.locator("#figure5 image")
    assert images.count() == 14
    size = """e => { const i = new Image(); i.src = e.href.baseVal;
                     return i.decode().then(() => i.naturalWidth); }"""
    assert images.nth(0).evaluate(size) == 132


def test_figures_follow_dark_mode(page):
    text = page.locator("#figure4 svg text").first
    line = page.locator("#figure4 svg path[style*='stroke: currentColor']").first
    shades = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        of = page.locator("body")
        shades[scheme] = shade(text, "fill"), shade(line, "stroke"), shade(of, "backgroundColor")
    assert max(shades["light"][:2]) < 150 < 600 < shades["light"][2]
    assert shades["dark"][2] < 150 < 600 < min(shades["dark"][:2])


def test_a_header_sorts_the_runs(page):
    steps = page.locator("#runs thead button", has_text="seed")
    objective = page.locator("#runs thead button", has_text="objective")
    objective.click()
    numbers = [float(text) for text in column(page, 11) if text]
    assert numbers == sorted(numbers) and numbers[0] < numbers[-1]
    assert not column(page, 11)[-1]  # runs without a number come last, either way
    up = names(page)
    objective.click()
    assert page.locator("#runs th[aria-sort]").get_attribute("aria-sort") == "descending"
    down = [float(text) for text in column(page, 11) if text]
    assert down == numbers[::-1]
    assert not column(page, 11)[-1]
    assert names(page) != up
    steps.click()
    assert column(page, 7) == sorted(column(page, 7))


def test_text_filters_the_runs(page):
    everything = names(page)
    assert page.locator("#count").inner_text() == f"{len(everything)} of {len(everything)}"
    page.locator("#filter").fill("ADM Dpi seed1")
    assert len(names(page)) == 4
    assert all(re.search("adm-dpi-mini-seed1", name) for name in names(page))
    assert page.locator("#count").inner_text() == f"4 of {len(everything)}"
    page.locator("#filter").fill("")
    assert names(page) == everything


def test_a_run_opens_and_closes(page):
    run = page.locator(f"[id='run-{RUN}']")
    details = run.locator("tr").nth(1)
    assert not details.is_visible()
    run.get_by_role("button").click()
    assert details.is_visible()
    image = details.locator("img")
    assert image.evaluate("e => e.decode().then(() => e.naturalWidth)") == 132
    assert image.bounding_box()["width"] > 100
    for name in ("loss", "val_loss", "lambda"):
        points = details.locator(f"polyline.{name}").get_attribute("points").split()
        assert 100 < len(points) <= 200
    box = details.locator("polyline.lambda").bounding_box()
    assert box["width"] > 100 and box["height"] > 50
    assert details.locator("dl").inner_text().startswith("settings\nthe defaults")
    assert not details.locator("pre").is_visible()
    details.locator("summary").click()
    assert "cond: dpi" in details.locator("pre").inner_text()
    run.get_by_role("button").click()
    assert not details.is_visible()


def test_a_seed_in_a_table_leads_to_its_run(page):
    details = page.locator(f"[id='run-{RUN}'] tr").nth(1)
    page.locator("#filter").fill("nothing of that name")
    assert not details.is_visible()
    page.locator(f"#table2 a[title='{RUN}']").click()
    assert details.is_visible()
    page.wait_for_function("scrollY > 1000")


def test_it_fits_a_phone(page):
    page.set_viewport_size(PHONE)
    page.locator(f"[id='run-{RUN}'] button").click()
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width == PHONE["width"]
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
    details = page.locator(f"[id='run-{RUN}'] tr").nth(1).locator("td > div")
    left, width = (details.bounding_box()[key] for key in ("x", "width"))
    assert left >= 0 and left + width <= PHONE["width"]


def test_it_prints_in_black_on_white_even_at_night(page):
    page.emulate_media(media="print", color_scheme="dark")
    assert shade(page.locator("h1"), "color") == 0
    assert style(page.locator("nav"), "display") == "none"


def test_hostile_names_are_text(open_page, tmp_path):
    bad = "<img src=x onerror=alert(1)>"
    rows = papers_rows("diffusion", "adm", "tmap")
    rows["denoising"] += [row("noise_scaled_mse", 1.0, 5, solver=bad)]
    folder = write_run(tmp_path / "runs", ("diffusion", "adm", "own"), rows)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("settings: {}", f'settings: {{"tag": "{bad}"}}'))
    (folder / "status.json").write_text(json.dumps({"failed": f"{bad} </script>"}))
    folder.rename(folder.with_name("a run's #1 & <b>"))
    report(tmp_path / "runs", tmp_path / "out")
    page = open_page((tmp_path / "out" / "avatars-mini" / "index.html").as_uri())
    assert page.locator("img").count() == 0
    assert bad in page.locator("#table2").inner_text()
    page.locator("#table2 .seeds a").first.click()
    assert page.locator("#runs .more").is_visible()
    assert bad in page.locator("#runs .more .warning").inner_text()
