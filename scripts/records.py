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


def command(block: str, options: str, settings: str) -> str:
    """What train.py is given for a conditioning and its settings, beside the options of all
    ($RUNS)."""
    name, *own = re.split(r", (?=[a-z_.]+ = )", options)
    own += re.findall(r"gradient_clip_val = [\d.]+", block)
    cond = "+".join(CONDITIONINGS[part] for part in name.split(" + "))
    given = [f"cond={cond}"]
    for setting in [*own, *settings.split(", ")]:
        key, value = setting.split(" = ")
        listed = key.rpartition(".")[2] in ("include", "channels")
        value = f"[{value.replace(' ', '')}]" if listed else value
        option = f"{KEYS.get(key, key)}={value}"
        given.append(f"'{option}'" if "[" in option else option)
    return " ".join(given)


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
                about = {"options": of.options.iloc[0], "settings": settings}
                rows.append(about | {"error": runs.value.mean()} | cost)
        if not rows:
            continue
        best = front(pd.DataFrame(rows, columns=["options", "settings", "error", *COST]))
        print(f"## {block}\n")
        print(f"| error | {' | '.join(title for title, _ in COST.values())} | `train.py ...` |")
        print(f"|--:|{'--:|' * len(COST)}---|")
        for _, line in best.sort_values("error", ascending=False).iterrows():
            cells = [f"{line[metric] * unit:.3g}" for metric, (_, unit) in COST.items()]
            given = command(block, line.options, line.settings)
            print(f"| {line.error:.5f} | {' | '.join(cells)} | `{given}` |")
        print()


if __name__ == "__main__":
    main()
