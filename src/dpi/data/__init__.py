"""Image sources: a folder or zip, an .npz file, data sets of torchvision and of Hugging Face, and
cartoon faces generated from seeds."""

from dpi.data.avatars import Avatars
from dpi.data.duplicates import read_duplicates
from dpi.data.folder import Folder
from dpi.data.huggingface import HuggingFace
from dpi.data.memory_map import memory_map
from dpi.data.npz import Npz, kept_npz, read_npz, save_npz
from dpi.data.pixels import to_uint8, to_unit
from dpi.data.source import Source, check_source
from dpi.data.split import Split, split
from dpi.data.torchvision import TorchVision

__all__ = [
    "Avatars",
    "Folder",
    "HuggingFace",
    "Npz",
    "Source",
    "Split",
    "TorchVision",
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
