"""The templates: of the HTML page, of a table in LaTeX, of a grid of images in SVG."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from dpi.reporting.notes import remarks, warnings

TEX = {
    "\\": r"\textbackslash{}",
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}"},
    **{"σ": r"$\sigma$", "λ": r"$\lambda$", "±": r"$\pm$"},
    **{"↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--"},  # noqa: RUF001
}


def render(template: str, **shown: Any) -> str:
    """A template with all that it shows escaped.

    Args:
        template: its file. In one of LaTeX, << >> and <% %> are in place of braces.
        shown: what it names.
    """
    options: dict[str, Any] = {"autoescape": True}
    if template.endswith(".tex.j2"):
        options = {"finalize": _tex, "comment_start_string": "<#", "comment_end_string": "#>"}
        options |= {"variable_start_string": "<<", "variable_end_string": ">>"}
        options |= {"block_start_string": "<%", "block_end_string": "%>"}
    environment = Environment(
        loader=PackageLoader(__package__, ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    environment.filters |= {"remarks": remarks, "warnings": warnings, "mark_tex": _mark_tex}
    return environment.get_template(template).render(shown)


def _tex(value: Any) -> str:
    if isinstance(value, Markup):
        return value
    return "".join(TEX.get(sign, sign) for sign in " ".join(str(value).split()))


def _mark_tex(text: str, rank: float) -> Markup:
    command = {1: r"\textbf", 2: r"\underline"}.get(rank)
    return Markup(f"{command}{{{_tex(text)}}}" if command else _tex(text))
