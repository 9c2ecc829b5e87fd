"""Parameters and GFLOPs of every row of Tables 1 and 4, at paper size, beside the paper's:
`make counts`. On the meta device: nothing is allocated or computed.
"""

from itertools import product

from hydra import compose, initialize

from dpi.cli import register_resolvers
from dpi.evaluation.complexity import gflops
from dpi.reporting.paper import printed
from dpi.runs.build import build_meta


def main() -> None:
    register_resolvers()
    print("# Parameters and GFLOPs of the networks at paper size\n\n`make counts`\n")
    print(
        "| network | conditioning | parameters | millions | paper | GFLOPs, paper's accounting "
        "| paper | true GFLOPs |\n|---|---|--:|--:|--:|--:|--:|--:|"
    )
    equal = True
    with initialize(config_path="../configs", version_base="1.3"):
        for arch, cond in product(("drunet", "adm"), ("ncsnv2", "sigmamap", "tmap", "mlp", "dpi")):
            if (arch, cond) == ("drunet", "mlp"):
                continue
            cfg = compose("train", overrides=[f"arch={arch}", f"cond={cond}", "run=none"])
            n = sum(p.numel() for p in build_meta(cfg).parameters())
            paper, true = gflops(cfg)
            ours = (f"{n / 1e6:.2f}", f"{paper:.2f}")
            row = printed("table4").get(("diffusion", arch, cond))  # none of the sigma map
            theirs = (f"{row['parameters']:.2f}", f"{row['gflops']:.2f}") if row else ("-", "-")
            equal &= theirs in (ours, ("-", "-"))
            print(
                f"| {arch} | {cond} | {n:,} | {ours[0]} | {theirs[0]} | {ours[1]} | {theirs[1]} "
                f"| {true:.3f} |"
            )
    print(
        f"\nEqual to the printed digit in every row that the paper prints: {equal}.\n\n"
        "One 3 x 64 x 64 image. What each accounting counts:\n"
        "[flops.py](../src/dpi/evaluation/flops.py)."
    )


if __name__ == "__main__":
    main()
