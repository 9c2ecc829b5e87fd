"""Train a conditioned generative model: python train.py arch=adm cond=dpi"""

import hydra
from omegaconf import DictConfig

from dpi.cli import one_line, run
from dpi.experiment import train_job


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    with one_line():
        train_job(cfg)


if __name__ == "__main__":
    run(main, "train")
