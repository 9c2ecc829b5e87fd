"""The committed tables and figures are what their commands make of the committed rows."""

import re

import numpy as np
import pytest
from conftest import ROOT

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("results/**/*.md")]
PAGES = [page for page in PAGES if "<!-- table: " in page.read_text()]


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_tables_are_what_the_command_writes(page):
    from tables import written

    assert written(page.read_text()) == page.read_text(), "python scripts/tables.py"


def test_the_figures_are_drawn_from_the_rows():
    from figures import drawn

    for name, figure in drawn().items():
        committed = (ROOT / f"docs/{name}.svg").read_text()
        # The curves; all else depends on the version of matplotlib.
        old, new = (re.findall(r' d="(M[^"]{400,})"', text) for text in (committed, figure))
        assert len(old) >= 1
        for a, b in zip(old, new, strict=True):
            numbers = [np.array(re.findall(r"-?[\d.]+", curve), float) for curve in (a, b)]
            np.testing.assert_allclose(*numbers, atol=0.2)
