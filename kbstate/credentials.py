"""The credentials of the site: a directory of `.env` files, whose values become secrets as they are read."""

from __future__ import annotations

from pathlib import Path

from kbstate.secret import Secret


class Credentials:
    """`credentials["redis.env", "REDIS_PASSWORD"]` is a Secret; files are read when they are first asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, place: tuple[str, str]) -> Secret:
        """Raises CredentialError: no such file or key, an empty value, or a file that others can read."""
        raise NotImplementedError

    def text(self, file: str, key: str) -> str:
        """A value that is not secret, such as a user name. Raises CredentialError."""
        raise NotImplementedError

    def get(self, file: str, key: str) -> Secret | None:
        """The secret, or None where the file or the key is not there. Raises CredentialError for all else."""
        raise NotImplementedError
