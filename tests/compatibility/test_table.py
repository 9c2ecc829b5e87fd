"""Every network and tool of docs/COMPATIBILITY.md: right or clearly refused, as the page says.

After a change: python tests/compatibility/table.py > docs/COMPATIBILITY.md
"""

import pytest
from compatibility import table

ROWS = [(section, name) for section, names in table.rows().items() for name in names]


@pytest.mark.parametrize(("section", "name"), ROWS, ids=[name for _, name in ROWS])
def test_row(section, name):
    seen = table.render(table.check(section, name))
    assert table.committed().get(name) == seen, (
        "docs/COMPATIBILITY.md is out of date: "
        "python tests/compatibility/table.py > docs/COMPATIBILITY.md"
    )


def test_the_page_has_no_other_rows():
    assert set(table.committed()) - {"name"} == {name for _, name in ROWS}
