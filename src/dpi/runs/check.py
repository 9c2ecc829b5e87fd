"""What can be said of a configuration before PyTorch is imported, which takes seconds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import MISSING, DictConfig, OmegaConf
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dpi.errors import Excluded, UserError
from dpi.runs.identity import flatten, is_plain
from dpi.runs.rows import read_rows

Count = Annotated[int, Field(ge=1, lt=2**31)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Rate = Annotated[float, Field(ge=0)]
Decay = Annotated[float, Field(ge=0, lt=1)]
SolverSteps = Annotated[int, Field(ge=1, le=1000)]
Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""Of PyTorch's autocast: the weights, the scalars and what is added up stay in float32."""

CheckpointName = Annotated[str, Field(pattern=r"^(last|best|step_\d{7,}|ema_[\d.e-]+)\.ckpt$")]
"""Of a file in a run's folder."""


class Section(BaseModel):
    """A section of a configuration: its keys, the types and the bounds of their values."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Show(Section):
    every: Count
    save_every: Count
    keep_every: Count | None
    keep_best: bool
    keep_ema: list[Decay]
    log_every: Count
    num_images: Annotated[int, Field(ge=1, le=1024)]
    num_steps: SolverSteps


class TrainingSection(Section):
    steps: Count
    batch_size: Annotated[int, Field(ge=1, le=2**20)]
    lr: Rate
    warmup_steps: Annotated[int, Field(ge=0, lt=2**31)]
    lr_schedule: Literal["constant", "cosine", "rsqrt"]
    lr_decay_steps: Count | None
    weight_decay: Rate
    lr_lambda: Rate
    weight_decay_lambda: Rate
    loss_weighting: Literal["min_snr", "uncertainty"] | None
    ema_decay: Decay | None
    ema_halflife: Annotated[float, Field(gt=0)] | None
    distinct_scalars: Count | None
    stratified: bool
    show: Show


class Trainer(Section, extra="allow"):
    """Any other key is an option of Lightning's Trainer."""

    accelerator: str
    precision: Precision
    accumulate_grad_batches: Count
    gradient_clip_val: Annotated[float, Field(gt=0)] | None
    channels_last: bool | None
    compile: bool


class Devices(Section, extra="ignore"):
    """Of train.yaml, what may depend on the machine."""

    trainer: Trainer


class Data(Section, extra="allow"):
    """Other keys are those of one source of images."""

    held_out: Annotated[float, Field(gt=0, lt=2**31)] | None
    split_seed: Seed
    random_flip: bool
    convert: bool = False
    cache_dir: str
    count: Annotated[int, Field(ge=1, le=10_000_000)] = 1
    path: str = ""
    duplicates: str | None = None


class Evaluation(Section, extra="allow"):
    """Of any evaluation that has such a setting; the evaluation itself refuses others."""

    pictures: Count = 1
    noise_seeds: Count = 1
    t: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    scalars: Annotated[int, Field(ge=4)] | None = None
    n: Annotated[int, Field(ge=2, lt=2**31)] = 2
    grid: Annotated[int, Field(ge=1, le=500)] = 1
    seed: Seed = 0
    steps: SolverSteps = 1
    repeats: Count = 1
    batch_size: Count = 1


class Framework(Section, extra="allow"):
    precondition: bool = False


class Train(Section, extra="ignore"):
    """train.yaml but for the trainer; what else describes the model is checked when it is built."""

    seed: Seed
    image_size: Annotated[int, Field(ge=1, le=2**16)]
    image_channels: Annotated[int, Field(ge=1, le=4)]
    training: TrainingSection
    framework: Framework
    data: Data
    eval: dict[str, Evaluation]


class Evaluate(Section):
    """evaluate.yaml"""

    run: str | None
    checkpoint: CheckpointName
    unfinished: bool
    data_path: str | None
    trust: bool
    accelerator: str
    devices: Any
    precision: Precision
    out: str | None
    effort: dict[str, Any]
    eval: dict[str, Evaluation]


class Sample(Section, extra="ignore"):
    """sample.yaml, but for the device."""

    run: str
    checkpoint: CheckpointName
    n: Count
    seed: Seed
    solver: str | None
    steps: SolverSteps
    batch_size: Count
    npz: bool
    out: str | None
    trust: bool


STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true")
"""Lightning's that are tested with the averaged weights, resumed on any number of devices."""

EXCLUDED = {
    ("dpi.conditioning.MLP", "dpi.architectures.DRUNet"): "cond=mlp: it modulates normalization "
    "layers, and DRUNet has none; use arch=adm, or cond=dpi or cond=tmap",
    ("dpi.conditioning.NCSNv2", "dpi.frameworks.FlowMatching"): "cond=ncsnv2: it rescales a score, "
    "and framework=flow predicts a velocity; use cond=dpi, cond=tmap or cond=mlp",
    ("dpi.conditioning.SigmaMap", "dpi.frameworks.FlowMatching"): "cond=sigmamap: it is a map of "
    "noise levels, and framework=flow has none; use cond=dpi, cond=tmap or cond=mlp",
}
"""The combinations that the paper excludes. The conditionings refuse them, too, for any network."""


def check_training(cfg: DictConfig) -> None:
    """Raise UserError (Excluded for a combination that the method excludes) unless a composed
    train.yaml can be trained and evaluated, as far as its values alone say."""
    check(cfg, Train)
    _check_names(cfg)
    size, distinct = cfg.training.batch_size, cfg.training.distinct_scalars
    if distinct is not None and distinct > size:
        raise UserError(
            f"training.distinct_scalars={distinct}: a step of training.batch_size={size} images "
            f"draws 1 to {size}, or null for one an image"
        )
    _check_lr_schedule(cfg.training)
    if (cfg.training.ema_decay is None) == (cfg.training.ema_halflife is None):
        raise UserError(
            "training.ema_halflife: in place of training.ema_decay; give one of them, and null "
            "for the other"
        )
    if (
        cfg.training.loss_weighting == "min_snr"
        and cfg.framework.get("_target_") != "dpi.frameworks.VPDiffusion"
    ):
        raise Excluded(
            "training.loss_weighting=min_snr: it weights the error of the noise, which only "
            "framework=diffusion predicts; use null or uncertainty"
        )
    for (cond, other), message in EXCLUDED.items():
        if cfg.cond.get("_target_") == cond and other in (
            cfg.arch.get("_target_"),
            cfg.framework.get("_target_"),
        ):
            raise Excluded(message)
    _check_files(cfg.eval)
    for name in cfg.eval:
        if name == "fidelity" and cfg.eval.fidelity.extractor not in OFFLINE:
            check_feature_channels(cfg.image_channels)
        if name == "denoising" and cfg.framework.get("_target_") == "dpi.frameworks.FlowMatching":
            raise UserError(
                "eval=denoising: it is only of diffusion, which predicts noise; use eval=objective"
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
    if (schedule == "constant") != (decay is None):
        hint = "give training.lr_schedule=cosine or rsqrt" if decay else "give the steps"
        raise UserError(
            f"training.lr_schedule={schedule} with training.lr_decay_steps="
            f"{'null' if decay is None else decay}: {hint}"
        )
    if schedule == "cosine" and not warmup < decay:
        raise UserError(
            f"training.lr_decay_steps={decay}: cosine decays after training.warmup_steps={warmup}; "
            "give more"
        )
    if schedule == "cosine" and training.steps > decay:
        raise UserError(
            f"training.steps={training.steps}: the learning rate is 0 from step "
            f"training.lr_decay_steps={decay} on; give no more steps"
        )


OFFLINE = ("pixels", "random")
"""The feature networks of eval=fidelity that need no weights, for images of any channels."""


def check_feature_channels(channels: int) -> None:
    """Raise UserError for images that eval=fidelity's pretrained networks do not take."""
    if channels not in (1, 3):
        raise UserError(
            f"eval=fidelity: these images have {channels} channels, and this extractor takes RGB "
            "or greyscale: use eval.fidelity.extractor=pixels or random"
        )


def check_trainer(cfg: DictConfig) -> None:
    """Raise UserError unless the section `trainer` is sound; imports PyTorch to look for a GPU."""
    strategy = cfg.trainer.get("strategy", "auto")
    if strategy not in STRATEGIES:
        raise UserError(
            f"trainer.strategy={strategy}: choose from {', '.join(STRATEGIES)}; others are not "
            "tested with averaged weights, nor to resume with any number of devices"
        )
    check(cfg, Devices)
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
    check(cfg, Evaluate)
    _check_files(cfg.eval)
    if cfg.out is not None:
        check_out("out", cfg.out)
        try:
            read_rows(Path(cfg.out))
        except FileNotFoundError:
            return
        except ValueError:
            raise UserError(f"out={cfg.out}: this file exists, and holds no rows") from None


def check_out(key: str, path: str) -> None:
    """Raise UserError if a file cannot be written there."""
    parents = Path(path).absolute().parents
    file = next((parent for parent in parents if parent.is_file()), None)
    if file is not None:
        raise UserError(f"{key}={path}: {file} is a file, not a folder")
    if Path(path).is_dir():
        raise UserError(f"{key}={path} is a folder: give a path in it")


def _check_files(evals: Mapping[str, Any]) -> None:
    for name, settings in evals.items():
        for key in ("weights", "reference", "samples"):
            path = settings.get(key)
            if path is not None and not Path(path).exists():
                raise UserError(f"eval.{name}.{key}={path}: there is no such file")


def check(cfg: DictConfig, schema: type[Section]) -> None:
    """Raise UserError where a value is missing, of another type, or out of its range.

    Args:
        cfg: a configuration.
        schema: its keys and their types.
    """
    for key, value in flatten(OmegaConf.to_container(cfg)).items():
        if value == MISSING:
            raise UserError(f"{key} is missing: give {key}=...")
    keys = cfg.keys()
    if schema.model_config["extra"] == "ignore":
        keys &= schema.model_fields.keys()
    try:
        schema.model_validate({key: _resolved(cfg, key) for key in keys})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise UserError(f"{key}: there is no such setting, see --help") from None
        given, reason = first["input"], first["msg"].removeprefix("Input ")
        value = given if isinstance(given, str) else json.dumps(given, default=str)
        raise UserError(f"{key}={value}: it {reason}") from None


def _resolved(cfg: DictConfig, key: str) -> Any:
    value = cfg[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _check_names(cfg: DictConfig) -> None:
    names = {f"names.{key}": value for key, value in cfg.names.items()}
    if cfg.tag is not None:
        names["tag"] = cfg.tag
    for key, name in names.items():
        if not is_plain(str(name)):
            raise UserError(
                f"{key}={name}: it is part of a folder's name, so give letters, digits, dots, "
                "dashes and underscores"
            )
    if not cfg.run or not str(cfg.run).strip():
        raise UserError("run= is empty: give the folder of the run, or leave it out")
    folder = Path(cfg.run).resolve()
    here = Path.cwd()
    is_file = any(path.is_file() for path in (folder, *folder.parents))
    if folder in (here, *here.parents, here / "outputs") or is_file:
        raise UserError(f"run={cfg.run} cannot be the folder of a run: give one of its own")
