"""The desired state: hosts with their resources, loaded from a directory of Python files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, PrivateAttr, StringConstraints

from kbstate.checks import Check
from kbstate.credentials import Credentials
from kbstate.diff import Declared
from kbstate.errors import DesiredError, DesiredErrors, UsageError, Where, meant
from kbstate.faults import Carried, caller, faults, near, placed
from kbstate.inventory import DnsName, HostName, Inventory, IpText
from kbstate.loading import importable
from kbstate.resource import Line, Resource
from kbstate.secret import Hasher, Secret

HASH_KEY = "kbstate.env", "KBSTATE_HASH_KEY"
T = TypeVar("T")


def _listed(modules: object) -> object:
    """Generators are run here, so that what they raise keeps its place."""
    if not isinstance(modules, Mapping):
        return modules
    try:
        return {name: tuple(items) if isinstance(items, Iterator) else items for name, items in modules.items()}
    except ValueError as error:
        raise Carried from error


class Host(BaseModel):
    """One host, how it is reached, and all that is declared on it, by module."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: HostName
    address: IpText | DnsName
    user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_.-]{0,31}$")] = "root"
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    sudo_password: Secret | None = None
    """Of a user other than root, where sudo asks for one."""
    role: Line = ""
    """Hosts of one role are applied one at a time."""
    modules: Annotated[Mapping[Line, Sequence[InstanceOf[Resource]]], BeforeValidator(_listed)] = Field(
        default_factory=dict
    )
    checks: Sequence[InstanceOf[Check]] = ()
    moved: Mapping[Line, Line] = Field(default_factory=dict)
    """Addresses that were renamed: old → new."""

    _where: Where | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        self._where = caller()

    @property
    def where(self) -> Where | None:
        return self._where

    @cached_property
    def declared(self) -> tuple[Declared, ...]:
        """Every resource, parts included and bound to each other, in declared order. Raises DesiredErrors."""
        found = _merged(_expanded(self.modules))
        first = {item.resource.address: item.resource for item in found}
        return tuple(Declared(_bound(item.resource, first.get), item.module) for item in found)

    @cached_property
    def _by_address(self) -> dict[str, Resource]:
        return {item.resource.address: item.resource for item in self.declared}

    def lookup(self, address: str) -> Resource | None:
        """The declared resource at an address."""
        return self._by_address.get(address)


@dataclass(frozen=True)
class Site:
    """What a desired file may ask for."""

    inventory: Inventory
    credentials: Credentials
    path: Path
    """The directory of the desired state."""


@dataclass(frozen=True)
class Desired:
    """The desired state of all hosts."""

    hosts: tuple[Host, ...]
    hasher: Hasher
    path: Path

    def select(self, names: Sequence[str]) -> tuple[Host, ...]:
        """The hosts of these names, all if there are none. Raises UsageError with a suggestion."""
        known = [host.name for host in self.hosts]
        for name in names:
            if name not in known:
                raise UsageError(f"there is no host '{name}' in {self.path}: {meant(name, known)}")
        return tuple(host for host in self.hosts if host.name in names or not names)


# --- loading ----------------------------------------------------------------------------------------------------


def load(desired: Path, credentials: Path, inventory: Path | None = None) -> Desired:
    """Load and check the desired state, without any connection. Raises DesiredError with all that was found."""
    tree = desired.resolve()
    if not (tree / "hosts.py").is_file():
        raise DesiredError(f"{desired} has no hosts.py: name the directory of the desired state with --desired")
    servers = Inventory.parse(inventory or desired / "servers.tsv") if _has(inventory, desired) else Inventory()
    site = Site(servers, Credentials(credentials), tree)
    with importable(tree):
        loaded = _attempt(lambda: _checked(_hosts(site)), tree)
    key = _attempt(lambda: site.credentials.get(*HASH_KEY), tree)
    return Desired(loaded, Hasher(key.reveal() if key else None), desired)


def _has(inventory: Path | None, desired: Path) -> bool:
    """A tree that asks for no server needs no inventory."""
    return inventory is not None or (desired / "servers.tsv").exists()


def _attempt(work: Callable[[], T], tree: Path) -> T:
    """The result of work that desired files do; whatever they raise becomes errors with a place."""
    try:
        return work()
    except (Exception, SystemExit) as error:
        found = faults(error, tree)
    _refuse(found)  # outside of the handler: what was raised may hold a secret, and is not chained
    raise AssertionError("an exception comes to at least one fault")


def _refuse(errors: Iterable[DesiredError]) -> None:
    """Raises all errors together, each once; two hosts of one role have the same."""
    found = list({str(error): error for error in errors}.values())
    if found:
        raise found[0] if len(found) == 1 else DesiredErrors(found)


def _hosts(site: Site) -> tuple[Host, ...]:
    module = import_module("hosts")
    file = Where(str(site.path / "hosts.py"), 1)
    make = getattr(module, "hosts", None)
    if not callable(make):
        raise DesiredError("it must define a function hosts(site) that returns hosts", near(file))
    result = make(site)
    if not isinstance(result, Iterable):
        raise DesiredError("hosts(site) must return hosts, in a list or one after another", near(file))
    hosts = tuple(result)
    for host in hosts:
        if not isinstance(host, Host):
            raise DesiredError(f"hosts(site) must return hosts, and returned a {type(host).__name__} too", near(file))
    if not hosts:
        raise DesiredError(
            "hosts(site) returns no host: is there a row for one in servers.tsv, with ENV prod?", near(file)
        )
    return hosts


def _checked(hosts: tuple[Host, ...]) -> tuple[Host, ...]:
    errors = list(_same(hosts))
    for host in hosts:
        errors += problems(host)
    _refuse(errors)
    return hosts


def _same(hosts: Sequence[Host]) -> Iterator[DesiredError]:
    """Hosts that are one host."""
    for i, host in enumerate(hosts):
        for other in hosts[:i]:
            if other.name.lower() == host.name.lower():
                yield DesiredError(
                    f"host {host.name} is declared twice: the other is at {near(other.where)}", near(host.where)
                )
            elif (other.address, other.port) == (host.address, host.port):
                message = f"hosts {other.name} and {host.name} have the same address {host.address}: declare one host"
                yield DesiredError(message, near(host.where))


# --- one host ---------------------------------------------------------------------------------------------------


def _expanded(modules: Mapping[str, Sequence[Resource]]) -> Iterator[tuple[Declared, Resource | None]]:
    """Every resource after its parts, each part with the resource that it belongs to."""
    for module, resources in modules.items():
        for resource in resources:
            for item, owner in _with_parts(resource, None):
                yield Declared(item, module), owner


def _with_parts(resource: Resource, owner: Resource | None) -> Iterator[tuple[Resource, Resource | None]]:
    for part in resource.parts():
        part._where = resource.where
        yield from _with_parts(part, owner or resource)
    yield resource, owner


def _merged(items: Iterable[tuple[Declared, Resource | None]]) -> list[Declared]:
    """Each address once: a part gives way to a declaration that says all that it says. Raises DesiredErrors."""
    every = list(items)
    kept: dict[str, tuple[Declared, Resource | None]] = {}
    errors: list[DesiredError] = []
    for item, owner in sorted(every, key=lambda pair: pair[1] is not None):
        address = item.resource.address
        other, other_owner = kept.setdefault(address, (item, owner))
        if other is item:
            continue
        if owner is not None and _says(other.resource, item.resource):
            requires = tuple(dict.fromkeys((*other.resource.requires, *item.resource.requires)))
            kept[address] = (
                Declared(other.resource.model_copy(update={"requires": requires}), other.module),
                other_owner,
            )
        elif owner is not None and other_owner is not None and _says(item.resource, other.resource):
            kept[address] = item, owner
        else:
            errors.append(_clash(item, other, owner))
    _refuse(errors)
    return [kept.pop(item.resource.address)[0] for item, _ in every if item.resource.address in kept]


def _says(one: Resource, other: Resource) -> bool:
    """Whether the one declares all that the other does."""
    return one.absent == other.absent and all(getattr(one, n) == getattr(other, n) for n in other.declared())


def _clash(item: Declared, other: Declared, owner: Resource | None) -> DesiredError:
    address, here, there = item.resource.address, near(item.resource.where), near(other.resource.where)
    if owner is not None:
        return DesiredError(
            f"{owner.address} needs {address} otherwise than it is declared at {there}: make them agree", here
        )
    place = "the other is at the same line" if here == there else f"the other is at {there}"
    return DesiredError(f"{address} is declared twice: {place}", here)


def _bound(resource: Resource, lookup: Callable[[str], Resource | None]) -> Resource:
    try:
        return resource.bound(lookup)
    except DesiredError as error:
        raise placed(error, near(resource.where)) from None
    except ValueError as error:
        raise DesiredError(f"{resource.address}: {error}", near(resource.where)) from None


def problems(host: Host) -> list[DesiredError]:
    """All that is wrong with what is declared on a host, each with its place."""
    try:
        declared = host.declared
    except DesiredError as error:
        return list(error.errors)
    found = [*_moves(host)]
    addresses = dict.fromkeys(item.resource.address for item in declared)
    for item in declared:
        resource = item.resource
        texts = [*resource.problems(), *_loose_ends(resource, addresses)]
        found += [DesiredError(f"{resource.address}: {text}", near(resource.where)) for text in texts]
    return found


def _loose_ends(resource: Resource, declared: Mapping[str, object]) -> Iterator[str]:
    """Addresses that it names and nobody else declares."""

    def others() -> Iterator[str]:
        return (address for address in declared if address != resource.address)

    def known(address: str) -> bool:
        return address in declared and address != resource.address

    for pattern in resource.requires:
        if not known(pattern) and not any(fnmatchcase(address, pattern) for address in others()):
            yield f"requires '{pattern}', which is not declared: {meant(pattern, others())}"
    for name in ("restart_on", "reload_on"):
        for address in getattr(resource, name, ()):
            if not known(address):
                yield f"{name} names '{address}', which is not declared: {meant(address, others())}"


def _moves(host: Host) -> Iterator[DesiredError]:
    known = [item.resource.address for item in host.declared]
    for old, new in host.moved.items():
        if new not in known:
            yield DesiredError(f"moved names '{new}', which is not declared: {meant(new, known)}", near(host.where))
        if old in known:
            yield DesiredError(
                f"moved takes '{old}' away, which is still declared: remove one of the two", near(host.where)
            )
