"""`python -m kbstate.lab` is `kbstate lab`."""

from __future__ import annotations

import sys

from kbstate.errors import KbstateError
from kbstate.lab.cli import app

if __name__ == "__main__":
    try:
        app(prog_name="kbstate lab")
    except KbstateError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
