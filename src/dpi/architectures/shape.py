"""The one thing that both networks ask of a picture."""

from torch import Tensor


def check_halves(x: Tensor, stride: int) -> None:
    """Raise ValueError unless the height and width of x, (B, C, H, W), are multiples of stride."""
    height, width = x.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(
            f"pictures of {height}x{width} cannot be halved down to the coarsest level: "
            f"height and width must be multiples of {stride}"
        )
