"""The templates: of the HTML page and of a table in LaTeX."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

TEX = {
    "\\": r"\textbackslash{}",
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    **{"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}"},
    **{"σ": r"$\sigma$", "λ": r"$\lambda$", "±": r"$\pm$"},
    **{"↓": r"$\downarrow$", "↑": r"$\uparrow$", "–": "--"},  # noqa: RUF001
}


def render(template: str, **shown: Any) -> str:
    """A template, by the name of its file, with all that it shows escaped, as HTML or LaTeX."""
    is_tex = template.endswith(".tex.j2")
    environment = Environment(
        loader=PackageLoader(__package__, ""),
        undefined=StrictUndefined,
        autoescape=not is_tex,
        finalize=_tex if is_tex else None,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(shown)


def _tex(value: Any) -> str:
    return "".join(TEX.get(sign, sign) for sign in " ".join(str(value).split()))
