"""What is corrupted, what is predicted, how one samples."""

from dpi.frameworks.diffusion import VPDiffusion
from dpi.frameworks.flow import FlowMatching

Framework = VPDiffusion | FlowMatching

__all__ = ["FlowMatching", "Framework", "VPDiffusion"]
