"""Weights of the public networks under our names."""

import re
from typing import TypeVar

T = TypeVar("T")

GUIDED_DIFFUSION = (
    (r"time_embed\.([02])\.", r"embed.\1."),
    (r"input_blocks\.", "encoder."),
    (r"middle_block\.", "middle."),
    (r"output_blocks\.", "decoder."),
    (r"out\.([02])\.", r"out.\1."),
)
GUIDED_DIFFUSION_LAYERS = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "project",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "skip",
    "norm": "norm",
    "qkv": "qkv",
    "proj_out": "proj",
}
DPIR_LAYERS = {"res.0": "conv1", "res.2": "conv2"}


def import_guided_diffusion(state_dict: dict[str, T]) -> dict[str, T]:
    """Rename a state dict of guided-diffusion's `UNetModel` for `ADM(time_embedding=True)`.

    Args:
        state_dict: of an unconditional model with residual up- and downsampling and the legacy
            order of attention (the order leaves no trace in the names), of any width and depth.

    Returns:
        The same tensors under the names of `ADM`.

    Raises:
        ValueError: a name that such a model does not have, or a part of it is missing.
    """
    place = r"(?:input_blocks\.\d+\.\d+|middle_block\.\d+|output_blocks\.\d+\.\d+)"
    layers = "|".join(map(re.escape, GUIDED_DIFFUSION_LAYERS))
    inner = re.compile(rf"({place})\.({layers})\.(weight|bias)")
    outer = re.compile(r"(time_embed\.[02]|input_blocks\.0\.0|out\.[02])\.(weight|bias)")
    renamed = {}
    for name, tensor in state_dict.items():
        if match := inner.fullmatch(name):
            place_, layer, kind = match.groups()
            ours = f"{place_}.{GUIDED_DIFFUSION_LAYERS[layer]}.{kind}"
        elif outer.fullmatch(name):
            ours = name
        else:
            raise _stranger(name, "guided-diffusion's UNetModel with resblock_updown=True")
        for pattern, replacement in GUIDED_DIFFUSION:
            ours = re.sub(rf"^{pattern}", replacement, ours)
        renamed[ours] = tensor
    _require(renamed, ("embed.0.weight", "encoder.0.0.weight", "middle.1.qkv.weight"))
    _require(renamed, ("decoder.0.0.conv1.weight", "out.2.weight"))
    return renamed


def import_dpir(state_dict: dict[str, T]) -> dict[str, T]:
    """Rename a state dict of DPIR's `UNetRes` for `DRUNet`.

    Args:
        state_dict: of a model with strided and transposed convolutions, of any width and depth.

    Returns:
        The same tensors under the names of `DRUNet`.

    Raises:
        ValueError: a name that such a model does not have, or a part of it is missing.
    """
    levels = len({name.split(".")[0] for name in state_dict if name.startswith("m_down")})
    pattern = re.compile(r"m_(head|tail|body|down|up)(\d*)\.(?:(\d+)\.)?(?:(res\.[02])\.)?weight")
    renamed = {}
    for name, tensor in state_dict.items():
        match = pattern.fullmatch(name)
        if not match:
            raise _stranger(name, "DPIR's UNetRes")
        part, level, index, layer = match.groups()
        if part == "down":
            part = f"encoder.{int(level) - 1}"
        elif part == "up":
            part = f"decoder.{levels - int(level)}"
        words = [part, index, DPIR_LAYERS.get(layer), "weight"]
        renamed[".".join(word for word in words if word)] = tensor
    _require(renamed, ("head.weight", "body.0.conv1.weight", "tail.weight"))
    return renamed


def _stranger(name: str, kind: str) -> ValueError:
    return ValueError(f"{name!r} is not a parameter of {kind}")


def _require(renamed: dict[str, T], names: tuple[str, ...]) -> None:
    for name in names:
        if name not in renamed:
            raise ValueError(f"the state dict is not complete: nothing in it becomes {name!r}")
