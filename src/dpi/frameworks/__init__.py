"""Generative frameworks: how images are corrupted, what is predicted, how samples are drawn."""

from dpi.frameworks.diffusion import VPDiffusion
from dpi.frameworks.flow import FlowMatching
from dpi.frameworks.framework import Framework
from dpi.frameworks.loss import loss
from dpi.frameworks.precondition import predict
from dpi.frameworks.samplers import ddim, euler

__all__ = ["FlowMatching", "Framework", "VPDiffusion", "ddim", "euler", "loss", "predict"]
