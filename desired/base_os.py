"""The base system: packages, clock, kernel, names, logs, SSH and the account of the platform."""

from __future__ import annotations

from collections.abc import Iterator

from surroundings import Surroundings

from kbstate import (
    Directory,
    File,
    Hostname,
    HostsFile,
    Package,
    Resolver,
    Resource,
    Server,
    Service,
    Swap,
    Sysctl,
    TimeSync,
    Timezone,
    User,
    from_file,
)

PACKAGES = (
    *("ca-certificates", "curl", "gnupg", "jq", "lsof", "redis-tools", "socat", "systemd-timesyncd", "tzdata", "wget"),
    # parts of the engine and of the firewall too: named here, one run of apt brings all
    *("docker.io", "nftables"),
)

KERNEL = {
    "net.core.somaxconn": "65535",
    "net.ipv4.tcp_fin_timeout": "15",
    "net.ipv4.tcp_keepalive_time": "300",
    "net.ipv4.tcp_tw_reuse": "1",
    "fs.inotify.max_user_instances": "1024",
    "fs.inotify.max_user_watches": "524288",
    "vm.swappiness": "10",
}

NAME_SERVERS = ("185.12.64.1", "185.12.64.2", "1.1.1.1")
TIME_SERVERS = ("ntp1.hetzner.de", "ntp2.hetzner.com", "ntp3.hetzner.net")

SSHD = "/etc/ssh/sshd_config.d/00-keybuzz.conf"
"""Of a setting that comes twice sshd takes the first: this stands before what the image of the provider brings."""
JOURNALD = "/etc/systemd/journald.conf.d/99-keybuzz.conf"


def base_os(server: Server, around: Surroundings) -> Iterator[Resource]:
    """What every server of the site has, whatever it is for."""
    yield from (Package(name=name) for name in PACKAGES)
    yield from names(server, around)
    yield from clock()
    yield Swap()
    yield Sysctl(name="99-keybuzz", values=KERNEL)
    yield from journal()
    yield from ssh()
    yield User(name="keybuzz", shell="/bin/bash", home="/home/keybuzz", locked=True)


def names(server: Server, around: Surroundings) -> Iterator[Resource]:
    """Its own name, the names of those it speaks to, and who answers for all others."""
    yield Hostname(hostname=server.hostname)
    own = (server.fqdn, server.hostname) if server.fqdn else (server.hostname,)
    others = {other.address: (other.name,) for other in around.every}
    yield HostsFile(entries={"127.0.0.1": ("localhost",), server.address: own, **others})
    yield Resolver(nameservers=NAME_SERVERS, options=("timeout:2", "attempts:2"))


def clock() -> Iterator[Resource]:
    yield Timezone(zone="Europe/Paris")
    drop_ins = Directory(path="/etc/systemd/timesyncd.conf.d", owner="root", group="root", mode="0755")
    yield drop_ins
    yield TimeSync(program="systemd-timesyncd", servers=TIME_SERVERS, requires=(drop_ins.address,))


def journal() -> Iterator[Resource]:
    """The journal may take 200 MB of the disk."""
    yield Directory(path="/etc/systemd/journald.conf.d", owner="root", group="root", mode="0755")
    limit = File(path=JOURNALD, content="[Journal]\nSystemMaxUse=200M\n", owner="root", group="root", mode="0644")
    yield limit
    yield Service(name="systemd-journald", running=True, restart_on=(limit.address,))


def ssh() -> Iterator[Resource]:
    """Keys only; the running connections survive the reload."""
    hardening = File(
        path=SSHD,
        content=from_file("templates/sshd.conf"),
        owner="root",
        group="root",
        mode="0644",
        validate_with="sshd -t -f {path}",
    )
    yield hardening
    yield Service(name="ssh", running=True, enabled=True, reload_on=(hardening.address,))
