"""The files of a run's folder, written as a whole or not at all."""

from pathlib import Path

CONFIG = "config.yaml"
"""The configuration, every interpolation resolved."""
CHECKPOINT = "last.ckpt"
SPLIT = "split.json"
"""The data set's fingerprint, its size, and which images are held out or left out."""
STATUS = "status.json"
SESSIONS = "sessions.jsonl"
"""One line a session: when, on which device, with which packages and which commit."""
OUTPUT = "output.txt"
"""What the run printed, where several runs at once share a terminal."""


def samples_path(run: Path, step: int) -> Path:
    """The grid of samples that a run shows at a step."""
    return run / "samples" / f"step_{step:07d}.png"


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a temporary file beside `path` and rename it; makes the folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    partial.replace(path)
