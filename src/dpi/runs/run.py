"""A run, opened: its configuration, its framework, its network with the averaged weights."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from torch import nn

from dpi.frameworks import Framework
from dpi.runs.build import build
from dpi.runs.checkpoint import load_checkpoint, load_weights
from dpi.runs.files import CHECKPOINT, CONFIG, cache_dir, checkpoint_digest
from dpi.runs.record import MODEL, RecordedSplit, read_config
from dpi.runs.trust import refuse_foreign_code


@dataclass(frozen=True)
class Run:
    """A trained, or partly trained, model."""

    folder: Path
    cfg: DictConfig
    framework: Framework
    network: nn.Module
    """g(x, s) with the averaged (EMA) weights, in evaluation mode, on the CPU."""
    step: int
    """Optimizer steps taken."""
    checkpoint: str = CHECKPOINT
    """The file in the folder that the weights are from."""
    content: str | None = None
    """Of that file, see `checkpoint_digest`."""

    @property
    def finished(self) -> bool:
        """Whether all optimizer steps were taken."""
        return self.step >= self.cfg.training.steps

    @property
    def evaluation(self) -> Path:
        """Where the evaluations of this checkpoint are."""
        folder = self.folder / "evaluation"
        return folder if self.checkpoint == CHECKPOINT else folder / Path(self.checkpoint).stem

    @cached_property
    def weights(self) -> str:
        """Eight hexadecimal digits that identify these weights."""
        return hash_weights(self.network)[:8]

    def digest(self, split: RecordedSplit) -> str:
        """Hexadecimal digits that identify what evaluations of held-out images depend on."""
        model = {key: OmegaConf.to_container(self.cfg)[key] for key in MODEL}
        of = json.dumps([model, asdict(split), hash_weights(self.network)], sort_keys=True)
        return hashlib.sha256(of.encode()).hexdigest()[:16]


def hash_weights(network: nn.Module) -> str:
    """SHA-256 of a network's parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def open_run(
    folder: str | os.PathLike[str], trust: bool = False, checkpoint: str = CHECKPOINT
) -> Run:
    """Open a run's folder.

    Args:
        folder: as printed by train.py.
        trust: also instantiate objects from outside `dpi` that the configuration names (a network
            of your own), and cache images where it says. A downloaded one could name anything.
        checkpoint: the last one, or one that was kept.

    Raises:
        UserError: no such run, a damaged one, or one that names code from outside without trust.
    """
    folder = Path(folder)
    cfg = read_config(folder)
    if not trust:
        hint = "; if you know where this run comes from, use trust=true"
        refuse_foreign_code(cfg, str(folder / CONFIG), hint)
        for key in ("data.cache_dir", "data.source.cache_dir"):
            if OmegaConf.select(cfg, key) is not None:
                OmegaConf.update(cfg, key, str(cache_dir()))
    return load_run(folder, cfg, checkpoint)


def load_run(
    folder: Path,
    cfg: DictConfig,
    checkpoint: str = CHECKPOINT,
    built: tuple[Framework, nn.Module] | None = None,
) -> Run:
    """As `open_run`, of a configuration that is trusted, in place of the folder's.

    Args:
        folder, cfg, checkpoint: of the run.
        built: what `build` makes of `cfg`, where that is there already; the weights are replaced.
    """
    framework, network = built or build(cfg)
    content = checkpoint_digest(folder / checkpoint)
    state = load_checkpoint(folder / checkpoint)
    load_weights(network, state["state_dict"], folder / checkpoint)
    return Run(folder, cfg, framework, network.eval(), state["global_step"], checkpoint, content)
