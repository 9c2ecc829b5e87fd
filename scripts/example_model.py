"""Train the model of examples/model, and save it there with its card.

    python scripts/example_model.py

takes about ten minutes on one CPU core. It is resumed by the same command.
"""

from pathlib import Path

from dpi.experiment import train
from dpi.hub import SharedModel

FOLDER = Path(__file__).parents[1] / "examples/model"

FINEST = "head.*,encoder.0.*,decoder.2.*,tail.*"
"""The layers of DRUNet at the finest resolution."""

OVERRIDES = [
    *("experiment=comparison", "data=avatars", "scale=mini", "trainer=cpu", "framework=flow"),
    *("cond=dpi", f"cond.include=[{FINEST}]", "training.lr=2e-3", "training.steps=4000"),
    *("trainer.gradient_clip_val=1", "training.show.every=1000"),
    *("eval=[objective]", "run=outputs/model"),
]


def main() -> None:
    model = SharedModel.from_run(train(OVERRIDES))
    model.described |= {
        "title": "Cartoon faces: flow matching, DRUNet with DPI of its finest level",
        "folder": "examples/model",
        "command": "python scripts/example_model.py",
    }
    model.save_pretrained(FOLDER)


if __name__ == "__main__":
    main()
