"""What files are made of: the bytes of a file beside the desired state, or a template filled with values."""

from __future__ import annotations

from pathlib import Path

from kbstate.secret import Secret


def from_file(path: str | Path) -> str | bytes:
    """The content of a file: text where it is UTF-8, else bytes. A relative path is taken from the calling file.

    Raises DesiredError.
    """
    raise NotImplementedError


def template(path: str | Path, **values: object) -> str | Secret:
    """A Jinja2 template filled with values; a Secret if any of them is or holds one. Nothing is escaped.

    A relative path is taken from the calling file. Raises DesiredError, naming file and line of the template.
    """
    raise NotImplementedError
