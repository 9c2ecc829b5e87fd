"""What a configuration says of its architecture, as Table 1 shows it."""

from math import log2
from typing import Any


def facts(arch: Any) -> dict[str, int]:
    """Numbers by metric; none of an architecture of one's own.

    DRUNet has no attention; ADM's heads are those where it is first.
    """
    match arch:
        case {"num_blocks": blocks, "channels": [base, *_]}:
            return {"residual_blocks": blocks, "base_channels": base}
        case {
            "num_res_blocks": blocks,
            "base_channels": base,
            "attention_resolutions": [*sides],
            "image_size": size,
            "channel_mult": multipliers,
            "head_channels": channels,
        }:
            known = {"residual_blocks": blocks, "base_channels": base}
            if sides:
                level = int(log2(size // max(sides)))
                known |= {"heads": base * multipliers[level] // channels, "head_channels": channels}
                known |= {"attention": max(sides)}
            return known
    return {}
