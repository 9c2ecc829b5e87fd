"""What the files of a package say of themselves in the first line: "LABEL: what it does"."""

import ast
from pathlib import Path


def described(package: str) -> dict[str, tuple[str, str]]:
    """The labels of a package's files, and what they do, by the first lines of their docstrings.

    The files are read and not imported, since PyTorch takes seconds.

    Args:
        package: of dpi, such as "conditioning" or "architectures".

    Returns:
        (label, what it does) by the name of the file, which is also that of its configuration:
        {"tmap": ("t map", "the normalized step as ..."), ...}. Files of another first line are
        not part of it.
    """
    found = {}
    for path in sorted((Path(__file__).parent / package).glob("*.py")):
        first_line = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        label, colon, does = first_line.partition(": ")
        if colon:
            found[path.stem] = (label, does.removesuffix("."))
    return found
