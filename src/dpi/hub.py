"""Models on the Hugging Face Hub: safetensors and a JSON configuration, through huggingface_hub.

Loading opens no pickle and instantiates nothing that is not dpi's own.
"""

import copy
import glob
import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NoReturn, get_args

import torch
from huggingface_hub import ModelCard, ModelCardData, PyTorchModelHubMixin
from omegaconf import OmegaConf
from torch import Tensor, nn

from dpi.errors import UserError
from dpi.frameworks import predict
from dpi.interpolation import (
    Interpolated,
    InterpolationFunction,
    Mixture,
    Mode,
    Range,
    interpolate,
)
from dpi.interpolation.interpolate import Schedule
from dpi.runs.build import MODEL, build, image_shape, refuse_foreign_code
from dpi.runs.rows import read_rows
from dpi.runs.run import Run

TAGS = ["deep-parameter-interpolation"]
PAPER = "Park et al., Deep Parameter Interpolation for Scalar Conditioning"


class _Safe(PyTorchModelHubMixin):
    # The mixin would open a pickle where a repository has no safetensors, and would silently
    # ignore weights that do not fit.

    @classmethod
    def _load_as_safetensor(
        cls, model: Any, model_file: str, map_location: str, strict: bool
    ) -> Any:
        try:
            return super()._load_as_safetensor(model, model_file, map_location, strict=True)
        except RuntimeError as error:
            line = " ".join(str(error).split())
            raise UserError(f"{model_file} belongs to another network: {line}") from None

    @classmethod
    def _load_as_pickle(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise UserError("this repository holds no model.safetensors, and pickles are not opened")


class SharedInterpolated(Interpolated, _Safe, library_name="dpi", tags=TAGS):
    """`interpolate(net, ...)` with save_pretrained, from_pretrained and push_to_hub.

        shared = SharedInterpolated(MyNetwork(), num_scalars=100)
        shared = SharedInterpolated.of(net)          # of interpolate(MyNetwork(), ...), trained
        shared.save_pretrained("folder")             # or push_to_hub("me/mine")
        again = SharedInterpolated.from_pretrained("folder", net=MyNetwork())

    The network's own class is not part of what is saved: give it to from_pretrained.

    Args:
        net, and all else: as of `dpi.interpolation.interpolate` and of the schedules there.
    """

    def __init__(
        self,
        net: nn.Module,
        num_scalars: int = 1000,
        schedule: Schedule = "learnable",
        endpoints: Literal["paper", "exact"] = "paper",
        between: Literal["linear", "nearest"] = "linear",
        num_sets: int = 2,
        include: Iterable[str] = ("*",),
        exclude: Iterable[str] = (),
        mode: Mode = "auto",
        scalar: Range | None = None,
        shared: Sequence[str] = (),
        checkpointing: bool = False,
        knots: int = 33,
    ) -> None:
        made = interpolate(
            net,
            schedule=Mixture(num_sets, num_scalars, scalar, knots)
            if schedule == "mixture"
            else InterpolationFunction(num_scalars, schedule, endpoints, between, scalar, num_sets),
            include=include,
            exclude=exclude,
            shared=shared,
            checkpointing=checkpointing,
            mode=mode,
        )
        super().__init__(made.thetas(), made.interpolation, mode, made.shared, checkpointing)

    @classmethod
    def _from_pretrained(cls, *, config: dict[str, Any] | None, **options: Any) -> Any:
        for key in ("rank", "in_dims", "out_dims", "schedule"):
            value = (config or {}).get(key)
            if value not in (None, *get_args(Schedule)):
                raise UserError(f"{key}={value} left: commit 5255f5f is the last that reads it")
        return super()._from_pretrained(**options)

    @classmethod
    def of(cls, net: Interpolated) -> "SharedInterpolated":
        """Share a network that was made by `interpolate`. It is copied, in evaluation mode."""
        weights = net.interpolation
        if isinstance(weights, Mixture):
            options = {"schedule": "mixture", "knots": weights.phi.shape[1]}
        else:
            schedule = "linear" if weights.phi is None else "learnable"
            ends, between = weights.endpoints, weights.between
            options = {"schedule": schedule, "endpoints": ends, "between": between}
        shared = cls(
            copy.deepcopy(net.theta0),
            num_scalars=weights.num_scalars,
            num_sets=weights.num_sets,
            include=[glob.escape(name) for name in net.doubled],
            mode=net.mode,
            scalar=weights.scalar,
            shared=net.shared,
            checkpointing=net.checkpointing,
            **options,
        )
        shared.load_state_dict(net.state_dict())
        return shared.eval()


class SharedModel(
    nn.Module, _Safe, library_name="dpi", tags=[*TAGS, "unconditional-image-generation"]
):
    """A conditioned model g(x, s) of this repository, with its framework.

        SharedModel.from_run(open_run("outputs/...")).save_pretrained("folder")
        model = SharedModel.from_pretrained("folder")
        images = model.sample(torch.randn(16, 3, 64, 64))

    Args:
        model: the configuration of the network: framework, arch, cond, image_size,
            image_channels.

    Raises:
        UserError: it names code from outside dpi.
    """

    def __init__(self, model: dict[str, Any]) -> None:
        super().__init__()
        cfg = OmegaConf.create({"image_channels": 3} | model)  # as all models once had
        refuse_foreign_code(cfg, "this model's configuration")
        self.framework, self.network = build(cfg)
        self.shape = image_shape(cfg)
        """(C, H, W) of its images."""
        self.results: dict[str, Any] = {}

    @classmethod
    def from_run(cls, run: Run) -> "SharedModel":
        """The averaged weights of a trained model, and the rows of its evaluations."""
        model = {key: OmegaConf.to_container(run.cfg)[key] for key in MODEL}
        shared = cls(model=model)
        shared.network.load_state_dict(run.network.state_dict())
        shared.results = {"run": run.folder.name, "steps": run.step, "rows": _rows(run)}
        return shared.eval()

    def forward(self, x: Tensor, s: Tensor | float) -> Tensor:
        """The predicted noise or velocity, (B, C, H, W); see the framework's `corrupt`."""
        return predict(self.framework, self.network, x, torch.as_tensor(s))

    def sample(self, noise: Tensor, num_steps: int = 200) -> Tensor:
        """Noise, (B, C, H, W), standard normal, to images in [-1, 1]."""
        return self.framework.sample(self.network, noise, num_steps)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The run's configuration and evaluation."""
        data = ModelCardData(library_name="dpi", tags=[*TAGS, "unconditional-image-generation"])
        configuration = json.dumps(self._hub_mixin_config, indent=2)
        rows = "\n".join(
            f"| {row['eval']} | {row['metric']} | {row['value']:.6g} "
            f"| {json.dumps(row['settings'])} |"
            for row in self.results.get("rows", [])
        )
        run = self.results.get("run", "unknown")
        steps = self.results.get("steps", "unknown")
        table = f"| evaluation | metric | value | settings |\n|---|---|--:|---|\n{rows}\n"
        shape = ", ".join(map(str, (16, *self.shape)))
        return ModelCard(
            f"---\n{data.to_yaml()}\n---\n\n# {run}\n\n"
            f"A generative model of images after {PAPER}, trained for {steps} steps.\n\n"
            "```python\nimport torch\nfrom dpi.hub import SharedModel\n\n"
            'model = SharedModel.from_pretrained("FOLDER_OR_REPOSITORY")\n'
            f"images = model.sample(torch.randn({shape}))\n```\n\n"
            f"## Evaluation\n\n{table if rows else 'None yet.'}\n\n"
            f"## Configuration\n\n```json\n{configuration}\n```\n"
        )


def _rows(run: Run) -> list[dict[str, Any]]:
    """The rows of evaluate.py for these weights, over all scalars."""
    rows = []
    for path in sorted(run.evaluation.glob("*.json")):
        try:
            rows += read_rows(path)
        except ValueError as error:
            raise UserError(f"{path} is damaged ({error}): evaluate the run again") from None
    return [row for row in rows if row["scalar"] is None and row["weights"] == run.weights]
