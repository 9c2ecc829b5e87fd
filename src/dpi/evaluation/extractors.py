"""Feature networks by name: Inception and others of torch-fidelity; pixels and a random network,
which need no download."""

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F
from torch_fidelity import feature_extractor_inceptionv3
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from dpi.data import to_unit
from dpi.errors import UserError
from dpi.evaluation.features import FeatureNetwork, Features
from dpi.precision import forbid_tf32
from dpi.runs.run import hash_weights

INCEPTION = "inception-v3-compat"
"""Inception-v3 with the weights of 2015-12-05, as FID was defined; torch-fidelity's name."""

SPATIAL_CHANNELS = 7
"""sFID takes the first 7 channels of block 6d's 1x1 branch, at 17 x 17 positions."""

SIDE = 16
"""Larger images are averaged down to SIDE x SIDE, so that their covariance has 768 rows at most."""

CHANNELS = (32, 64, 128)
"""Of the layers of the random network."""

OFFLINE = ("pixels", "random")
"""The networks that need no weights, for images of any channels."""

WEIGHTS = "eval.fidelity.weights=FILE (of scripts/reference_stats.py --weights)"


def feature_network(
    name: str, weights: str | None = None, device: str | torch.device = "cpu"
) -> FeatureNetwork:
    """A feature network. Those of torch-fidelity are of RGB images; a greyscale image is repeated
    to three channels.

    Args:
        name: inception, pixels, random, or a name of torch-fidelity's registry, such as
            dinov2-vit-b-14 or clip-vit-b-32.
        weights: a file of the weights of one of torch-fidelity's; None lets it download them.
        device: where it runs.

    Raises:
        UserError: no such network; its weights are not there, cannot be downloaded, hold code,
            or belong to another network.
    """
    forbid_tf32()  # features are compared with those of other programs
    if name not in OFFLINE:
        name = INCEPTION if name == "inception" else name
        return pretrained_network(name, weights, torch.device(device))
    if weights is not None:
        raise UserError(f"weights={weights}: extractor={name} takes none")
    return PIXELS if name == "pixels" else random_network(torch.device(device))


def pixels(images: np.ndarray) -> Features:
    """An image's pixels, in [-1, 1], averaged to SIDE x SIDE if there are more."""
    x = to_unit(_channels_first(images))
    x = F.adaptive_avg_pool2d(x, [min(side, SIDE) for side in x.shape[2:]])
    return {"pool": x.flatten(1).numpy()}


PIXELS = FeatureNetwork("pixels", f"{SIDE}x{SIDE}", pixels)


def random_network(device: torch.device) -> FeatureNetwork:
    """Three 3x3 convolutions with stride 2, each followed by a ReLU; the features are the mean and
    the maximum of every channel of every layer.

    Random networks are what Naeem et al. (2020) use for images that ImageNet has none of.
    """

    def features(images: np.ndarray) -> Features:
        x = to_unit(_channels_first(images)).to(device)
        pooled = []
        for kernel in random_kernels(images.shape[-1]):
            weight = torch.from_numpy(kernel).to(device)
            x = F.conv2d(x, weight, stride=2, padding=1).relu()
            pooled += [x.mean(dim=(2, 3)), x.amax(dim=(2, 3))]
        return {"pool": torch.cat(pooled, dim=1).cpu().numpy()}

    numbers = b"".join(kernel.tobytes() for kernel in random_kernels(3))
    return FeatureNetwork("random", hashlib.sha256(numbers).hexdigest()[:8], features)


def random_kernels(image_channels: int) -> list[np.ndarray]:
    """Normal with variance 2 / fan-in, from the generator of NumPy whose numbers never change."""
    normal = np.random.RandomState(0).standard_normal
    return [
        (normal((outputs, inputs, 3, 3)) * (2 / (9 * inputs)) ** 0.5).astype(np.float32)
        for inputs, outputs in pairwise((image_channels, *CHANNELS))
    ]


def check_channels(name: str, channels: int) -> None:
    """Raise UserError for images that a network does not take."""
    if name not in OFFLINE and channels not in (1, 3):
        raise UserError(
            f"eval=fidelity: these images have {channels} channels, and this extractor takes RGB "
            "or greyscale: use eval.fidelity.extractor=pixels or random"
        )


def pretrained_network(name: str, weights: str | None, device: torch.device) -> FeatureNetwork:
    """A network of torch-fidelity's registry, see `feature_network`."""
    if name not in FEATURE_EXTRACTORS_REGISTRY:
        known = ", ".join(("inception", *OFFLINE, *FEATURE_EXTRACTORS_REGISTRY))
        raise UserError(f"extractor={name}: choose from {known}")
    kind = FEATURE_EXTRACTORS_REGISTRY[name]
    layers = [kind.get_default_feature_layer_for_metric("fid")]
    if name == INCEPTION:
        layers.append(kind.get_default_feature_layer_for_metric("isc"))
    if weights is not None:
        _refuse_code(Path(weights))
    try:
        network = kind(name, layers, feature_extractor_weights_path=weights, verbose=True)
    except OSError as error:
        raise UserError(_no_download(name, error)) from error
    except (RuntimeError, ValueError, KeyError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"weights={weights} are not those of {name}: {line}") from error
    network = network.to(device).eval()
    spatial = {}

    def keep(module: torch.nn.Module, inputs: tuple, output: Tensor) -> None:
        spatial["spatial"] = rearrange(output[:, :SPATIAL_CHANNELS], "b c h w -> b (h w c)")

    if name == INCEPTION:
        network.Mixed_6d.branch1x1.register_forward_hook(keep)

    @torch.inference_mode()
    def features(images: np.ndarray) -> Features:
        check_channels(name, images.shape[-1])
        # A grey image is one whose channels are equal.
        x = _channels_first(images).to(device).expand(-1, 3, -1, -1)
        found = dict(zip(("pool", "logits"), network(x), strict=False)) | spatial
        return {kind: values.cpu().numpy() for kind, values in found.items()}

    return FeatureNetwork(name, hash_weights(network)[:8], features)


def _channels_first(images: np.ndarray) -> Tensor:
    return rearrange(torch.from_numpy(images), "b h w c -> b c h w")


def _refuse_code(path: Path) -> None:
    try:
        torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:  # whatever the file is
        # CLIP's are TorchScript, which is read by a reader of its own.
        if not (isinstance(error, RuntimeError) and "TorchScript archives" in str(error)):
            raise UserError(f"{path} holds no weights, or code, which is not run") from None


def _no_download(name: str, error: OSError) -> str:
    url = feature_extractor_inceptionv3.URL_INCEPTION_V3
    where = f"get {url} elsewhere, and " if name == INCEPTION else ""
    reason = str(error).splitlines()[0]
    return f"the weights of {name} cannot be downloaded ({reason}): {where}give {WEIGHTS}"
