"""A run in, rows of numbers out: what the paper's tables and figures show."""

from dpi.evaluation.flops import count_flops
from dpi.evaluation.frechet import frechet_distance
from dpi.evaluation.neighbours import density_coverage, precision_recall

__all__ = ["count_flops", "density_coverage", "frechet_distance", "precision_recall"]
