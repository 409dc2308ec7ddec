"""The same resources in three languages: a desired tree of kbstate, a playbook of Ansible, a deploy of pyinfra."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("apt", "bash", "ca-certificates", "cron", "dbus", "iproute2", "kmod", "less", "openssh-server", "procps")
SERVICES = ("cron", "dbus", "ssh", "systemd-journald")
GROUPS = {"bench-a": 2001, "bench-b": 2002}
USERS = {"bench-x": 2011, "bench-y": 2012}
LINKS = 2
DIRECTORIES = 8
TOP = "/srv/bench"
KEY = "KBSTATE_HASH_KEY=a-key-for-measurements-only\n"


@dataclass(frozen=True)
class Workload:
    """Resources of one host: the mixed 40, or any number of files."""

    name: str
    mixed: bool
    files: int

    @property
    def resources(self) -> int:
        if not self.mixed:
            return self.files
        return len(PACKAGES) + len(SERVICES) + len(GROUPS) + len(USERS) + LINKS + DIRECTORIES + self.files

    def content(self, number: int) -> str:
        """The content of a file: five lines, some 200 bytes."""
        return "".join(f"line {line} of file {number} holds a setting = {number * line}\n" for line in range(1, 6))

    def path(self, number: int) -> str:
        """Where the file is."""
        return f"{TOP}/d{number % DIRECTORIES}/file-{number}"

    def directories(self) -> list[str]:
        return [f"{TOP}/d{number}" for number in range(DIRECTORIES)]

    def prepare(self) -> str:
        """Shell text that makes what every tool takes for granted."""
        return f"mkdir -p {' '.join(self.directories())}"

    # In the three languages

    def kbstate(self, where: Path, address: str, port: int) -> None:
        """A desired tree and its credentials."""
        (where / "desired").mkdir(parents=True)
        (where / "desired" / "hosts.py").write_text(HOSTS_PY.format(address=address, port=port, body=self._kbstate()))
        (where / "credentials").mkdir()
        (where / "credentials" / "kbstate.env").write_text(KEY)
        (where / "credentials" / "kbstate.env").chmod(0o600)

    def _kbstate(self) -> str:
        lines = []
        if self.mixed:
            lines += [f'    yield Package(name="{name}")' for name in PACKAGES]
            lines += [f'    yield Group(name="{name}", gid={gid})' for name, gid in GROUPS.items()]
            user = '    yield User(name="{}", uid={}, shell="/bin/sh", home="/srv/{}")'
            lines += [user.format(name, uid, name) for name, uid in USERS.items()]
            lines += [f'    yield Directory(path="{path}", {OWNED}, mode="0755")' for path in self.directories()]
            links = ((self.path(n).replace("file", "link"), self.path(n)) for n in range(LINKS))
            lines += [f'    yield Symlink(path="{link}", target="{target}")' for link, target in links]
            lines += [f'    yield Service(name="{name}.service", running=True)' for name in SERVICES]
        for number in range(self.files):
            content = json.dumps(self.content(number))
            lines.append(f'    yield File(path="{self.path(number)}", content={content}, {OWNED}, mode="0644")')
        return "\n".join(lines)

    def ansible(self, where: Path) -> None:
        """A playbook as one writes it: one task for the packages, loops for the rest."""
        tasks: list[dict[str, object]] = []
        if self.mixed:
            tasks += [{"apt": {"name": list(PACKAGES), "state": "present"}}]
            groups = [{"name": name, "gid": gid} for name, gid in GROUPS.items()]
            tasks += [{"group": {"name": "{{ item.name }}", "gid": "{{ item.gid }}"}, "loop": groups}]
            users = [{"name": name, "uid": uid} for name, uid in USERS.items()]
            user = {
                "name": "{{ item.name }}",
                "uid": "{{ item.uid }}",
                "shell": "/bin/sh",
                "home": "/srv/{{ item.name }}",
            }
            tasks += [{"user": user | {"create_home": False}, "loop": users}]
            directory = {"path": "{{ item }}", "state": "directory", "owner": "root", "group": "root", "mode": "0755"}
            tasks += [{"file": directory, "loop": self.directories()}]
            links = [{"from": self.path(n).replace("file", "link"), "to": self.path(n)} for n in range(LINKS)]
            tasks += [{"file": {"path": "{{ item.from }}", "src": "{{ item.to }}", "state": "link"}, "loop": links}]
            tasks += [{"systemd_service": {"name": "{{ item }}", "state": "started"}, "loop": list(SERVICES)}]
        files = [{"path": self.path(n), "content": self.content(n)} for n in range(self.files)]
        copy = {"dest": "{{ item.path }}", "content": "{{ item.content }}", "owner": "root", "group": "root"}
        tasks += [
            {"copy": copy | {"mode": "0644"}, "loop": files, "loop_control": {"label": "{{ item.path }}"}},
        ]
        play = [{"hosts": "all", "tasks": tasks}]
        (where / "playbook.yml").write_text(json.dumps(play, indent=1))  # JSON is YAML

    def pyinfra(self, where: Path) -> None:
        """A deploy with one operation for the packages, and one for each of the rest."""
        lines = ["import io", "from pyinfra.operations import apt, files, server, systemd"]
        if self.mixed:
            lines.append(f"apt.packages(packages={list(PACKAGES)!r})")
            lines += [f"server.group(group={name!r}, gid={gid})" for name, gid in GROUPS.items()]
            user = "server.user(user={!r}, uid={}, shell='/bin/sh', home='/srv/{}', create_home=False)"
            lines += [user.format(name, uid, name) for name, uid in USERS.items()]
            owned = "user='root', group='root', mode='755'"
            lines += [f"files.directory(path={path!r}, {owned})" for path in self.directories()]
            links = ((self.path(n).replace("file", "link"), self.path(n)) for n in range(LINKS))
            lines += [f"files.link(path={link!r}, target={target!r})" for link, target in links]
            lines += [f"systemd.service(service={name!r}, running=True)" for name in SERVICES]
        put = "files.put(src=io.StringIO({!r}), dest={!r}, user='root', group='root', mode='644')"
        lines += [put.format(self.content(number), self.path(number)) for number in range(self.files)]
        (where / "deploy.py").write_text("\n".join(lines) + "\n")


OWNED = 'owner="root", group="root"'
HOSTS_PY = """from kbstate import Directory, File, Group, Host, Package, Service, Symlink, User


def resources():
{body}


def hosts(site):
    return [Host(name="bench", address="{address}", port={port}, modules={{"bench": tuple(resources())}})]
"""

FORTY = Workload("40 resources", mixed=True, files=12)
SCALE = tuple(Workload(f"{number} files", mixed=False, files=number) for number in (40, 200, 1000))
