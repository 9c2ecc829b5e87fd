"""Image sources: a folder or zip, an .npz file, and cartoon faces generated from seeds."""

from dpi.data.avatars import Avatars
from dpi.data.duplicates import read_duplicates
from dpi.data.folder import Folder
from dpi.data.memory_map import memory_map
from dpi.data.npz import Npz, kept_npz, read_npz, save_npz
from dpi.data.pixels import to_uint8, to_unit
from dpi.data.source import Source, check_source
from dpi.data.split import Split, split

__all__ = [
    "Avatars",
    "Folder",
    "Npz",
    "Source",
    "Split",
    "check_source",
    "kept_npz",
    "memory_map",
    "read_duplicates",
    "read_npz",
    "save_npz",
    "split",
    "to_uint8",
    "to_unit",
]
