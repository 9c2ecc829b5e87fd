"""What can be said of a configuration before PyTorch is imported, which takes seconds.

Values that are given to a class or an evaluation are checked there.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import MISSING, DictConfig, OmegaConf
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError

from dpi.errors import Excluded, UserError
from dpi.runs.identity import flatten, is_plain
from dpi.runs.rows import read_rows

STRICT = ConfigDict(
    strict=True, allow_inf_nan=False, arbitrary_types_allowed=True, str_min_length=1
)

Count = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Rate = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
SolverSteps = Annotated[int, Field(ge=1, le=1000)]
Scalars = Annotated[int, Field(ge=4)]
"""Of a schedule over which a mean is interpolated."""

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""Of PyTorch's autocast: the weights, the scalars and what is added up stay in float32."""


def _plain(name: Any) -> Any:
    if not is_plain(name):
        raise ValueError("is part of a folder's name: give letters, digits, ., -, + and _")
    return name


def _checkpoint(name: str) -> str:
    if not re.fullmatch(r"[\w.-]+\.ckpt", name):
        raise ValueError("is no checkpoint in a run's folder: give last.ckpt, or one that was kept")
    return name


def _run_folder(run: str) -> str:
    folder, here = Path(run).resolve(), Path.cwd()
    is_file = any(path.is_file() for path in (folder, *folder.parents))
    if not run.strip() or folder in (here, *here.parents, here / "outputs") or is_file:
        raise ValueError("cannot be the folder of a run: give one of its own")
    return run


def _existing(path: str) -> str:
    if not Path(path).exists():
        raise ValueError("does not exist")
    return path


def _writable(path: str) -> str:
    parents = Path(path).absolute().parents
    file = next((parent for parent in parents if parent.is_file()), None)
    if file is not None:
        raise ValueError(f"cannot be written: {file} is a file, not a folder")
    if Path(path).is_dir():
        raise ValueError("is a folder: give a path in it")
    return path


def _rows(path: str) -> str:
    _writable(path)
    try:
        read_rows(Path(path))
    except FileNotFoundError:
        return path
    except (ValueError, OSError):
        raise ValueError("exists and is no file of rows: give another path") from None
    return path


Plain = Annotated[Any, AfterValidator(_plain)]
CheckpointName = Annotated[str, AfterValidator(_checkpoint)]
Existing = Annotated[str, AfterValidator(_existing)]
Writable = Annotated[str, AfterValidator(_writable)]
Rows = Annotated[str, AfterValidator(_rows)]

EFFORT = {
    f"effort.{name}": int | None
    for name in ("scalars", "noise_seeds", "n", "pictures", "steps", "grid", "repeats")
}
"""What evaluations take from it."""

TRAIN = {
    "seed": Seed,
    "run": Annotated[str, AfterValidator(_run_folder)],
    "tag": Plain | None,
    **{f"names.{name}": Plain for name in ("data", "framework", "arch", "cond", "scale")},
    "image_size": Annotated[int, Field(ge=1, le=2**16)],
    "image_channels": Annotated[int, Field(ge=1, le=4)],
    "training.steps": Count,
    "training.batch_size": Annotated[int, Field(ge=1, le=2**20)],
    "training.lr": Rate,
    "training.warmup_steps": Annotated[int, Field(ge=0, lt=2**31)],
    "training.lr_schedule": Literal["constant", "cosine", "rsqrt"],
    "training.lr_decay_steps": Count | None,
    "training.init_from": str | None,
    "training.init_weights": str | None,
    "training.weight_decay": Rate,
    "training.lr_lambda": Rate,
    "training.weight_decay_lambda": Rate,
    "training.loss_weighting": Literal["min_snr", "uncertainty"] | None,
    "training.ema_decay": Decay | None,
    "training.ema_halflife": Annotated[float, Field(gt=0)] | None,
    "training.distinct_scalars": Count | None,
    "training.stratified": bool,
    **{f"training.show.{name}": Count for name in ("every", "save_every", "log_every")},
    "training.show.keep_every": Count | None,
    "training.show.keep_best": bool,
    "training.show.keep_ema": list[Decay],
    "training.show.num_images": Annotated[int, Field(ge=1, le=1024)],
    "training.show.num_steps": SolverSteps,
    "framework.precondition": bool,
    "data.name": Plain,
    "data.count": Annotated[int, Field(ge=1, le=10_000_000)],
    "data.path": str,
    "data.held_out": Annotated[float, Field(gt=0, lt=2**31)] | None,
    "data.split_seed": Seed,
    "data.duplicates": str | None,
    "data.convert": bool,
    "data.skip_broken": bool,
    "data.max_pixels": Count | None,
    "data.random_flip": bool,
    "data.cache_dir": str,
    **EFFORT,
}
"""The keys of train.yaml, and of its sections what no constructor checks."""

SECTIONS = (
    *("names", "settings", "framework", "arch", "cond"),
    *("data", "trainer", "logger", "eval"),
)
"""Sections of train.yaml that have other keys, too: arguments of what they name."""

TRAINER = {
    "accelerator": str,
    "strategy": Literal["auto", "ddp", "ddp_find_unused_parameters_true"],
    "precision": Precision,
    "accumulate_grad_batches": Count,
    "gradient_clip_val": Annotated[float, Field(gt=0)] | None,
    "channels_last": bool | None,
    "compile": bool,
}
"""Of train.yaml's section `trainer`. Any other key is an option of Lightning's Trainer. Its other
strategies are not tested with averaged weights, nor to resume with any number of devices."""

EVALUATE = {
    "run": str | None,
    "checkpoint": CheckpointName,
    "unfinished": bool,
    "data_path": str | None,
    "trust": bool,
    "accelerator": str,
    "devices": int | str,
    "precision": Precision,
    "out": Rows | None,
    **EFFORT,
}
"""The keys of evaluate.yaml; those of its sections are in the signatures of the evaluations."""

SAMPLE = {
    "run": str,
    "checkpoint": CheckpointName,
    "n": Count,
    "seed": Seed,
    "solver": str | None,
    "steps": SolverSteps,
    "batch_size": Count,
    "npz": bool,
    "png": bool,
    "out": Writable | None,
    "trust": bool,
}
"""The keys of sample.yaml but for the device, which asks PyTorch."""


def check_training(cfg: DictConfig) -> None:
    """Raise UserError (Excluded for a combination that the method excludes) unless a composed
    train.yaml can be trained and evaluated, as far as its values alone say."""
    check(cfg, TRAIN, others=SECTIONS)
    data = OmegaConf.to_yaml(cfg.data)
    for key in cfg.data:
        if f"data.{key}" not in TRAIN and key != "source" and f"${{data.{key}}}" not in data:
            raise UserError(f"data.{key}: nothing reads it, see --help")
    check_target(cfg.eval, cfg)
    _check_lr_schedule(cfg.training)
    size, distinct = cfg.training.batch_size, cfg.training.distinct_scalars
    if distinct is not None and distinct > size:
        raise UserError(
            f"training.distinct_scalars={distinct}: a step of training.batch_size={size} images "
            f"draws 1 to {size}, or null for one an image"
        )
    if (cfg.training.ema_decay is None) == (cfg.training.ema_halflife is None):
        raise UserError(
            "training.ema_halflife: in place of training.ema_decay; give one of them, and null "
            "for the other"
        )
    min_snr = cfg.training.loss_weighting == "min_snr"
    if min_snr and cfg.framework.get("_target_") != "dpi.frameworks.VPDiffusion":
        raise Excluded(
            "training.loss_weighting=min_snr: it weights the error of the noise, which only "
            "framework=diffusion predicts; use null or uncertainty"
        )


def check_target(evals: Mapping[str, Any], cfg: DictConfig) -> None:
    """Raise UserError for an evaluation of the predicted noise, of a run of flow matching."""
    flow = OmegaConf.select(cfg, "framework._target_") == "dpi.frameworks.FlowMatching"
    for name, settings in evals.items():
        if settings.get("metric") == "mse" and flow:
            raise UserError(
                f"eval={name}: it is only of diffusion, which predicts noise; use eval=objective"
            )


def check_pictures(evals: Mapping[str, Any], held_out: int) -> None:
    """Raise UserError for an evaluation that takes more held-out images than there are."""
    for name, settings in evals.items():
        count = settings.get("pictures")
        if count is not None and count > held_out:
            raise UserError(
                f"eval.{name}.pictures={count}: {held_out} images are held out; give "
                f"eval.{name}.pictures={held_out} or fewer, or hold out more with data.held_out="
            )


def _check_lr_schedule(training: DictConfig) -> None:
    schedule, decay, warmup = training.lr_schedule, training.lr_decay_steps, training.warmup_steps
    if schedule == "cosine" and decay is None:
        decay = training.steps
    if (schedule == "constant") != (decay is None):
        raise UserError(
            f"training.lr_schedule={schedule} with training.lr_decay_steps={json.dumps(decay)}: "
            "constant takes null, and rsqrt the steps"
        )
    if schedule == "cosine" and not max(warmup + 1, training.steps) <= decay:
        raise UserError(
            f"training.lr_decay_steps={decay}: cosine decays from training.warmup_steps={warmup} "
            f"to 0 at this step, and training.steps={training.steps} are taken: give more"
        )


def check_trainer(cfg: DictConfig) -> None:
    """Raise UserError unless the section `trainer` is sound; imports PyTorch to look for a GPU."""
    check(cfg.trainer, TRAINER, "trainer.", others=[*cfg.trainer])
    if cfg.trainer.gradient_clip_val is not None and cfg.trainer.precision == "16-mixed":
        raise UserError(
            f"trainer.gradient_clip_val={cfg.trainer.gradient_clip_val}: with 16-mixed AdamW takes "
            "scaled gradients; use trainer.precision=bf16-mixed or 32-true"
        )
    size, micro_batches = cfg.training.batch_size, cfg.trainer.accumulate_grad_batches
    if size % micro_batches:
        raise UserError(
            f"training.batch_size={size} does not divide into "
            f"trainer.accumulate_grad_batches={micro_batches} micro-batches"
        )


def check_evaluate(cfg: DictConfig) -> None:
    """Raise UserError unless a composed evaluate.yaml can be evaluated, as far as that is known."""
    if not cfg.eval:
        raise UserError("eval= is missing: choose evaluations, such as eval=[denoising]")
    check(cfg, EVALUATE, others=["eval"])


def check(
    cfg: DictConfig, kinds: Mapping[str, Any], where: str = "", others: Sequence[str] = ()
) -> None:
    """Raise UserError where a value is missing, of another type or out of its range, and for a key
    that nothing reads; and let values that begin with ~/ begin with the user's home.

    Args:
        cfg: a configuration.
        kinds: types, with their bounds, by dotted key.
        where: what the keys begin with in the message.
        others: sections that may have other keys.
    """
    for key, value in flatten(OmegaConf.to_container(cfg)).items():
        if value == MISSING:
            advice = "" if ": " in where else f": give {where}{key}=..."  # no advice on a file
            raise UserError(f"{where}{key} is missing{advice}")
        if within := next((other for other in kinds if other.startswith(f"{key}.")), None):
            raise UserError(
                f"{where}{key}={json.dumps(value)}: this is a section; set {within}=..."
            )
        if key not in kinds and key.partition(".")[0] not in others:
            raise UserError(f"{where}{key}: there is no such setting, see --help")
    for key, kind in kinds.items():
        value = OmegaConf.select(cfg, key, default=MISSING)
        if value == MISSING:  # of other data, or of an evaluation that has a default
            continue
        value = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        if isinstance(value, str) and value.startswith("~/"):  # as a shell leaves it behind a =
            value = os.path.expanduser(value)
            OmegaConf.update(cfg, key, value)
        try:
            TypeAdapter(kind, config=STRICT).validate_python(value)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            given = value if isinstance(value, str) else json.dumps(value, default=str)
            raise UserError(f"{where}{key}={given}: {message}") from None
