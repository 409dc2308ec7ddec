"""The very script that a plan runs on the host, for plain ssh to run it too.

python -m benchmarks.script DESIRED CREDENTIALS
"""

from __future__ import annotations

import sys
from pathlib import Path

from kbstate.batch import Batch
from kbstate.collect import LEDGER, reads_of
from kbstate.desired import load


def script(desired: Path, credentials: Path) -> str:
    """The facts of the only host of a desired tree, as one script."""
    (host,) = load(desired, credentials).hosts
    return Batch([LEDGER, *reads_of(host.declared)]).script


if __name__ == "__main__":
    sys.stdout.write(script(Path(sys.argv[1]), Path(sys.argv[2])))
