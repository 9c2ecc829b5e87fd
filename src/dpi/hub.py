"""Models on the Hugging Face Hub: safetensors and a JSON configuration, through huggingface_hub.

Loading opens no pickle and instantiates nothing that is not dpi's own.
"""

import copy
import glob
import inspect
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, hf_hub_download
from omegaconf import OmegaConf
from safetensors.torch import load_model, save_model
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
from dpi.runs.build import MODEL, build, image_shape
from dpi.runs.record import refuse_interpolations
from dpi.runs.rows import read_rows
from dpi.runs.run import Run
from dpi.runs.trust import refuse_foreign_code

TAGS = ["deep-parameter-interpolation"]
WEIGHTS = "model.safetensors"
CARD = Path(__file__).with_name("model_card.md.j2")


class Safetensors(ModelHubMixin):
    """save_pretrained, from_pretrained and push_to_hub of a module; its weights are safetensors."""

    def _save_pretrained(self, save_directory: Path) -> None:
        save_model(self, str(save_directory / WEIGHTS))

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        config: dict[str, Any] | None,
        map_location: str = "cpu",
        **options: Any,
    ) -> Any:
        download = ("revision", "cache_dir", "force_download", "local_files_only", "token")
        how = {key: options.pop(key) for key in download}
        known = inspect.signature(cls).parameters
        for key, value in (config or {}).items():
            if key not in known and value is not None:
                raise UserError(f"{model_id}: {key}={value} is not known to this version of dpi")
        if not Path(model_id).is_dir():
            file = hf_hub_download(model_id, WEIGHTS, **how)
        elif not (file := Path(model_id, WEIGHTS)).is_file():
            raise UserError(f"{model_id} holds no {WEIGHTS}, and pickles are not opened")
        model = cls(**options)
        try:
            load_model(model, file, device=map_location)
        except RuntimeError as error:
            line = " ".join(str(error).split())
            raise UserError(f"{file} belongs to another network: {line}") from None
        return model.eval()


class SharedInterpolated(Interpolated, Safetensors, library_name="dpi", tags=TAGS):
    """`interpolate(net, ...)` with save_pretrained, from_pretrained and push_to_hub.

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


class SharedModel(nn.Module, Safetensors):
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
        cfg = OmegaConf.create(model)
        where = "this model's configuration"
        refuse_interpolations(cfg, where)
        refuse_foreign_code(cfg, where)
        self.framework, self.network = build(cfg)
        self.model = model
        self.shape = image_shape(cfg)
        """(C, H, W) of its images."""
        self.described: dict[str, Any] = {"title": "A conditioned generative model"}

    @classmethod
    def from_run(cls, run: Run) -> "SharedModel":
        """The averaged weights of a trained model; its card has the rows of its evaluations."""
        shared = cls(model={key: OmegaConf.to_container(run.cfg)[key] for key in MODEL})
        shared.network.load_state_dict(run.network.state_dict())
        rows = [row for path in sorted(run.evaluation.glob("*.json")) for row in read_rows(path)]
        shared.described = {
            "title": f"{run.folder.name}, trained for {run.step} steps",
            "rows": [r for r in rows if r["scalar"] is None and r["weights"] == run.weights],
        }
        return shared.eval()

    def forward(self, x: Tensor, s: Tensor | float) -> Tensor:
        """The predicted noise or velocity, (B, C, H, W); see the framework's `corrupt`."""
        return predict(self.framework, self.network, x, torch.as_tensor(s))

    def sample(self, noise: Tensor, num_steps: int = 200) -> Tensor:
        """Noise, (B, C, H, W), standard normal, to images in [-1, 1]."""
        return self.framework.sample(self.network, noise, num_steps)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The run's configuration and evaluation."""
        return ModelCard.from_template(
            ModelCardData(library_name="dpi", tags=[*TAGS, "unconditional-image-generation"]),
            template_path=str(CARD),
            shape=self.shape,
            configuration=json.dumps(self.model, indent=2),
            **self.described,
        )
