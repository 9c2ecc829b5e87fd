"""Train a scalar-conditioned generative model: python train.py arch=adm cond=dpi"""

import hydra
from omegaconf import DictConfig

from dpi.configuration import one_line, register_resolvers

register_resolvers()


@hydra.main(config_path="configs", config_name="train", version_base="1.3")
def main(cfg: DictConfig) -> None:
    from dpi.experiment import carry_out

    with one_line():
        carry_out(cfg)


if __name__ == "__main__":
    main()
