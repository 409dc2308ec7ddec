"""A module of the kernel: loaded now, loaded at boot, and its options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, StringConstraints

from kbstate.confd import BootFiles, Texts
from kbstate.kinds.file import File
from kbstate.paths import PathState, remove_file
from kbstate.resource import AnyRead, Change, Fact, Read, Resource, Step, Unknown
from kbstate.shell import q, words

Name = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,60}$"),
    AfterValidator(lambda name: name.replace("-", "_")),
]
"""`-` and `_` are the same to the kernel; it says `_`. Source: modprobe(8)."""
Option = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$")]
Value = Annotated[str, StringConstraints(pattern=r"^[^\s\"'\\#]+$")]


class LoadedModules(Fact[str, bool]):
    """Which modules the kernel has, those that are part of it included. Source: lsmod(8), modules.builtin."""

    def command(self, wanted: Sequence[str]) -> str:
        builtin = (
            'b="/lib/modules/$(uname -r)/modules.builtin"; [ ! -r "$b" ] || sed "s|.*/||; s|[.]ko.*||; s|-|_|g" "$b"'
        )
        with_state = f"cd /sys/module || exit; for m in {words(dict.fromkeys(wanted))}; do [ ! -d $m ] || echo $m; done"
        return f"cut -d' ' -f1 /proc/modules\n{builtin}\n{with_state}"

    def process(self, wanted: Sequence[str], output: str) -> Mapping[str, bool | Unknown | None]:
        present = set(output.split())
        return {name: name in present for name in wanted}


class KernelModule(Resource):
    """A module. Its options count when it is loaded the next time: a loaded one is never unloaded for them."""

    kind: ClassVar[str] = "kernel_module"

    name: Name
    loaded: bool | None = None
    boot: bool | None = None
    """Whether a file in modules-load.d names it."""
    options: dict[Option, Value] | None = None
    """Its options in a file of ours in /etc/modprobe.d."""

    @property
    def boot_path(self) -> str:
        return f"/etc/modules-load.d/kbstate-{self.name}.conf"

    @property
    def options_file(self) -> File:
        path = f"/etc/modprobe.d/kbstate-{self.name}.conf"
        text = None if self.options is None else render(self.name, self.options)
        return File(path=path, content=text, owner="root", group="root", mode="0644")

    def problems(self) -> Iterator[str]:
        if self.loaded is None and self.boot is None and self.options is None and not self.absent:
            yield "nothing is declared: loaded, boot or options"

    def reads(self) -> Mapping[str, AnyRead]:
        options = self.options_file.model_copy(update={"content": ""}).reads()["state"]
        return {"loaded": Read(LoadedModules, self.name), "boot": Read(BootFiles, "modules-load.d"), "options": options}

    def observe(self, loaded: bool, boot: Texts, options: PathState | None) -> Self | Unknown | None:
        named = [path for path, text in boot if self.name in names(text)]
        others = [path for path in named if path != self.boot_path]
        if self.boot is False and others:
            return Unknown(f"{others[0]} names it, and is not ours")
        if self.absent and self.boot_path not in named and options is None:
            return None
        live = self.options_file.model_copy(update={"content": ""}).observe(options)
        if isinstance(live, Unknown):
            return live
        found = parse(self.name, str(live.content or "")) if live else {}
        return type(self)(name=self.name, loaded=loaded, boot=bool(named)).model_copy(update={"options": found})

    def steps(self, change: Change) -> Iterator[Step]:
        if change.action == "delete":
            yield Step(remove_file, {"path": self.boot_path}, "do not load it at boot")
            yield Step(remove_file, {"path": self.options_file.path}, "remove its options")
            return
        if "options" in change.fields:
            yield from self.options_file.steps(change.model_copy(update={"action": "create"}))
        if "boot" in change.fields:
            yield Step(
                load_at_boot, {"name": self.name, "path": self.boot_path, "boot": self.boot}, "load it at boot or not"
            )
        if "loaded" in change.fields:
            yield Step(load, {"name": self.name, "loaded": self.loaded}, "load it" if self.loaded else "unload it")

    def needs(self) -> Iterator[str]:
        yield "package:*"

    def backup(self) -> Iterator[str]:
        yield from (self.boot_path, self.options_file.path)


def names(text: str) -> set[str]:
    """The modules that a file in modules-load.d names. Source: modules-load.d(5)."""
    lines = (line.strip().replace("-", "_") for line in text.splitlines())
    return {line for line in lines if line and line[0] not in "#;"}


def render(name: str, options: Mapping[str, str]) -> str:
    assigned = " ".join(f"{option}={value}" for option, value in options.items())
    return f"# written by kbstate\noptions {name} {assigned}\n" if assigned else "# written by kbstate\n"


def parse(name: str, text: str) -> dict[str, str]:
    """The options that a file in modprobe.d gives a module. Source: modprobe.d(5)."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match line.split():
            case ["options", module, *assigned] if module.replace("-", "_") == name:
                found.update((option, value) for option, _, value in (item.partition("=") for item in assigned))
    return found


def load_at_boot(name: str, path: str, boot: bool) -> Iterator[str]:
    """A file of ours in modules-load.d, or none."""
    if boot:
        yield f"set -eu; umask 022; echo {q(name)} > {q(path)}.new; mv -fT -- {q(path)}.new {q(path)}; sync {q(path)}"
    else:
        yield from remove_file(path)


def load(name: str, loaded: bool) -> Iterator[str]:
    """Load it, or unload it if nothing uses it. Source: modprobe(8)."""
    yield f"modprobe {'' if loaded else '-r '}-- {q(name)}"
