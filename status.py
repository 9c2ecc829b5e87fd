"""The status of every run: python status.py [FOLDER]"""

import sys
from pathlib import Path

from dpi.cli import one_line
from dpi.errors import UserError
from dpi.runs.status import status

if __name__ == "__main__":
    with one_line():
        words = sys.argv[1:] or ["outputs"]
        if words[0] in ("-h", "--help"):
            sys.exit(print(__doc__))
        _, is_key, folder = words[0].partition("=")
        if len(words) > 1 or is_key:
            raise UserError(f"one folder at most: python status.py {folder or '[FOLDER]'}")
        print(status(Path(words[0])))
