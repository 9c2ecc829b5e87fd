"""Collect the results of all runs in tables, figures and a page: python report.py"""

from pathlib import Path

import hydra
from omegaconf import DictConfig

from dpi.cli import one_line


@hydra.main(config_path="configs", config_name="report", version_base="1.3")
def main(cfg: DictConfig) -> None:
    from dpi.reporting import report

    with one_line():
        report(Path(cfg.runs), Path(cfg.out), cfg.data, cfg.scale)


if __name__ == "__main__":
    main()
