"""Rename the parameters of the public implementations; no network is built."""

from collections.abc import Iterator
from typing import TypeVar

T = TypeVar("T")

PARTS = {"input_blocks": "encoder", "middle_block": "middle", "output_blocks": "decoder"}
RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "project",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
}
ATTENTION = {"norm": "norm", "qkv": "qkv", "proj_out": "proj"}


def import_guided_diffusion(state_dict: dict[str, T]) -> dict[str, T]:
    """Rename a state dict of guided-diffusion's `UNetModel` for `ADM(time_embedding=True)`.

    Args:
        state_dict: state dict of an unconditional model of any width and depth, with
            resblock_updown=True and use_new_attention_order=False. The names do not show the
            attention order, so it is not checked.

    Returns:
        The same tensors under the names of `ADM`.

    Raises:
        ValueError: a name that such a model does not have, or a missing one.
    """
    layers = {"time_embed.0": "embed.0", "time_embed.2": "embed.2"}
    layers |= {"input_blocks.0.0": "encoder.0.0", "out.0": "out.0", "out.2": "out.2"}
    for block in _blocks(state_dict):
        part, index = block.split(".", 1)
        inner = RESIDUAL
        if any(f"{block}.{layer}.weight" in state_dict for layer in ATTENTION):
            inner = ATTENTION
        elif f"{block}.skip_connection.weight" in state_dict:
            inner = RESIDUAL | {"skip_connection": "skip"}
        layers |= {f"{block}.{old}": f"{PARTS[part]}.{index}.{new}" for old, new in inner.items()}
    names = {f"{old}.{p}": f"{new}.{p}" for old, new in layers.items() for p in ("weight", "bias")}
    return _rename(state_dict, names, "guided-diffusion's unconditional UNetModel, resblock_updown")


def import_dpir(state_dict: dict[str, T]) -> dict[str, T]:
    """Rename a state dict of DPIR's `UNetRes` for `DRUNet`.

    Args:
        state_dict: state dict of a model of any width and depth, with downsample_mode="strideconv"
            and upsample_mode="convtranspose".

    Returns:
        The same tensors under the names of `DRUNet`.

    Raises:
        ValueError: a name that such a model does not have, or a missing one.
    """
    levels = len({name.split(".")[0] for name in state_dict if name.startswith("m_down")})
    # DPIR does not wrap a body of one block in a Sequential, so it has no index.
    single = "m_body.res.0.weight" in state_dict
    blocks = 1 if single else max(1, _count(state_dict, "m_body."))

    layers = {"m_head": "head", "m_tail": "tail"}
    residual = {"m_body" if single else f"m_body.{i}": f"body.{i}" for i in range(blocks)}
    for level in range(levels):
        down, encoder = f"m_down{level + 1}", f"encoder.{level}"
        up, decoder = f"m_up{level + 1}", f"decoder.{levels - 1 - level}"
        layers |= {f"{down}.{blocks}": f"{encoder}.{blocks}", f"{up}.0": f"{decoder}.0"}
        residual |= {f"{down}.{i}": f"{encoder}.{i}" for i in range(blocks)}
        residual |= {f"{up}.{i + 1}": f"{decoder}.{i + 1}" for i in range(blocks)}
    layers |= {f"{old}.res.0": f"{new}.conv1" for old, new in residual.items()}
    layers |= {f"{old}.res.2": f"{new}.conv2" for old, new in residual.items()}
    names = {f"{old}.weight": f"{new}.weight" for old, new in layers.items()}
    return _rename(state_dict, names, "DPIR's UNetRes")


def _blocks(state_dict: dict[str, T]) -> Iterator[str]:
    """Names of the residual and attention blocks; encoder and decoder have as many stages."""
    stages = _count(state_dict, "input_blocks.")
    sides = [f"input_blocks.{i}" for i in range(1, stages)]
    sides += [f"output_blocks.{i}" for i in range(stages)]
    for stage in sides:
        # An empty stage counts as one block, which is then reported as missing.
        yield from (f"{stage}.{i}" for i in range(max(1, _count(state_dict, f"{stage}."))))
    yield from (f"middle_block.{i}" for i in range(3))


def _count(state_dict: dict[str, T], prefix: str) -> int:
    """One more than the largest index that follows the prefix in a name."""
    heads = (n.removeprefix(prefix).split(".")[0] for n in state_dict if n.startswith(prefix))
    return 1 + max((int(head) for head in heads if head.isdecimal()), default=-1)


def _rename(state_dict: dict[str, T], names: dict[str, str], kind: str) -> dict[str, T]:
    for name in state_dict:
        if name not in names:
            raise ValueError(f"{name!r} is not a parameter of {kind}")
    for name in names:
        if name not in state_dict:
            raise ValueError(f"{name!r}, a parameter of {kind}, is missing")
    return {names[name]: tensor for name, tensor in state_dict.items()}
