"""The credentials of the site: a directory of `.env` files, whose values become secrets as they are read.

A file has lines `KEY=value`, with `export` before and a comment after if need be. A value in single quotes is literal;
in double quotes a backslash takes the meaning of `"`, `\\`, `$` and `` ` `` away. Nothing is interpolated or executed.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from kbstate.errors import CredentialError, Where, meant
from kbstate.faults import shown
from kbstate.secret import Secret

LARGEST = 1024 * 1024
ASSIGNMENT = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
DOUBLE_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"[ \t]*(?:#.*)?', re.DOTALL)
SINGLE_QUOTED = re.compile(r"'([^']*)'[ \t]*(?:#.*)?", re.DOTALL)


class Credentials:
    """`credentials["redis.env", "REDIS_PASSWORD"]` is a Secret; files are read when they are first asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, dict[str, Secret]] = {}

    def __repr__(self) -> str:
        return f"Credentials({str(self.path)!r})"

    def __getitem__(self, place: tuple[str, str]) -> Secret:
        """Raises CredentialError: no such file or key, an empty value, or a file that others can read."""
        file, key = place
        secret = self.get(file, key)
        if secret is not None:
            return secret
        if file not in self._files:
            raise CredentialError(f"{file}: {key} is missing: there is no file {self.path / file}")
        raise CredentialError(f"{file}: {key} is missing in {self.path / file}: {meant(key, self._files[file])}")

    def text(self, file: str, key: str) -> str:
        """A value that is not secret, such as a user name. Raises CredentialError."""
        return self[file, key].reveal().decode()

    def get(self, file: str, key: str) -> Secret | None:
        """The secret, or None where the file or the key is not there. Raises CredentialError for all else."""
        if file not in self._files:
            data = self._read(file)
            if data is None:
                return None
            values = parse(data, shown(str(self.path / file)))
            self._files[file] = {name: Secret(value, f"{file}: {name}") for name, value in values.items()}
        secret = self._files[file].get(key)
        if secret is not None and not secret.reveal():
            raise CredentialError(f"{file}: {key} is empty in {self.path / file}: fill it in")
        return secret

    def _read(self, file: str) -> bytes | None:
        """The bytes of a file that nobody else can read; None if there is none."""
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", file):
            raise CredentialError(f"{file!r} is no name of a file of credentials: name one such as redis.env")
        path = self.path / file
        try:
            with path.open("rb") as opened:
                state = os.fstat(opened.fileno())
                if state.st_mode & 0o077 and not self.path.resolve().name.endswith(".example"):
                    mode = f"{stat.S_IMODE(state.st_mode):04o}"
                    raise CredentialError(f"{path} can be read by others (mode {mode}): chmod 600 {path}")
                data = opened.read(LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CredentialError(f"{path} cannot be read: {error.strerror}") from None
        if len(data) > LARGEST:
            raise CredentialError(f"{path} is larger than {LARGEST} bytes: it is no file of credentials")
        return data


def parse(data: bytes, name: str) -> dict[str, str]:
    """The values of a file of this name. Raises CredentialError, which shows places and keys, never a value."""
    values: dict[str, str] = {}
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        where = Where(name, number)
        try:
            text = line.removesuffix(b"\r").decode().strip(" \t")
        except UnicodeDecodeError:
            raise CredentialError("the line is not UTF-8: save the file as UTF-8", where) from None
        if not text or text.startswith("#"):
            continue
        found = ASSIGNMENT.fullmatch(text)
        if found is None:
            raise CredentialError("the line is not KEY=value, without spaces around the '='", where)
        key, value = found.groups()
        if key in values:
            raise CredentialError(f"{key} is set a second time: remove one of the two", where)
        values[key] = _value(key, value, where)
    return values


def _value(key: str, text: str, where: Where) -> str:
    if any((ord(c) < 32 and c != "\t") or ord(c) == 127 for c in text):
        raise CredentialError(f"{key} contains a control character", where)
    if text[:1] not in ('"', "'"):
        return "" if text.startswith("#") else re.split(r"[ \t]+#", text, maxsplit=1)[0].rstrip(" \t")
    quoted = (DOUBLE_QUOTED if text[0] == '"' else SINGLE_QUOTED).fullmatch(text)
    if quoted is None:
        raise CredentialError(f"{key} must end with its closing quote, and nothing but a comment after it", where)
    return re.sub(r'\\(["\\$`])', r"\1", quoted[1]) if text[0] == '"' else quoted[1]
