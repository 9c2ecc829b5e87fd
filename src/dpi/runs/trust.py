"""What a configuration may name: dpi's own classes, and others only where the user says so."""

from omegaconf import DictConfig, OmegaConf

import dpi.conditioning
from dpi.errors import UserError
from dpi.protocol import targets

OWN = {
    "framework": ("dpi.frameworks.FlowMatching", "dpi.frameworks.VPDiffusion"),
    "arch": ("dpi.architectures.ADM", "dpi.architectures.DRUNet"),
    "cond": tuple(f"dpi.conditioning.{name}" for name in dpi.conditioning.__all__),
    "data.source": ("dpi.data.Avatars", "dpi.data.Folder", "dpi.data.Npz"),
}
"""What a section may name. Its arguments are plain values, and for `cond` further ones of cond."""


def foreign_code(cfg: DictConfig) -> list[str]:
    """What a configuration would call that is not in OWN, e.g. "arch: mine.Network".

    Args:
        cfg: with some of the sections of OWN.
    """
    found = []
    for section, own in OWN.items():
        node = OmegaConf.select(cfg, section, default=None)
        named = targets(OmegaConf.to_container(node)) if OmegaConf.is_config(node) else []
        arguments = own if section == "cond" else ()
        found += [
            f"{section}: {target}"
            for i, target in enumerate(named)
            if target not in (arguments if i else own)
        ]
    return found


def refuse_foreign_code(cfg: DictConfig, where: str, hint: str = "") -> None:
    """Raise UserError if there is `foreign_code`.

    Args:
        cfg: the configuration.
        where, hint: what the message calls it, and what to do.
    """
    for found in foreign_code(cfg):
        raise UserError(f"{where} names {found}, which may run other code{hint}")
