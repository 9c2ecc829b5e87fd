"""Images to features: one pass of a feature network, the features of each chunk kept on disk."""

import hashlib
import pickle
import sys
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from einops import rearrange
from lightning.fabric import Fabric
from torch import Tensor
from torch_fidelity import feature_extractor_inceptionv3
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

from dpi.data import save_npz
from dpi.data.npz import is_whole
from dpi.errors import UserError
from dpi.evaluation.samples import Shards
from dpi.progress import Progress
from dpi.runs.check import check_feature_channels
from dpi.runs.run import hash_weights

INCEPTION = "inception-v3-compat"
"""Inception-v3 with the weights of 2015-12-05, as FID was defined; torch-fidelity's name."""

SPATIAL_CHANNELS = 7
"""sFID takes the first 7 channels of block 6d's 1x1 branch, at 17 x 17 positions."""

CHUNK = 500
"""Images whose features are kept together."""


class Features(NamedTuple):
    """The features of N images; float32."""

    pool: np.ndarray
    """(N, D): for FID, KID, precision and recall; D is 2048 for Inception."""
    spatial: np.ndarray | None
    """(N, 2023): for sFID, positions before channels as in guided-diffusion; Inception only."""
    logits: np.ndarray | None
    """(N, 1008): for the Inception Score; Inception only."""


class FeatureNetwork(Protocol):
    """What maps images to features."""

    name: str
    weights: str
    """Identifies its weights."""
    size: int
    """D, the number of pooled features of an image."""
    is_inception: bool
    """Whether it has spatial features and logits, too."""

    def __call__(self, images: np.ndarray) -> Features:
        """(B, H, W, C) uint8 images to features."""


class Extractor:
    """A feature network of torch-fidelity's registry. All are of RGB images; a greyscale image is
    repeated to three channels.

    Args:
        name: its registered name, such as inception-v3-compat, clip-vit-b-32, dinov2-vit-b-14.
        weights: a file of its weights; None lets torch-fidelity download them.
        device: where it runs.

    Raises:
        UserError: no such network; its weights are not there, cannot be downloaded, hold code,
            or belong to another network.
    """

    def __init__(
        self, name: str = INCEPTION, weights: str | None = None, device: str | torch.device = "cpu"
    ) -> None:
        if name not in FEATURE_EXTRACTORS_REGISTRY:
            known = ", ".join(FEATURE_EXTRACTORS_REGISTRY)
            raise UserError(f"extractor={name}: torch-fidelity has {known}")
        kind = FEATURE_EXTRACTORS_REGISTRY[name]
        self.name = name
        self.pool = kind.get_default_feature_layer_for_metric("fid")
        wanted = [self.pool]
        self.is_inception = issubclass(
            kind, feature_extractor_inceptionv3.FeatureExtractorInceptionV3
        )
        if self.is_inception:
            wanted.append(kind.get_default_feature_layer_for_metric("isc"))
        if weights is not None:
            _refuse_code(Path(weights))
        try:
            network = kind(name, wanted, feature_extractor_weights_path=weights, verbose=True)
        except OSError as error:
            raise UserError(_no_download(name, error)) from error
        except (RuntimeError, ValueError, KeyError) as error:
            line = str(error).splitlines()[0]
            raise UserError(f"weights={weights} are not those of {name}: {line}") from error
        self.weights = hash_weights(network)
        """Eight hexadecimal digits that identify its weights."""
        self.device = torch.device(device)
        self._network = network.to(self.device).eval()
        if self.is_inception:
            network.Mixed_6d.branch1x1.register_forward_hook(self._keep_spatial)

    def _keep_spatial(self, module: torch.nn.Module, inputs: tuple, output: Tensor) -> None:
        self._spatial = rearrange(output[:, :SPATIAL_CHANNELS], "b c h w -> b (h w c)")

    @cached_property
    def size(self) -> int:
        """D, the number of pooled features of an image."""
        return self(np.zeros((1, 64, 64, 3), np.uint8)).pool.shape[1]

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> Features:
        """(B, H, W, C) uint8 images to features."""
        check_feature_channels(images.shape[-1])
        x = rearrange(torch.from_numpy(images), "b h w c -> b c h w").to(self.device)
        x = x.expand(-1, 3, -1, -1)  # a grey image is one whose channels are equal
        # Features are compared with those of other programs: full float32.
        with torch.backends.cudnn.flags(allow_tf32=False):
            pool, *logits = self._network(x)
        if not self.is_inception:
            return Features(pool.cpu().numpy(), None, None)
        return Features(pool.cpu().numpy(), self._spatial.cpu().numpy(), logits[0].cpu().numpy())


class Chunks(Sequence[np.ndarray]):
    """Some of (N, H, W, C) uint8 images, in parts of CHUNK that are read when asked for."""

    def __init__(self, images: np.ndarray, indices: np.ndarray | None = None) -> None:
        self.images = images
        self.indices = np.arange(len(images)) if indices is None else indices
        count = len(self.indices)
        self.sizes = [min(CHUNK, count - first) for first in range(0, count, CHUNK)]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, i: int) -> np.ndarray:
        indices = self.indices[i * CHUNK : i * CHUNK + self.sizes[i]]
        return np.ascontiguousarray(self.images[indices])


def extract(
    images: Chunks | Shards,
    extractor: FeatureNetwork,
    cache: Path,
    batch_size: int,
    fabric: Fabric,
) -> Features:
    """Features of all images.

    Args:
        images: in chunks, each (B, H, W, C) uint8.
        extractor: the network.
        cache: a folder. A chunk's features are kept there under the hash of its images, so that an
            interruption loses one chunk, and nothing is computed twice.
        batch_size: images at once; does not change the features but for rounding.
        fabric: the processes, which share the chunks among them.

    Returns:
        The features of all images on the first process, empty ones on the others.
    """
    folder = cache / "features" / f"{extractor.name}-{extractor.weights}"
    paths = []
    total = sum(images.sizes)
    bar = Progress(total=total, desc="Features", unit="image", disable=not fabric.is_global_zero)
    with bar:
        for i, chunk in enumerate(images):
            path = folder / f"{_hash(chunk)}.npz"
            paths.append(path)
            if i % fabric.world_size != fabric.global_rank or is_whole(path):
                bar.update(len(chunk))
                continue
            parts = []
            for first in range(0, len(chunk), batch_size):
                parts.append(extractor(chunk[first : first + batch_size]))
                bar.update(len(parts[-1].pool))
            _save(path, _joined(parts))
    fabric.barrier()
    if not fabric.is_global_zero:
        return Features(np.empty((0, 0)), None, None)
    return _joined([_load(path) for path in paths])


def warn_of_few(count: int, network: FeatureNetwork, metric: str) -> None:
    """Say on stderr that there are too few samples for a Frechet distance, if there are."""
    if count <= network.size:
        print(
            f"warning: {count:,} samples are fewer than the {network.size + 1:,} for which a "
            f"covariance of {network.size:,} features is regular: this {metric} is far above that "
            f"of more samples; compare it only with that of as many",
            file=sys.stderr,
        )


def _hash(chunk: np.ndarray) -> str:
    return hashlib.sha256(repr(chunk.shape).encode() + chunk.tobytes()).hexdigest()[:24]


def _joined(parts: list[Features]) -> Features:
    return Features(
        *(None if field[0] is None else np.concatenate(field) for field in zip(*parts, strict=True))
    )


def _save(path: Path, features: Features) -> None:
    known = {name: array for name, array in features._asdict().items() if array is not None}
    save_npz(path, known)


def _load(path: Path) -> Features:
    with np.load(path, allow_pickle=False) as file:
        return Features(*(file.get(name) for name in Features._fields))


WEIGHTS = "eval.fidelity.weights=FILE (of scripts/reference_stats.py --weights)"


def _refuse_code(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"there is no file {path}: give the feature network's weights, {WEIGHTS}")
    try:
        torch.load(path, map_location="meta", weights_only=True)
    except (pickle.UnpicklingError, EOFError, zipfile.BadZipFile):
        raise UserError(f"{path} holds no weights, or code, which is not run") from None
    except RuntimeError as error:
        # CLIP's are TorchScript, which is read by a reader of its own.
        if "TorchScript" not in str(error):
            raise UserError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None


def _no_download(name: str, error: OSError) -> str:
    reason = str(error).splitlines()[0]
    if name != INCEPTION:
        return f"the weights of {name} cannot be downloaded ({reason}): give {WEIGHTS}"
    url = feature_extractor_inceptionv3.URL_INCEPTION_V3
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return (
        f"the weights of {name} cannot be downloaded ({reason}): get {url} elsewhere and put it "
        f"into {folder}, or give {WEIGHTS}"
    )
