"""Evaluate a run: python evaluate.py run=outputs/... eval=denoising"""

import hydra
from omegaconf import DictConfig

from dpi.configuration import one_line, register_resolvers

register_resolvers()


@hydra.main(config_path="configs", config_name="evaluate", version_base="1.3")
def main(cfg: DictConfig) -> None:
    from dpi.evaluation.evaluate import evaluate

    with one_line():
        evaluate(cfg)


if __name__ == "__main__":
    main()
