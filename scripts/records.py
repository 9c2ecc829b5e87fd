"""The lowest errors for so many parameters, operations and minutes of training: what to beat.

    python scripts/records.py 'results/conditioning/*.csv' > results/records.md

A line is a conditioning at its best settings, unless another that takes no more of anything has a
lower error. Those with fewer than three seeds beside that of the settings are left out.
"""

import re
import sys

import pandas as pd
from conditioning import COST, SEEDS, at_best, read

from dpi.cli import one_line

KEYS = {
    "lr": "training.lr",
    "lr_lambda": "training.lr_lambda",
    "dropout": "arch.dropout",
    "include": "cond.include",
    "channels": "arch.channels",
    "base_channels": "arch.base_channels",
    "gradient_clip_val": "trainer.gradient_clip_val",
}
"""Options of train.py by their names in tables."""

CONDITIONINGS = {
    "t map": "tmap",
    "DPI": "dpi",
    "FiLM": "film",
    "low-rank sets": "lowrank",
    "mixture": "mixture",
    "MLP": "mlp",
}


def command(block: str, row: str, settings: str) -> str:
    """The options of train.py that a conditioning and its settings stand for, without those of all
    ($RUNS)."""
    name, *own = re.split(r", (?=[a-z_.]+ = )", row)
    own += re.findall(r"gradient_clip_val = [\d.]+", block)
    cond = "+".join(CONDITIONINGS[part] for part in name.split(" + "))
    options = [f"cond={cond}"]
    for setting in [*own, *settings.split(", ")]:
        key, value = setting.split(" = ")
        listed = key.rpartition(".")[2] in ("include", "channels")
        value = f"[{value.replace(' ', '')}]" if listed else value
        option = f"{KEYS.get(key, key)}={value}"
        options.append(f"'{option}'" if "[" in option else option)
    return " ".join(options)


def front(found: pd.DataFrame) -> pd.DataFrame:
    """The rows that no other beats: in error, at no higher cost of any kind."""
    axes = found[[*COST, "error"]]
    beaten = [
        ((axes <= own).all(axis=1) & (axes < own).any(axis=1)).any() for _, own in axes.iterrows()
    ]
    return found[[not b for b in beaten]]


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    with one_line():
        errors, costs, _ = read(sys.argv[1])
    print("# Records\n")
    print("What there is to beat: of every line, no other costs as little and has as low an error.")
    print("The options follow `python train.py -m $RUNS` of [results/conditioning](conditioning).")
    print("This page is the output of\n")
    print(f"    python scripts/records.py '{sys.argv[1]}'\n")
    for block, own in errors[errors.scalar.isna()].groupby("block", sort=False):
        rows = []
        for name, of in own.groupby("row"):
            settings, _, runs = at_best(of)
            key = (own.arch.iloc[0], name)
            if runs.seed.nunique() >= SEEDS and key in costs.index:
                cost = dict(costs.loc[key])
                rows.append({"name": name, "settings": settings, "error": runs.value.mean()} | cost)
        if not rows:
            continue
        best = front(pd.DataFrame(rows, columns=["name", "settings", "error", *COST]))
        print(f"## {block}\n")
        print(f"| error | {' | '.join(title for title, _ in COST.values())} | `train.py ...` |")
        print(f"|--:|{'--:|' * len(COST)}---|")
        for _, line in best.sort_values("error", ascending=False).iterrows():
            cells = [f"{line[metric] * unit:.3g}" for metric, (_, unit) in COST.items()]
            options = command(block, line["name"], line.settings)
            print(f"| {line.error:.5f} | {' | '.join(cells)} | `{options}` |")
        print()


if __name__ == "__main__":
    main()
