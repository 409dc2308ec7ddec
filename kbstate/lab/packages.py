"""The one list of Debian packages that a lab's mirror carries, with all that they depend on.

Each tuple is resolved as one installation: packages that exclude each other go into different tuples.
"""

from __future__ import annotations

CONTROLLER = ("python3", "python3-venv", "openssh-client", "git", "postgresql-client", "redis-tools", "rsync", "curl")
DATABASE = ("postgresql-15", "patroni", "etcd-server", "etcd-client", "python3-etcd", "curl")
REDIS = ("redis-server", "redis-sentinel")
QUEUE = ("rabbitmq-server",)
DOCKER = ("docker.io",)

ROLE_PACKAGES: dict[str, tuple[str, ...]] = {
    "controller": CONTROLLER,
    "database": DATABASE,
    "redis": REDIS,
    "queue": QUEUE,
    "docker": DOCKER,
}

IMAGE_PACKAGES: tuple[str, ...] = ("haproxy", "pgbouncer", "busybox-static")
"""What container images are made of: each is carried with its whole closure, the C library included."""

FOR_HOSTS: tuple[tuple[str, ...], ...] = (
    ("docker.io", "nftables", "curl", "wget", "jq", "ca-certificates", "gnupg", "redis-tools"),
    ("docker.io", "containerd", "runc", "apparmor", "iptables", "cgroupfs-mount", "git", "xz-utils"),
    ("cron", "rsync", "htop", "vim-tiny", "vim", "tmux", "lsof", "net-tools", "dnsutils", "less", "tree", "socat"),
    ("ufw", "unattended-upgrades", "logrotate", "tzdata", "ethtool", "python3-minimal", "python3", "hello"),
    ("bind9-dnsutils", "tcpdump", "netcat-openbsd", "bridge-utils", "vlan", "dbus", "rsyslog", "fail2ban"),
    ("postgresql-client", "apt-transport-https", "software-properties-common", "lsb-release", "xfsprogs", "sudo"),
    ("systemd-timesyncd",),
    ("chrony",),
    ("ntpsec",),
    ("cowsay", "sl", "figlet"),
)
"""What tests and desired states install on empty hosts."""

WITH_RECOMMENDED: tuple[tuple[str, ...], ...] = (("docker.io",), ("curl", "wget", "jq", "gnupg", "redis-tools"))
"""The same once more as apt installs it when nobody says --no-install-recommends."""
