"""Table 1: what the configuration of a network says of it."""

import math
from collections.abc import Callable
from typing import Any

from dpi.reporting.collect import Row, Run


def architecture(key: str) -> Callable[[Run], Row | None]:
    """Reads one of the facts off a run's configuration, as if it were a row of its own."""

    def read(run: Run) -> Row | None:
        facts = _facts(run.config["arch"])
        if key not in facts:
            return None
        return {"eval": "architecture", "value": facts[key], "settings": {}}

    return read


def _facts(arch: dict[str, Any]) -> dict[str, int]:
    """DRUNet has no attention; ADM's heads are those where it is first."""
    if "channels" in arch:
        return {"residual_blocks": arch["num_blocks"], "base_channels": arch["channels"][0]}
    facts = {"residual_blocks": arch["num_res_blocks"], "base_channels": arch["base_channels"]}
    side = max(arch["attention_resolutions"], default=None)
    if side is None:
        return facts
    level = int(math.log2(arch["image_size"] // side))
    channels = arch["base_channels"] * arch["channel_mult"][level]
    heads = {"heads": channels // arch["head_channels"], "head_channels": arch["head_channels"]}
    return facts | heads | {"attention": side}
