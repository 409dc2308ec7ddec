"""Kernel parameters: a file in /etc/sysctl.d for the next boot, and the values that the kernel has now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from kbstate.confd import BootFiles, Texts
from kbstate.kinds.file import File
from kbstate.paths import PathState, remove_file
from kbstate.resource import AnyRead, Change, Fact, Line, Read, Resource, Step, Unknown
from kbstate.shell import q, words

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}$")]


def _path(key: str) -> str:
    """Below /proc/sys. Whichever of dot and slash comes first parts the key; the other then stands for itself.

    Source: sysctl.d(5).
    """
    first = next((c for c in key if c in "./"), "/")
    return key.translate(str.maketrans("./", "/.")) if first == "." else key


def _key(key: str) -> str:
    """The usual spelling of a key: with dots, unless one of its parts (an interface) holds a dot itself."""
    path = _path(key)
    return path if "." in path else path.replace("/", ".")


def _value(value: object) -> str:
    """Numbers that are parted by tabs in one place and by spaces in another are the same."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError("must be text or a whole number")
    text = " ".join(str(value).split())
    if not text:
        raise ValueError("must not be empty")
    return text


Key = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+([./][A-Za-z0-9_@-]+)+$", max_length=200), AfterValidator(_key)
]
Value = Annotated[Line, BeforeValidator(_value)]


class KernelValues(Fact[str, str]):
    """What the kernel has for any number of keys, in one process; None where it has no such key. Source: proc(5)."""

    def command(self, wanted: Sequence[str]) -> str:
        return "\n".join(
            [
                f"cd /proc/sys || exit\nset -- {words(dict.fromkeys(_path(key) for key in wanted))}",
                """for p; do [ -e "$p" ] || printf '%s!none\\n' "$p"; done""",
                # /dev/null makes it name the file of a single one, too; what it cannot read is left without an answer
                "grep -as '' -- \"$@\" /dev/null || true",
            ]
        )

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, str | Unknown | None]:
        values: dict[str, list[str]] = {}
        missing = {line.removesuffix("!none") for line in output.splitlines() if line.endswith("!none")}
        for path, colon, value in (line.partition(":") for line in output.splitlines()):
            if colon:
                values.setdefault(path, []).append(" ".join(value.split()))
        return {key: _answer(key, values.get(_path(key)), _path(key) in missing) for key in wanted}


def _answer(key: str, lines: list[str] | None, missing: bool) -> str | Unknown | None:
    if missing:
        return None
    return Unknown(f"{key} cannot be read") if lines is None else " ".join(lines)


class Sysctl(Resource):
    """Kernel parameters in /etc/sysctl.d/<name>.conf. Its deletion leaves the running values until the next boot."""

    kind: ClassVar[str] = "sysctl"

    name: Name
    values: dict[Key, Value] | None = None
    """What the file sets; other keys in it are removed."""
    running: dict[Key, Value] | None = None
    """What the kernel has of these keys; filled in from `values`, not declared."""

    @property
    def path(self) -> str:
        return f"/etc/sysctl.d/{self.name}.conf"

    @property
    def file(self) -> File:
        content = None if self.values is None else render(self.values)
        return File(path=self.path, content=content, owner="root", group="root", mode="0644")

    def problems(self) -> Iterator[str]:
        if not self.values and not self.absent:
            yield "values are missing"
        if self.name.endswith(".conf"):
            yield "name must be given without .conf"

    def bound(self, lookup: Callable[[str], Resource | None]) -> Self:
        return self.model_copy(update={"running": self.values})

    def reads(self) -> Mapping[str, AnyRead]:
        keys = {f"key{i}": Read(KernelValues, key) for i, key in enumerate(self.values or {})}
        return {**self.file.reads(), "boot": Read(BootFiles, "sysctl.d"), **keys}

    def observe(self, state: PathState | None, boot: Texts, **keys: str | None) -> Self | Unknown | None:
        live = self.file.observe(state)
        running = dict(zip(self.values or {}, keys.values(), strict=True))
        if missing := [key for key, value in running.items() if value is None]:
            return Unknown(f"this kernel has no {', '.join(missing)}: a module not loaded?", until=("kernel_module:*",))
        if overruled := self._overruled(boot):
            return Unknown(overruled, until=("sysctl:*", "file:/etc/sysctl*"))
        if live is None or isinstance(live, Unknown):
            return live
        observed = type(self)(name=self.name)
        return observed.model_copy(update={"values": parse(str(live.content or "")), "running": running})

    def _overruled(self, boot: Texts) -> str | None:
        """A file that is read later and sets one of our keys differently wins at the next boot."""
        for path, text in boot:
            if PurePosixPath(path).name <= f"{self.name}.conf":
                continue
            for key, value in parse(text).items():
                if (ours := (self.values or {}).get(key, value)) != value:
                    return f"{path} comes later at boot and sets {key} = {value}, not {ours}"
        return None

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(remove_file, {"path": self.path}, "remove the file")
            return
        if change.action != "update" or "values" in change.fields:
            yield from self.file.steps(change.model_copy(update={"action": "create"}))
        if change.action != "update" or "running" in change.fields:
            yield Step(set_running, {"values": dict(self.values or {})}, "set the running values")

    def needs(self) -> Iterator[str]:
        yield "kernel_module:*"

    def backup(self) -> Iterator[str]:
        yield self.path


def render(values: Mapping[str, str]) -> str:
    return "# written by kbstate\n" + "".join(f"{key} = {value}\n" for key, value in values.items())


def parse(text: str) -> dict[str, str]:
    """The assignments of a file; the last one of a key counts. Source: sysctl.d(5)."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith(("#", ";")):
            found[_key(key.strip().removeprefix("-").strip())] = " ".join(value.split())
    return found


def set_running(values: Mapping[str, str]) -> Iterator[str]:
    """Set each and read it back, since the kernel may take a value and keep another (and `sysctl -w` exits 0 then)."""
    script = [
        "set -uf; cd /proc/sys; failed=0",
        'words() { echo "$*"; }',
        'put() { { printf "%s\\n" "$2" > "$1"; } 2>/dev/null || true; now=$(words $(cat -- "$1" 2>/dev/null))',
        '[ "$now" = "$2" ] || { echo "the kernel did not take $2 for $1: it has $now" >&2; failed=1; }; }',
        *(f"put {q(_path(key))} {q(value)}" for key, value in values.items()),
        "exit $failed",
    ]
    yield "\n".join(script)
