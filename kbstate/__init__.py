"""The names that a desired file needs, each imported when it is first used: `import kbstate` itself costs nothing."""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know it by its name, and importing typing takes longer than all of this

if TYPE_CHECKING:
    from kbstate.checks import Check as Check
    from kbstate.checks import ContainerCheck as ContainerCheck
    from kbstate.checks import HaproxyCheck as HaproxyCheck
    from kbstate.checks import PortCheck as PortCheck
    from kbstate.checks import Verdict as Verdict
    from kbstate.containers.types import HealthCheck as HealthCheck
    from kbstate.content import from_file as from_file
    from kbstate.content import template as template
    from kbstate.credentials import Credentials as Credentials
    from kbstate.desired import Host as Host
    from kbstate.desired import Site as Site
    from kbstate.errors import CredentialError as CredentialError
    from kbstate.errors import DesiredError as DesiredError
    from kbstate.inventory import Inventory as Inventory
    from kbstate.inventory import Server as Server
    from kbstate.kinds.apt_repository import AptRepository as AptRepository
    from kbstate.kinds.authorized_key import AuthorizedKey as AuthorizedKey
    from kbstate.kinds.container import Container as Container
    from kbstate.kinds.cron import Cron as Cron
    from kbstate.kinds.directory import Directory as Directory
    from kbstate.kinds.docker import Docker as Docker
    from kbstate.kinds.docker_network import DockerNetwork as DockerNetwork
    from kbstate.kinds.dropin import DropIn as DropIn
    from kbstate.kinds.file import File as File
    from kbstate.kinds.firewall import Firewall as Firewall
    from kbstate.kinds.group import Group as Group
    from kbstate.kinds.hostname import Hostname as Hostname
    from kbstate.kinds.hosts import HostsFile as HostsFile
    from kbstate.kinds.image import Image as Image
    from kbstate.kinds.kernel_module import KernelModule as KernelModule
    from kbstate.kinds.mount import Mount as Mount
    from kbstate.kinds.network_interface import NetworkInterface as NetworkInterface
    from kbstate.kinds.package import Package as Package
    from kbstate.kinds.resolver import Resolver as Resolver
    from kbstate.kinds.service import Service as Service
    from kbstate.kinds.swap import Swap as Swap
    from kbstate.kinds.symlink import Symlink as Symlink
    from kbstate.kinds.sysctl import Sysctl as Sysctl
    from kbstate.kinds.time_sync import TimeSync as TimeSync
    from kbstate.kinds.timezone import Timezone as Timezone
    from kbstate.kinds.unit import Unit as Unit
    from kbstate.kinds.user import User as User
    from kbstate.kinds.volume import Volume as Volume
    from kbstate.nft import Allow as Allow
    from kbstate.resource import Resource as Resource
    from kbstate.secret import Secret as Secret

    __version__: str

NAMES: dict[str, str] = {
    "Allow": "kbstate.nft",
    "AptRepository": "kbstate.kinds.apt_repository",
    "AuthorizedKey": "kbstate.kinds.authorized_key",
    "Check": "kbstate.checks",
    "Container": "kbstate.kinds.container",
    "ContainerCheck": "kbstate.checks",
    "CredentialError": "kbstate.errors",
    "Credentials": "kbstate.credentials",
    "Cron": "kbstate.kinds.cron",
    "DesiredError": "kbstate.errors",
    "Directory": "kbstate.kinds.directory",
    "Docker": "kbstate.kinds.docker",
    "DockerNetwork": "kbstate.kinds.docker_network",
    "DropIn": "kbstate.kinds.dropin",
    "File": "kbstate.kinds.file",
    "Firewall": "kbstate.kinds.firewall",
    "Group": "kbstate.kinds.group",
    "HaproxyCheck": "kbstate.checks",
    "HealthCheck": "kbstate.containers.types",
    "Host": "kbstate.desired",
    "Hostname": "kbstate.kinds.hostname",
    "HostsFile": "kbstate.kinds.hosts",
    "Image": "kbstate.kinds.image",
    "Inventory": "kbstate.inventory",
    "KernelModule": "kbstate.kinds.kernel_module",
    "Mount": "kbstate.kinds.mount",
    "NetworkInterface": "kbstate.kinds.network_interface",
    "Package": "kbstate.kinds.package",
    "PortCheck": "kbstate.checks",
    "Resolver": "kbstate.kinds.resolver",
    "Resource": "kbstate.resource",
    "Secret": "kbstate.secret",
    "Server": "kbstate.inventory",
    "Service": "kbstate.kinds.service",
    "Site": "kbstate.desired",
    "Swap": "kbstate.kinds.swap",
    "Symlink": "kbstate.kinds.symlink",
    "Sysctl": "kbstate.kinds.sysctl",
    "TimeSync": "kbstate.kinds.time_sync",
    "Timezone": "kbstate.kinds.timezone",
    "Unit": "kbstate.kinds.unit",
    "User": "kbstate.kinds.user",
    "Verdict": "kbstate.checks",
    "Volume": "kbstate.kinds.volume",
    "from_file": "kbstate.content",
    "template": "kbstate.content",
}
"""Where each name is defined; the same names are imported above for type checkers and editors."""

__all__ = sorted(NAMES)  # noqa: PLE0605 - a list all the same


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in NAMES:
        value: object = getattr(import_module(NAMES[name]), name)
    elif name == "__version__":
        from importlib.metadata import version

        value = version("kbstate")
    else:
        raise AttributeError(f"module 'kbstate' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *NAMES]
