"""Where pictures come from: a folder or zip, an .npz, cartoon faces drawn from seeds."""

from dpi.data.avatars import Avatars
from dpi.data.folder import Folder
from dpi.data.memory_map import Source, memory_map
from dpi.data.npz import Npz, read_npz, save_npz
from dpi.data.pixels import to_uint8, to_unit
from dpi.data.split import split

__all__ = [
    "Avatars",
    "Folder",
    "Npz",
    "Source",
    "memory_map",
    "read_npz",
    "save_npz",
    "split",
    "to_uint8",
    "to_unit",
]
