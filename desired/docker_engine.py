"""Docker: the engine from Debian, and how it logs and stores."""

from __future__ import annotations

from collections.abc import Iterator

from kbstate import Docker, Resource

SETTINGS = {
    "log-driver": "json-file",
    "log-opts": {"max-size": "20m", "max-file": "3"},
    "storage-driver": "overlay2",
    # as systemd manages the control groups of everything else: two managers of one tree get into each other's way
    "exec-opts": ["native.cgroupdriver=systemd"],
}


def docker_engine() -> Iterator[Resource]:
    yield Docker(packages=("docker.io",), settings=SETTINGS)
