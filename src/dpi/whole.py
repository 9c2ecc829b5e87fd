"""Files that are whole or not there, whenever the process that writes them ends."""

from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write beside the file and then in its place; its folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    partial.replace(path)
