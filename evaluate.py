"""Evaluate runs: python evaluate.py run=outputs/... eval=denoising"""

import hydra
from omegaconf import DictConfig

from dpi.cli import one_line, run
from dpi.runs.check import check_evaluate, check_target
from dpi.runs.record import find_runs, read_config


@hydra.main(config_path="configs", config_name="evaluate", version_base="1.3")
def main(cfg: DictConfig) -> None:
    with one_line():
        check_evaluate(cfg)
        if cfg.eval.get("fidelity", {}).get("samples") is None:
            folders = find_runs(cfg.run)
            if len(folders) == 1:
                check_target(cfg.eval, read_config(folders[0]))
        from dpi.evaluation.evaluate import evaluate_all  # imports PyTorch, which takes seconds

        evaluate_all(cfg)


if __name__ == "__main__":
    run(main, "evaluate")
