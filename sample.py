"""Draw samples from a run: python sample.py run=outputs/... n=64"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from dpi.cli import one_line, run
from dpi.runs.check import SAMPLE, check
from dpi.runs.files import is_shared
from dpi.runs.record import read_config


@hydra.main(config_path="configs", config_name="sample", version_base="1.3")
def main(cfg: DictConfig) -> None:
    with one_line():
        check(cfg, SAMPLE, others=("device",))
        if not is_shared(Path(cfg.run)):
            read_config(Path(cfg.run))
        print(f"{cfg.run}: loading PyTorch and the weights", flush=True)
        from dpi.evaluation.samples import sample  # imports PyTorch, which takes seconds

        sample(cfg)


if __name__ == "__main__":
    run(main, "sample")
