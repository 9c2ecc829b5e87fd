"""Evaluation results of all runs in tables, figures, paired differences and one HTML page.

From files to files: `frame` reads the runs into one long DataFrame, `results_csv` keeps it,
`tables` groups it into tables, `pairs` compares their rows seed by seed, `formats`, `figures` and
`page` render, `write` does it all. Imports neither torch nor lightning.
"""

from dpi.reporting.write import report

__all__ = ["report"]
