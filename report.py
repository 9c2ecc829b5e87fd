"""Collect the rows of all runs into tables, figures and a page: python report.py"""

import hydra
from omegaconf import DictConfig

from dpi.configuration import one_line


@hydra.main(config_path="configs", config_name="report", version_base="1.3")
def main(cfg: DictConfig) -> None:
    from dpi.reporting.report import report

    with one_line():
        report(cfg)


if __name__ == "__main__":
    main()
