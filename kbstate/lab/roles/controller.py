"""The controller: the host that operators work from, with kbstate's own checkout on its path.

The dependencies are in a cached layer; the code is mounted read-only, so that `kbstate` there is always today's.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

from kbstate.lab import credentials
from kbstate.lab.errors import LabError
from kbstate.lab.inventory import HOSTS
from kbstate.lab.layers import Layer
from kbstate.lab.packages import CONTROLLER
from kbstate.lab.places import SOURCE
from kbstate.lab.processes import call
from kbstate.lab.roles import Role
from kbstate.lab.seed import Seed

_HOME = "/opt/kbstate"
_SITE = f"{_HOME}/venv/lib/python3.11/site-packages"
_TEST_TOOLS = ("pytest>=8", "pytest-timeout>=2.3", "hypothesis>=6.100")
_PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(36, 4, -1)] + ["manylinux2014_x86_64"]
_BYTECODE = "/var/cache/kbstate-bytecode"  # the source tree is mounted read-only, and shared with other Pythons
_PIP = f"""
python3 -m venv {_HOME}/venv
cd /mnt/supplies
{_HOME}/venv/bin/pip install --quiet --no-compile --no-index --find-links . --requirement requirements.txt
mkdir -p {_HOME}/src
echo 'import sys; sys.pycache_prefix = "{_BYTECODE}"' > {_SITE}/bytecode.pth
PYTHONPYCACHEPREFIX={_BYTECODE} {_HOME}/venv/bin/python -m compileall -q -j 0 {_SITE} /usr/lib/python3.11 || true
"""
_INSTALLER = "/opt/keybuzz-installer"
_ENVIRONMENT = {"KBSTATE_DESIRED": f"{_HOME}/src/desired", "KBSTATE_CREDENTIALS": f"{_INSTALLER}/credentials"}
_COMMAND = """#!{home}/venv/bin/python
import sys
from {module} import {function}
sys.exit({function}())
"""


def _project() -> dict[str, Any]:
    file = SOURCE / "pyproject.toml"
    if not file.exists():
        raise LabError("the lab runs from a checkout of kbstate only: its controller mounts the source tree")
    project: dict[str, Any] = tomllib.loads(file.read_text())["project"]
    return project


def _wheels(where: Path) -> None:
    """Download the dependencies here, where there is a network, as wheels for Debian's own Python."""
    requirements = where / "requirements.txt"
    requirements.write_text("\n".join([*_project()["dependencies"], *_TEST_TOOLS]) + "\n")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--python-version=3.11"]
    argv += ["--implementation=cp", *(f"--platform={platform}" for platform in _PLATFORMS)]
    call([*argv, "--dest", where, "--requirement", requirements])


def _metadata(seed: Seed, project: dict[str, Any]) -> None:
    """What an installation would record: other packages find kbstate's entry points by it."""
    record = f"{_SITE}/kbstate-{project['version']}.dist-info"
    seed.file(f"{_SITE}/kbstate.pth", f"{_HOME}/src\n")
    seed.file(f"{record}/METADATA", f"Metadata-Version: 2.1\nName: kbstate\nVersion: {project['version']}\n")
    text = ""
    groups = {"console_scripts": project.get("scripts", {}), **project.get("entry-points", {})}
    for group, entries in groups.items():
        text += f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items()) + "\n"
    seed.file(f"{record}/entry_points.txt", text)


def _furnish(seed: Seed) -> None:
    project = _project()
    _metadata(seed, project)
    for name, target in project.get("scripts", {}).items():
        module, _, function = target.partition(":")
        seed.file(f"/usr/local/bin/{name}", _COMMAND.format(home=_HOME, module=module, function=function), 0o755)
    variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", **_ENVIRONMENT}
    seed.file("/etc/environment", "".join(f'{name}="{value}"\n' for name, value in variables.items()))
    seed.file("/root/.ssh/id_ed25519", seed.login.read_text(), 0o600)
    seed.directory(f"{_INSTALLER}/credentials", 0o700)
    for name, values in credentials.FILES.items():
        seed.file(f"{_INSTALLER}/credentials/{name}", credentials.text(values), 0o600)
    seed.link(f"{_INSTALLER}/servers.tsv", f"{_HOME}/src/desired/servers.tsv")
    names = "".join(f"{host.private}\t{host.name}\n" for host in HOSTS.values() if host.private)
    own = (seed.upper / "etc/hosts").read_text()
    seed.file("/etc/hosts", own + "\n" + names)


def role() -> Role:
    """The controller as this checkout wants it."""
    recipe = (*_project()["dependencies"], *_TEST_TOOLS)
    return Role(
        layer=Layer("controller", CONTROLLER, after=_PIP, recipe=recipe, supplies=_wheels),
        furnish=_furnish,
        binds={str(SOURCE): f"{_HOME}/src"},
        environment=_ENVIRONMENT,
    )
