"""`kbstate` and `python -m kbstate`. The version is told before anything else is imported."""

from __future__ import annotations

import sys


def main() -> int:
    """The exit code; everything has been printed."""
    arguments = sys.argv[1:]
    if "--version" in arguments and arguments[0] != "lab":
        from importlib.metadata import version

        print(f"kbstate {version('kbstate')}")
        return 0
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # whatever the terminal cannot show
    from kbstate.cli import run

    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
