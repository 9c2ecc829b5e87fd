"""The sweeper of train.py, hydra/sweeper=rows: see configs/sweep and dpi.sweeps.plan.

Hydra takes sweepers from the package hydra_plugins alone, and imports what it finds there at every
start; so whatever takes long is imported when a sweep begins.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig


@dataclass
class RowsConf(BasicSweeperConf):
    _target_: str = "hydra_plugins.dpi_rows.Rows"
    rows: list[str] = field(default_factory=list)


ConfigStore.instance().store("rows", RowsConf, group="hydra/sweeper", provider="dpi")


class Rows(BasicSweeper):
    """Runs the rows of a table, each "arch=adm cond=tmap,dpi", in every combination of a row.

    What is done is not launched, what failed does not stop the others, and the end tells how each
    run stands; the exit status is 1 unless all are done.
    """

    def __init__(self, rows: list[str], **basic) -> None:
        super().__init__(**basic)
        self.rows = rows

    def sweep(self, arguments: list[str]) -> None:
        from dpi.configuration import one_line
        from dpi.sweeps.plan import jobs, plan, write_plan
        from dpi.sweeps.status import table

        parser = OverridesParser.create(self.hydra_context.config_loader)
        words = [*self._parse_config(), *arguments]
        with one_line():
            runs = plan(jobs(self.rows, words, parser.parse_overrides), self._compose)
        write_plan(Path(self.config.hydra.sweep.dir) / f"{self._name()}.json", runs)
        todo = [planned.words for planned in runs if planned.standing()[0] != "done"]
        print(f"{self._name()}: {len(runs)} runs, {len(runs) - len(todo)} of them done")
        if not todo:
            return
        reason = ""
        try:
            self.launcher.launch(todo, initial_job_idx=0)
        except Exception as error:  # a run's own are in its state; here a process or job died
            said = " ".join(str(error).splitlines()[:2]).strip()
            reason = f"error: the launcher stopped: {said or type(error).__name__}\n"
        finally:
            print(f"\n{table(runs)}")
        if any(planned.standing()[0] != "done" for planned in runs):
            sys.exit(f"{reason}error: not all runs are done; the same command goes on with them")

    def _name(self) -> str:
        names = HydraConfig.get().runtime.choices
        return "-".join([self.config.data.name, names.get("sweep") or "runs", names.scale])

    def _compose(self, job: list[str]) -> DictConfig:
        """The configuration of one run, complete with what Hydra says of it."""
        cfg = self.hydra_context.config_loader.load_sweep_config(self.config, job)
        HydraConfig.instance().set_config(cfg)
        return cfg
