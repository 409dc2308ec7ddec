"""The inventory of the site, `servers.tsv`: which servers there are, and what each is for."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, PrivateAttr, StringConstraints, ValidationError

from kbstate.errors import DesiredError, DesiredErrors, Where, meant
from kbstate.faults import shown
from kbstate.resource import Account

COLUMNS: dict[str, str] = {
    "ENV": "env",
    "IP_PUBLIQUE": "public_ip",
    "HOSTNAME": "hostname",
    "IP_PRIVEE": "private_ip",
    "FQDN": "fqdn",
    "USER_SSH": "ssh_user",
    "POOL": "pool",
    "ROLE": "role",
    "SUBROLE": "subrole",
    "DOCKER_STACK": "docker_stack",
    "CORE": "core",
    "NOTES": "notes",
}
"""The header, in order, and the field of each column."""

PRODUCTION = "prod"
LARGEST = 4 * 1024 * 1024


def _ip(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        raise ValueError("must be an IP address") from None
    if getattr(address, "scope_id", None):
        raise ValueError("must be an IP address without a zone")
    return str(address)


LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HostName = Annotated[str, StringConstraints(pattern=rf"^{LABEL}$")]
"""One label of a DNS name. Source: RFC 1123, section 2.1."""
DnsName = Annotated[str, StringConstraints(pattern=rf"^{LABEL}(\.{LABEL})*$", max_length=253)]
IpText = Annotated[str, AfterValidator(_ip)]
Word = Annotated[
    str, StringConstraints(pattern=r"^[\p{L}\p{N}_]([\p{L}\p{N}_.,:/+ -]*[\p{L}\p{N}_.+])?$", max_length=200)
]
"""A name that people chose: it is compared, and never part of a command."""


class Server(BaseModel):
    """One row. A column that is empty or `-` is None."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    env: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
    public_ip: IpText | None = None
    hostname: HostName
    private_ip: IpText | None = None
    fqdn: DnsName | None = None
    ssh_user: Account | None = None
    pool: Word | None = None
    role: Word | None = None
    subrole: Word | None = None
    docker_stack: Word | None = None
    core: Word | None = None
    notes: str | None = None

    _where: Where | None = PrivateAttr(default=None)

    @property
    def address(self) -> str:
        """The private address. Raises DesiredError where the row has none."""
        if self.private_ip is None:
            raise DesiredError(f"{self.hostname} has no IP_PRIVEE: fill it in", self._where)
        return self.private_ip


@dataclass(frozen=True)
class Inventory:
    """The servers of production, in the order of the file."""

    servers: tuple[Server, ...] = ()
    path: Path = Path("servers.tsv")

    @classmethod
    def parse(cls, path: Path) -> Inventory:
        """Read the file. Every row is checked, also those that are not of production. Raises DesiredErrors."""
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST + 1)
        except OSError as error:
            raise DesiredError(f"the inventory {path} cannot be read: {error.strerror}") from None
        return cls(parse(data, shown(str(path))), path)

    def __iter__(self) -> Iterator[Server]:
        return iter(self.servers)

    def __len__(self) -> int:
        return len(self.servers)

    def where(self, **fields: str | None) -> tuple[Server, ...]:
        """The servers whose columns have these values: `where(role="lb", subrole="internal-haproxy")`."""
        known = COLUMNS.values()
        for name in fields:
            if name not in known:
                raise DesiredError(f"{self.path} has no column for '{name}': {meant(name, known)}")
        return tuple(s for s in self.servers if all(getattr(s, name) == value for name, value in fields.items()))

    def named(self, hostname: str) -> Server:
        """The server of this name. Raises DesiredError with a suggestion."""
        for server in self.servers:
            if server.hostname == hostname:
                return server
        names = [server.hostname for server in self.servers]
        raise DesiredError(f"{self.path} has no server '{hostname}' of ENV {PRODUCTION}: {meant(hostname, names)}")


def parse(data: bytes, name: str) -> tuple[Server, ...]:
    """The servers of production in a file of this name. Raises DesiredErrors, for anything else than a sound file."""
    if len(data) > LARGEST:
        raise DesiredError(f"it is larger than {LARGEST} bytes: an inventory is small", Where(name, 1))
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    errors: list[DesiredError] = []
    servers: list[Server] = []
    _header(lines[0], Where(name, 1))
    for number, line in enumerate(lines[1:], 2):
        if not line.strip():
            continue
        try:
            servers.append(_row(line, Where(name, number)))
        except DesiredErrors as several:
            errors += several.errors
        except DesiredError as error:
            errors.append(error)
    errors += _twice(servers)
    if errors:
        raise DesiredErrors(errors)
    return tuple(server for server in servers if server.env == PRODUCTION)


def _header(line: bytes, where: Where) -> None:
    if _columns(line, where) != list(COLUMNS):
        raise DesiredError(f"the first line must be the header, tab separated: {' '.join(COLUMNS)}", where)


def _columns(line: bytes, where: Where) -> list[str]:
    try:
        return line.removesuffix(b"\r").decode().split("\t")
    except UnicodeDecodeError:
        raise DesiredError("the line is not UTF-8: save the file as UTF-8", where) from None


def _row(line: bytes, where: Where) -> Server:
    values = _columns(line, where)
    if len(values) != len(COLUMNS):
        found = f"{len(values)} column{'s' if len(values) > 1 else ''}"
        raise DesiredError(f"the row has {found} where {len(COLUMNS)} are expected: check its tabs", where)
    errors = [
        DesiredError(f"{column}: must not contain control characters", where)
        for column, value in zip(COLUMNS, values, strict=True)
        if any(_unseen(c) for c in value)
    ]
    if errors:
        raise DesiredErrors(errors)
    texts = (value.strip(" ") for value in values)
    fields = {f: text for f, text in zip(COLUMNS.values(), texts, strict=True) if text not in ("", "-")}
    try:
        server = Server.model_validate(fields)
    except ValidationError as error:
        raise DesiredErrors([_fault(str(f["loc"][0]), f["type"], where) for f in error.errors()]) from None
    server._where = where
    return server


def _unseen(character: str) -> bool:
    """Control characters, line separators, and what turns the direction of text."""
    category = unicodedata.category(character)
    return category in ("Cc", "Zl", "Zp") or character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


EXPECTED = {
    "env": "a name in small letters such as prod",
    "public_ip": "an IP address, or - for none",
    "hostname": "letters, digits and hyphens, not beginning with a hyphen",
    "private_ip": "an IP address, or - for none",
    "fqdn": "a DNS name, or - for none",
    "ssh_user": "the name of a login user, or - for none",
}


def _fault(field: str, type: str, where: Where) -> DesiredError:
    column = next(column for column, name in COLUMNS.items() if name == field)
    if type == "missing":
        return DesiredError(f"{column}: is empty", where)
    return DesiredError(f"{column}: must be {EXPECTED.get(field, 'letters, digits and _ . , : / + -')}", where)


def _twice(servers: list[Server]) -> Iterator[DesiredError]:
    """Names and private addresses belong to one server of an environment."""
    first: dict[tuple[str, str, str], Server] = {}
    for server in servers:
        for column, value in (("HOSTNAME", server.hostname.lower()), ("IP_PRIVEE", server.private_ip)):
            if value is None:
                continue
            other = first.setdefault((server.env, column, value), server)
            if other is not server and other._where:
                message = f"{column}: {value} is in line {other._where.line} already, in the same ENV"
                yield DesiredError(message, server._where)
