"""Links lead somewhere, in the files as on the site; the site fits a screen and a phone."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
from conftest import ROOT
from markdown_it import MarkdownIt
from omegaconf import OmegaConf

PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("results/**/*.md")})


def inline(page: Path) -> list:
    """The parts of a page's text: links, images, headings' words; no code."""
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text())
    return [part for token in tokens for part in token.children or ()]


def links(page: Path) -> list[str]:
    """What a page links to, or shows, that is not on another site."""
    targets = [part.attrGet("href") or part.attrGet("src") for part in inline(page)]
    return [unquote(target) for target in targets if target and not urlparse(target).scheme]


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    tokens = MarkdownIt("commonmark").parse(page.read_text())
    titles = [
        "".join(part.content for part in inside.children)
        for heading, inside in pairwise(tokens)
        if heading.type == "heading_open"
    ]
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page):
    for target in links(page):
        path, anchor = urldefrag(target)
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target}: there is no such file"
        assert file.is_relative_to(ROOT), f"{target}: leads out of the repository"
        if anchor:
            assert anchor in anchors(file), f"{target}: there is no such heading"


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.stem)
def test_every_page_can_be_reached_from_the_index(page):
    seen, todo = set(), [ROOT / "docs/index.md"]
    while todo:
        here = todo.pop()
        if here not in seen and here.suffix == ".md":
            seen.add(here)
            todo += [(here.parent / urldefrag(target)[0]).resolve() for target in links(here)]
    assert page in seen


@pytest.mark.parametrize("name", ["paper", "small", "mini"])
def test_the_efforts_are_those_of_the_configuration(name):
    effort = OmegaConf.load(ROOT / "configs/groups.yaml").effort[name]
    cells = f"{effort.scalars or 1000:,} | {effort.noise_seeds} | {effort.n:,}"
    assert f"| `{name}` | {cells} |" in (ROOT / "docs/EVALUATION.md").read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as `make docs` builds it; a warning is an error."""
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package)
    recipe = (ROOT / "Makefile").read_text().partition("\ndocs:")[2].splitlines()[1]
    out = tmp_path_factory.mktemp("site")
    words = recipe.replace("$(PYTHON)", sys.executable).replace("outputs/docs", str(out)).split()
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


SHOWN = """() => ({
    width: document.documentElement.scrollWidth,
    ids: [...document.querySelectorAll('[id]')].map(e => e.id),
    links: [...document.querySelectorAll('a[href], link[href], img[src], script[src]')]
        .map(e => e.href || e.src),
})"""


@pytest.mark.slow
def test_the_site_fits_and_its_links_lead_somewhere(site, open_page):
    pages = sorted(site.glob("*s/**/*.html"))
    assert len(pages) > 40
    page, ids, found = open_page((site / "index.html").as_uri()), {}, {}
    page.wait_for_url("**/docs/index.html")
    for file in pages:
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            if width == 1280:
                page.goto(file.as_uri())
            shown = page.evaluate(SHOWN)
            assert shown["width"] <= width, f"{file} is {shown['width']} wide at {width}"
        ids[file], found[file] = set(shown["ids"]), set(shown["links"])
    for file, targets in found.items():
        for target in targets:
            address, anchor = urldefrag(target)
            parts = urlparse(address)
            if parts.scheme != "file":
                assert parts.scheme == "https", f"{file}: {target}"
                continue
            there = Path(unquote(parts.path))
            assert there.is_file() and there.is_relative_to(site), f"{file}: {target}"
            if anchor and there in ids:
                assert unquote(anchor) in ids[there], f"{file}: {target}"


@pytest.mark.slow
def test_the_api_says_what_the_docstrings_say(site):
    text = (site / "docs/api/interpolation.html").read_text()
    assert all(
        f'id="dpi.interpolation.{name}"' in text for name in ("interpolate", "Range", "look_up")
    )
    assert "dpi.data.Source" in (site / "docs/api/data.html").read_text()
