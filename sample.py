"""Draw samples from a run: python sample.py run=outputs/... n=64"""

import hydra
from omegaconf import DictConfig

from dpi.configuration import one_line, register_resolvers

register_resolvers()


@hydra.main(config_path="configs", config_name="sample", version_base="1.3")
def main(cfg: DictConfig) -> None:
    from dpi.sampling import sample

    with one_line():
        sample(cfg)


if __name__ == "__main__":
    main()
