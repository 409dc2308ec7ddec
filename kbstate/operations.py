"""The one adapter to pyinfra: its operations and facts, run over our own connection.

pyinfra is taken as a library of operations and facts. What it would decide itself (what differs, whether a step
succeeded, what is printed) is decided elsewhere. These parts of it are semi-private, so they are used here alone.
Importing this module costs some 400 ms, so it is imported where the first operation or fact of pyinfra's is met.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import IOBase
from typing import Any

from pyinfra.api.arguments import pop_global_arguments
from pyinfra.api.command import StringCommand
from pyinfra.api.config import Config
from pyinfra.api.facts import FactBase
from pyinfra.api.inventory import Inventory
from pyinfra.api.state import State
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command_for_host
from pyinfra.context import ctx_host, ctx_state

from kbstate.channel import Answer
from kbstate.resource import Fact, PyinfraRead, Unknown
from kbstate.shell import feed

Run = Callable[[str], Answer]
"""Runs a shell script on the host as root."""


class ChannelConnector(BaseConnector):
    """pyinfra's way to the host: each command is a script on the channel that is open already."""

    handles_execution = True
    run: Run

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        yield name, {}, []

    def run_shell_command(
        self, command: StringCommand, print_output: bool = False, print_input: bool = False, **arguments: Any
    ) -> tuple[bool, CommandOutput]:
        answer = self.run(script_of(self.state, self.host, command, arguments))
        lines = [OutputLine("stdout", line) for line in answer.output.decode(errors="replace").splitlines()]
        lines += [OutputLine("stderr", line) for line in answer.errors.splitlines()]
        return answer.status == 0, CommandOutput(lines)

    def put_file(self, filename_or_io: str | IOBase, remote_filename: str, *args: Any, **arguments: Any) -> bool:
        """Refused: files are written by `kbstate.paths.write_file`, whole or not at all."""
        raise NotImplementedError("an operation of pyinfra's that uploads is not used here")

    def get_file(self, remote_filename: str, filename_or_io: str | IOBase, *args: Any, **arguments: Any) -> bool:
        """Refused: it leaves a world-readable copy on the host."""
        raise NotImplementedError("an operation of pyinfra's that downloads is not used here")


def script_of(state: State, host: Any, command: StringCommand | str, arguments: Mapping[str, Any]) -> str:
    """The shell text that pyinfra itself would run."""
    rest = dict(arguments)
    stdin = rest.pop("_stdin", None)
    for ours in ("_get_pty", "_timeout", "_success_exit_codes"):
        rest.pop(ours, None)
    wrapped = command if isinstance(command, StringCommand) else StringCommand(command.strip())
    text: str = make_unix_command_for_host(state, host, wrapped, **rest).get_raw_value()
    if stdin is None:
        return text
    return feed(text, stdin.encode() if isinstance(stdin, str) else stdin)


class Operations:
    """pyinfra's operations on one host."""

    def __init__(self, name: str, read: Run) -> None:
        inventory = Inventory(([name], {}))  # type: ignore[no-untyped-call]
        self._host = inventory.get_host(name)
        self._host.connector_cls = type("Connector", (ChannelConnector,), {"run": staticmethod(read)})
        self._state = State(inventory, Config(), check_for_changes=False)  # type: ignore[no-untyped-call]
        self._host.connected = True
        self._state.activate_host(self._host)

    def scripts(self, path: str, arguments: Mapping[str, object]) -> Iterator[str]:
        """The scripts of an operation (`apt.packages`), one by one: each may depend on what the ones before did."""
        operation = _named("pyinfra.operations", path)
        settings, _ = pop_global_arguments(self._state, self._host, {})
        with ctx_state.use(self._state), ctx_host.use(self._host):
            self._host.current_op_global_arguments = settings
            try:
                for command in operation._inner(**arguments):
                    yield script_of(self._state, self._host, command, getattr(command, "connector_arguments", {}))
            finally:
                self._host.current_op_global_arguments = None


class PyinfraFact(Fact[None, Any]):
    """A fact of pyinfra's as one of ours: it fails where pyinfra's would return its default."""

    def __init__(self, read: PyinfraRead) -> None:
        self._fact: FactBase[Any] = _named("pyinfra.facts", read.path)()
        self._arguments = dict(read.arguments)

    def command(self, wanted: Sequence[None]) -> str:
        said = self._fact.command(**self._arguments)
        text: str = said.get_raw_value() if isinstance(said, StringCommand) else said
        return text

    def process(self, wanted: Sequence[None], output: str) -> Mapping[None, Any | Unknown | None]:
        return {None: self._fact.process(output.splitlines())}


def _named(package: str, path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"{package}.{module}"), name)
