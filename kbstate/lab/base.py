"""The base: a freshly installed minimal Debian, as its installer leaves it with an SSH server."""

from __future__ import annotations

from pathlib import Path

from kbstate.lab.archive import SUITE, archive_uri, sources_list
from kbstate.lab.pieces import Piece, source
from kbstate.lab.processes import contained

_EXTRA = ("systemd", "systemd-sysv", "dbus", "libpam-systemd", "openssh-server", "sudo", "ca-certificates")
_EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
_USERS = """
set -eu
for login in operator nopass; do chroot "$1" useradd --create-home --gid users --shell /bin/bash "$login"; done
chroot "$1" usermod --append --groups sudo operator
echo operator:operator | chroot "$1" chpasswd
echo 'nopass ALL=(ALL) NOPASSWD: ALL' > "$1/etc/sudoers.d/nopass"
chmod 440 "$1/etc/sudoers.d/nopass"
"""


def _build(where: Path) -> None:
    root = where / "root"
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED]
    options += ["--aptopt=Acquire::Check-Valid-Until false", "--aptopt=Acquire::Languages none"]
    hook = where / "users.sh"
    hook.write_text(_USERS)
    options += [f'--customize-hook=sh {hook} "$1"']
    argv = ["mmdebstrap", "--quiet", "--mode=root", "--variant=important", f"--include={','.join(_EXTRA)}", *options]
    contained([*argv, SUITE, root, "-"], input=sources_list(archive_uri()))
    hook.unlink()
    for pattern in ("etc/machine-id", "var/lib/dbus/machine-id", "etc/ssh/ssh_host_*", "etc/hostname"):
        for file in root.glob(pattern):
            file.unlink()
    (root / "etc/apt/sources.list").write_text(sources_list())
    (root / "etc/resolv.conf").write_text("")


def base() -> Piece:
    """The base root file system."""
    return Piece("base", (source(__name__), sources_list()), _build)
