"""The status of every run: python status.py [FOLDER]"""

import sys
from pathlib import Path

from dpi.cli import one_line
from dpi.errors import UserError
from dpi.runs.status import status

if __name__ == "__main__":
    with one_line():
        if len(sys.argv) > 2 or sys.argv[-1].startswith("-"):
            raise UserError("one folder at most: python status.py [FOLDER]")
        print(status(Path(sys.argv[1] if len(sys.argv) > 1 else "outputs")))
