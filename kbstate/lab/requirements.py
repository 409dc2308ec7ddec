"""What the machine must have before a lab can run on it, and how to tell that it has not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# Debian package -> a program it brings, by which its presence is seen.
_PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "iproute2": "ip",
    "openssh-client": "ssh-keygen",
    "skopeo": "skopeo",
    "docker-registry": "docker-registry",
    "gnupg": "gpg",
    "util-linux": "nsenter",
    "dpkg": "dpkg-deb",
}

DEBIAN_PACKAGES: tuple[str, ...] = tuple(_PROGRAMS)
"""The Debian packages that the machine under the lab needs."""

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def missing_packages() -> list[str]:
    """The needed Debian packages that are not installed here."""
    path = os.pathsep.join((os.environ.get("PATH", ""), _SYSTEM_PATH))
    return [package for package, program in _PROGRAMS.items() if shutil.which(program, path=path) is None]


def _namespaces_refused() -> str | None:
    unshare = ["unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--fork", "true"]
    done = subprocess.run(unshare, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["unshare failed"])[-1]


def unavailable() -> str | None:
    """Why no lab can run on this machine, in one sentence, or None when one can."""
    if os.geteuid() != 0:
        return "the lab needs root: it makes namespaces, mounts and network interfaces"
    if missing := missing_packages():
        return f"the lab needs Debian packages that are not installed here: apt-get install {' '.join(missing)}"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "the lab needs overlayfs, which this kernel does not have"
    if refused := _namespaces_refused():
        return f"the lab needs namespaces, which this machine refuses: {refused}"
    return None
