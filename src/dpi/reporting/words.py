"""What networks, conditionings and frameworks are called in print, in the order of the tables."""

from collections.abc import Iterable

NETWORKS = {"drunet": "DRUNet", "adm": "ADM"}
CONDITIONINGS = {
    "ncsnv2": "NCSNv2",
    "sigmamap": "σ map",
    "tmap": "t map",
    "mlp": "MLP",
    "dpi": "DPI",
}
FRAMEWORKS = ("diffusion", "flow")


def network(arch: str) -> str:
    """DRUNet, ADM, or the word itself for a network of one's own."""
    return NETWORKS.get(arch, arch)


def conditioning(cond: str) -> str:
    """As the paper writes it."""
    return CONDITIONINGS.get(cond, cond)


def in_order(found: Iterable[str], known: Iterable[str]) -> list[str]:
    """Each word once: those that the paper knows in its order, others behind them."""
    known, found = list(known), set(found)
    return [word for word in known if word in found] + sorted(found - set(known))
