"""Sphinx: the pages in docs/ and results/, and the API from the docstrings. Built by `make docs`.

The source folder is the repository's root, so that links between its files are those of the site.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

CONTENTS = """
```{toctree}
:hidden:
:caption: Guides
LIBRARY
RECIPES
TRAINING
EVALUATION
SWEEPS
EXTENDING
../CONTRIBUTING
```
```{toctree}
:hidden:
:caption: What to expect
GALLERY
REPRODUCTION
CONDITIONING
PERFORMANCE
RELIABILITY
COMPATIBILITY
RELATED
../CHANGELOG
```
```{toctree}
:hidden:
:caption: Reference
api/index
```
```{toctree}
:hidden:
:caption: Measured
../results/README
../results/conditioning/README
../results/gpu
```
"""
"""The sidebar's; not in index.md, where a repository browser would show it as code."""

project = "dpi"
html_title = "dpi"
root_doc = "docs/index"
include_patterns = ["docs/**", "results/**", "CONTRIBUTING.md", "CHANGELOG.md"]
extensions = [
    "myst_parser",  # Markdown
    "sphinx.ext.autodoc",  # the API, from the docstrings
    "sphinx.ext.napoleon",  # in Google's style
    "sphinx.ext.viewcode",  # with the source beside it
]
html_theme = "furo"
html_show_sphinx = False
html_extra_path = ["site"]  # index.html, which leads to docs/index.html
myst_heading_anchors = 4  # as GitHub has them
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_use_rtype = False
default_role = "py:obj"  # `name` is a link where it names something here
suppress_warnings = ["toc.not_included", "myst.header"]  # tables of reports, linked to by READMEs


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    if name == root_doc:
        source[0] += CONTENTS


def link_folders(app: Sphinx, document: nodes.document) -> None:
    """A link to a folder leads to its README, if it has one, and is plain text otherwise."""
    for link in [link for link in document.findall(pending_xref) if link["reftype"] == "myst"]:
        folder = Path(app.env.doc2path(link["refdoc"])).parent / link["reftarget"]
        readme = app.env.path2doc(str((folder / "README.md").resolve()))
        if readme in app.env.found_docs:
            link.attributes.update(refdomain="doc", reftarget=readme, reftargetid=None)
        elif folder.is_dir():
            link.replace_self(link.children)


def plain_text(app: Sphinx, what: str, name: str, _: object, __: object, lines: list[str]) -> None:
    """Docstrings are plain text: what is indented is shown as it is, and no character is markup."""
    # Napoleon takes what is before a colon in an attribute's first line for its type.
    made = [""] if what == "attribute" else []
    literal = section = False
    for line in lines:
        section = section or bool(re.match(r"(Args|Returns|Raises|Yields):$", line))
        indented = line.startswith("    ") and not section
        if indented and not literal:
            made += [".. code-block:: text", ""]
        if line.strip():
            literal = indented
        made.append(line if indented else escape(line))
    lines[:] = made


def escape(line: str) -> str:
    """Escape what reStructuredText would take for markup, outside of `code`."""
    line = re.sub(r"(^ *|: )(\w)\.(?= |$)", r"\1\2\\.", line)  # not an item of a list
    parts = line.split("`")
    parts[::2] = [re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_contents)
    app.connect("doctree-read", link_folders)
    app.connect("autodoc-process-docstring", plain_text, priority=400)  # before napoleon's
