"""What can be said of a configuration before PyTorch is imported, which takes seconds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import MISSING, DictConfig, OmegaConf
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

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


def _plain(name: Any) -> Any:
    if not is_plain(str(name)):
        raise ValueError("is part of a folder's name: give letters, digits, ., -, + and _")
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
    try:
        read_rows(Path(_writable(path)))
    except FileNotFoundError:
        return path
    except (ValueError, OSError):
        raise ValueError("exists and is no file of rows: give another path") from None
    return path


Plain = Annotated[Any, AfterValidator(_plain)]
Existing = Annotated[str, AfterValidator(_existing)]
Writable = Annotated[str, AfterValidator(_writable)]
Rows = Annotated[str, AfterValidator(_rows)]


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
    """Any other key is an option of Lightning's Trainer. Its other strategies are not tested with
    averaged weights, nor to resume with any number of devices."""

    accelerator: str
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] = "auto"
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
    samples: Existing | None = None
    reference: Existing | None = None
    weights: Existing | None = None


class Framework(Section, extra="allow"):
    precondition: bool = False


class Train(Section, extra="ignore"):
    """train.yaml but for the trainer; what else describes the model is checked when it is built."""

    seed: Seed
    run: Annotated[str, AfterValidator(_run_folder)]
    tag: Plain | None
    names: dict[str, Plain]
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
    devices: int | str
    precision: Precision
    out: Rows | None
    effort: dict[str, Any]
    eval: dict[str, Evaluation]


class Sample(Section, extra="ignore"):
    """sample.yaml but for the device, which asks PyTorch."""

    run: str
    checkpoint: CheckpointName
    n: Count
    seed: Seed
    solver: str | None
    steps: SolverSteps
    batch_size: Count
    npz: bool
    out: Writable | None
    trust: bool


def check_training(cfg: DictConfig) -> None:
    """Raise UserError (Excluded for a combination that the method excludes) unless a composed
    train.yaml can be trained and evaluated, as far as its values alone say."""
    check(cfg, Train)
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
    if "fidelity" in cfg.eval and cfg.eval.fidelity.extractor not in OFFLINE:
        check_feature_channels(cfg.image_channels)


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
        raise UserError(
            f"training.lr_schedule={schedule} with training.lr_decay_steps={json.dumps(decay)}: "
            "constant takes null, and cosine and rsqrt the steps"
        )
    if schedule == "cosine" and not max(warmup + 1, training.steps) <= decay:
        raise UserError(
            f"training.lr_decay_steps={decay}: cosine decays from training.warmup_steps={warmup} "
            f"to 0 at this step, and training.steps={training.steps} are taken: give more"
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
        key, given = ".".join(map(str, first["loc"])), first["input"]
        if first["type"] == "extra_forbidden":
            raise UserError(f"{key}: there is no such setting, see --help") from None
        value = given if isinstance(given, str) else json.dumps(given, default=str)
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{key}={value}: {message}") from None


def _resolved(cfg: DictConfig, key: str) -> Any:
    value = cfg[key]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
