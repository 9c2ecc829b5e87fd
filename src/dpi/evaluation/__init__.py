"""A checkpoint in, rows of numbers out: Tables 1 to 5 and Figure 4 of the paper."""

from dpi.evaluation.flops import count_flops
from dpi.evaluation.frechet import frechet_distance
from dpi.evaluation.neighbours import precision_recall

__all__ = ["count_flops", "frechet_distance", "precision_recall"]
