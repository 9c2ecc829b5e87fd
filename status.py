"""How the runs of each sweep stand: python status.py"""

from pathlib import Path

from dpi.configuration import one_line
from dpi.sweeps.status import status

if __name__ == "__main__":
    with one_line():
        print(status(Path("outputs/sweeps")))
