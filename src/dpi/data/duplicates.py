"""Lists of near-duplicates, as scripts/near_duplicates.py writes them."""

from pathlib import Path

from dpi.data.content import LOSSLESS
from dpi.data.source import Source
from dpi.errors import UserError


def read_duplicates(path: str | Path | None, source: Source) -> list[list[int]]:
    """The groups of near-duplicates in a data set, as indices of its images.

    Args:
        path: a text file with a line for each group, the images' names separated by tabs; None for
            no groups.
        source: the data set; its images must have `names`. Those that it left out as `broken`, if
            any, are left out here.

    Raises:
        UserError: no such file, not one of names, or a name that the data set does not have.
    """
    if path is None:
        return []
    if not hasattr(source, "names"):
        raise UserError("data.duplicates= names images, and those of this data set have no names")
    try:
        if not Path(path).is_file():  # a pipe would wait for its writer
            raise ValueError("it is no file")
        lines = Path(path).read_bytes().decode(*LOSSLESS).split("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"data.duplicates={path} cannot be read: {error}") from None
    places = {name: i for i, name in enumerate(source.names)}
    broken = getattr(source, "broken", {})
    groups = [[n for n in line.split("\t") if n not in broken] for line in lines if line]
    unknown = [name for group in groups for name in group if name not in places]
    if unknown:
        raise UserError(
            f"data.duplicates={path} names {len(unknown)} images that the data set does not have, "
            f"{unknown[0]!r} the first: write the list of these images with "
            "scripts/near_duplicates.py"
        )
    return [[places[name] for name in group] for group in groups]
