"""Collect the results of all runs in tables, figures and a page: python report.py"""

from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from dpi.cli import CONFIGS, one_line, run

# Not by config_path: scale=mini would choose a group from configs/scale, and so would data=.
ConfigStore.instance().store("report", OmegaConf.load(CONFIGS / "report.yaml"))


@hydra.main(config_path=None, config_name="report", version_base="1.3")
def main(cfg: DictConfig) -> None:
    with one_line():
        from dpi.reporting import report  # imports matplotlib, which takes a second

        report(Path(cfg.runs), Path(cfg.out), cfg.paper, cfg.data, cfg.scale)


if __name__ == "__main__":
    run(main, "report")
