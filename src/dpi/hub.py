"""Models on the Hugging Face Hub: safetensors and a JSON configuration, through huggingface_hub.

Loading opens no pickle and instantiates nothing that is not dpi's own.
"""

import json
from pathlib import Path
from typing import Any

import torch

try:
    from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, hf_hub_download
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{error}: pip install 'dpi[train]'", name=error.name) from None
from omegaconf import OmegaConf
from safetensors.torch import save_model
from torch import Tensor, nn

from dpi.errors import UserError
from dpi.frameworks import predict
from dpi.runs.build import build, image_shape
from dpi.runs.check import check
from dpi.runs.checkpoint import load_weights, read_weights
from dpi.runs.files import read_json
from dpi.runs.record import MODEL, VALUES, refuse_interpolations
from dpi.runs.rows import read_rows
from dpi.runs.run import Run
from dpi.runs.trust import refuse_foreign_code

TAGS = ["deep-parameter-interpolation"]
WEIGHTS = "model.safetensors"
CARD = Path(__file__).with_name("model_card.md.j2")


class SharedModel(nn.Module, ModelHubMixin, library_name="dpi", tags=TAGS):
    """A conditioned model g(x, s) of this repository, with its framework.

        SharedModel.from_run(open_run("outputs/...")).save_pretrained("folder")
        >>> model = SharedModel.from_pretrained("examples/model")
        >>> model.sample(torch.randn(4, *model.shape), num_steps=2).shape
        torch.Size([4, 3, 16, 16])

    Args:
        model: the configuration of the network: framework, arch, cond, image_size,
            image_channels.

    Raises:
        UserError: it names code from outside dpi, or the files are missing, damaged, or do not
            belong together.
    """

    def __init__(self, model: dict[str, Any]) -> None:
        super().__init__()
        refuse_interpolations(model, "this model's configuration")
        cfg = OmegaConf.create(model)
        refuse_foreign_code(cfg, "this model's configuration")
        check(cfg, VALUES, "this model's configuration: ", others=[*cfg])
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
        rows = (row for path in sorted(run.evaluation.glob("*.json")) for row in read_rows(path))
        own = (row for row in rows if row.get("weights") == run.weights)
        shared.described = {
            "title": f"{run.folder.name}, trained for {run.step} steps",
            "rows": [row for row in own if row.get("scalar") is None],
        }
        return shared.eval()

    def _save_pretrained(self, save_directory: Path) -> None:
        save_model(self, str(save_directory / WEIGHTS))

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | Path, map_location: str = "cpu", **download: Any
    ) -> "SharedModel":
        """A model in a folder, or on the Hub; `download` is what `hf_hub_download` takes."""
        # That of huggingface_hub trusts config.json.
        source = str(pretrained_model_name_or_path)
        config, weights = (_file(source, name, download) for name in ("config.json", WEIGHTS))
        try:
            values = read_json(config)
        except (OSError, ValueError) as error:
            raise UserError(f"{config} cannot be read: {error}") from None
        model = values.get("model") if isinstance(values, dict) else None
        if not isinstance(model, dict) or not set(MODEL) <= model.keys():
            raise UserError(f"{config} holds no model, or is damaged")
        shared = cls(model)
        if not weights.is_file():
            raise UserError(f"{source} holds no {WEIGHTS}, and pickles are not opened")
        load_weights(shared.network, read_weights(weights), weights)
        return shared.to(map_location).eval()

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


def _file(source: str, name: str, download: dict[str, Any]) -> Path:
    folder = Path(source)
    if folder.is_dir():
        return folder / name
    if folder.parent != Path() and folder.parent.exists():
        raise UserError(f"{source} does not exist")
    try:
        return Path(hf_hub_download(source, name, **download))
    except (OSError, ValueError) as error:
        line = " ".join(str(error).split())
        raise UserError(f"{source} is no folder, and the Hub has no such model: {line}") from error
