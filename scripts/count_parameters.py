"""Count the parameters of every row of Tables 1 and 4, at paper size: `make counts`."""

from itertools import product

import torch
from hydra import compose, initialize
from hydra.utils import instantiate

from dpi.configuration import register_resolvers

# Table 4, millions; the other rows are not printed there.
PRINTED = {
    ("drunet", "ncsnv2"): 63.90,
    ("drunet", "tmap"): 63.90,
    ("drunet", "dpi"): 127.80,
    ("adm", "ncsnv2"): 60.87,
    ("adm", "tmap"): 60.87,
    ("adm", "mlp"): 68.16,
    ("adm", "dpi"): 121.74,
}


def count(arch: str, cond: str) -> int:
    """Parameters of a network told its scalar, at scale=paper; nothing is allocated."""
    cfg = compose("train", overrides=[f"arch={arch}", f"cond={cond}", "run=none"])
    with torch.device("meta"):
        network = instantiate(cfg.cond, _partial_=True)(
            network=instantiate(cfg.arch, _partial_=True), framework=instantiate(cfg.framework)
        )
    return sum(p.numel() for p in network.parameters())


def main() -> None:
    register_resolvers()
    print("# Parameters of the networks at paper size\n\n`make counts`\n")
    print("| network | conditioning | parameters | millions | paper |\n|---|---|--:|--:|--:|")
    with initialize(config_path="../configs", version_base="1.3"):
        for arch, cond in product(("drunet", "adm"), ("ncsnv2", "sigmamap", "tmap", "mlp", "dpi")):
            if (arch, cond) == ("drunet", "mlp"):
                continue
            n = count(arch, cond)
            printed = PRINTED.get((arch, cond))
            paper = f"{printed:.2f}" if printed else "-"
            print(f"| {arch} | {cond} | {n:,} | {n / 1e6:.2f} | {paper} |")


if __name__ == "__main__":
    main()
