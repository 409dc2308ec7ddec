"""A desired tree on the lab's controller, and kbstate run there on it, as an operator would."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from subprocess import DEVNULL, PIPE, CompletedProcess, Popen
from typing import Any

from kbstate.lab.host import Host
from kbstate.lab.lab import Lab

KEY = "KBSTATE_HASH_KEY=0123456789abcdef\n"


@dataclass
class Tree:
    """Files below /root/trees/NAME on the controller."""

    lab: Lab
    name: str
    hosts_py: str
    files: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.write("desired/hosts.py", self.hosts_py)
        self.write("credentials/kbstate.env", KEY)
        for path, text in self.files.items():
            self.write(path, text)

    @property
    def path(self) -> str:
        return f"/root/trees/{self.name}"

    def write(self, path: str, text: str) -> None:
        """Replace one of its files."""
        self.lab.controller.run(["mkdir", "-p", f"{self.path}/{path}".rpartition("/")[0]])
        self.lab.controller.write(f"{self.path}/{path}", text)

    def kbstate(self, *words: str) -> CompletedProcess[str]:
        """Run the command in the tree, with no terminal."""
        return self.lab.controller.run(self._command(words), check=False)

    def start(self, *words: str) -> Popen[str]:
        """Start the command and do not wait for it."""
        argv = self.lab.controller.enter(["/bin/bash", "-c", self._command(words)])
        return Popen(argv, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, text=True)

    def _command(self, words: Sequence[str]) -> str:
        settings = f"KBSTATE_DESIRED={self.path}/desired KBSTATE_CREDENTIALS={self.path}/credentials"
        return f"cd {self.path} && {settings} exec kbstate {shlex.join(words)}"

    def plan(self, *words: str) -> dict[str, Any]:
        """The plan of the one host, as JSON has it; the exit code must be one of a plan that could be made."""
        done = self.kbstate("plan", "--json", "--detailed-exitcode", *words)
        assert done.returncode in (0, 2), done.stdout + done.stderr
        (host,) = json.loads(done.stdout)["hosts"]
        assert isinstance(host, dict)
        return host

    def apply(self, *words: str) -> CompletedProcess[str]:
        """Apply, which must succeed."""
        done = self.kbstate("apply", "--auto-approve", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def unchanged(self) -> None:
        """The plan must be empty."""
        done = self.kbstate("plan", "--detailed-exitcode")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "No changes." in done.stdout


def one_host(host: Host, resources: str, **more: str) -> str:
    """The text of a hosts.py that declares these resources on a host; `more` are arguments of Host, as Python text."""
    arguments = "".join(f", {name}={value}" for name, value in more.items())
    return f"""
from kbstate import *


def hosts(site):
    resources = [{resources}]
    return [Host(name="{host.name}", address="{host.spec.private}", modules={{"base": resources}}{arguments})]
"""
