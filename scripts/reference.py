"""The parts of docs/reference.md that come from the code: commands, kinds, checks and what desired files may import.

python -m scripts.reference            write them anew
python -m scripts.reference --check    change nothing; exit code 1 if they are not up to date
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from typer.main import get_command

import kbstate
from kbstate.checks import Check, ContainerCheck, HaproxyCheck, PortCheck
from kbstate.cli import app
from kbstate.containers import types
from kbstate.desired import Host, Site
from kbstate.lab.cli import app as lab_app
from kbstate.resource import Resource
from kbstate.schema import kinds
from scripts.fields import Field, fields, one_line

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference.md"
BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


# --- commands ---------------------------------------------------------------------------------------------------


def commands() -> str:
    """Every command with its own arguments and options; those that commands share come once, at the end."""
    tree: Any = get_command(app)
    shared = {o.name: o for o in tree.commands["validate"].params if o.param_type_name == "option"}
    parts = [_command("kbstate", name, command, shared) for name, command in tree.commands.items() if name != "lab"]
    return "\n\n".join([*parts, "### Common options", _options(shared.values())])


def lab() -> str:
    """The commands of the lab, and the option that all of them have."""
    tree: Any = get_command(lab_app)
    shared = {o.name: o for o in tree.commands["down"].params}
    parts = [_command("kbstate lab", name, command, shared) for name, command in tree.commands.items()]
    return "\n\n".join([*parts, "All of them take:", _options(shared.values())])


def _command(program: str, name: str, command: Any, shared: dict[str, Any]) -> str:
    arguments = [_argument(p) for p in command.params if p.param_type_name == "argument"]
    own = [p for p in command.params if p.param_type_name == "option" and p.name not in shared]
    usage = " ".join([program, name, *arguments])
    parts = [f"### {program} {name}", f"`{usage}`", one_line(command.help)]
    return "\n\n".join([*parts, _options(own)] if own else parts)


def _argument(argument: Any) -> str:
    name = re.sub(r"[\[\]]|\.\.\.$", "", argument.metavar or argument.name.upper()).removesuffix("...")
    name += "…" if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _options(options: Iterable[Any]) -> str:
    rows = []
    for option in options:
        value = f" {option.metavar}" if option.metavar and not option.is_flag else ""
        names = ", ".join(f"`{name}{value}`" for name in (*option.opts, *option.secondary_opts))
        rows.append((names, f"{one_line(option.help or '')}{_default(option)}"))
    return _table(("option", "meaning"), rows)


def _default(option: Any) -> str:
    said = [f"`{option.envvar}`"] if option.envvar else []
    if not option.is_flag and option.default not in (None, "", ()) and not callable(option.default):
        said.append(f"default `{option.default}`")
    return f" ({', '.join(said)})" if said else ""


# --- models -----------------------------------------------------------------------------------------------------


def index() -> str:
    """One line for each kind."""
    every = kinds().items()
    return _table(
        ("kind", "class", "what it is"),
        [(f"[{name}](#{name})", f"`{model.__name__}`", _cell(_first(model))) for name, model in every],
    )


def kind_pages() -> str:
    """Every kind with its fields, then the values inside fields."""
    parts: list[str] = []
    inner: dict[str, type[BaseModel]] = {}
    for name, model in kinds().items():
        parts.append(_model(f"### {name}", model, f"`{model.__name__}`, address `{_address(model)}`. "))
        inner |= {found.__name__: found for found in _inner(model)}
    parts.append("### Values inside fields")
    return "\n\n".join([*parts, *(_model(f"#### {name}", model) for name, model in sorted(inner.items()))])


def hosts() -> str:
    """What a desired file is given, and what it returns."""
    return "\n\n".join((_model("### Site", Site), _model("### Host", Host)))


def checks() -> str:
    """The checks that kbstate has; first what all share."""
    found = (Check, ContainerCheck, PortCheck, HaproxyCheck)
    return "\n\n".join(_model(f"### {model.__name__}", model) for model in found)


def common() -> str:
    """The fields of every resource."""
    return _fields(Resource)


def names() -> str:
    """What can be imported from kbstate besides kinds."""
    classes = {model.__name__ for model in kinds().values()}
    things = {n: getattr(importlib.import_module(kbstate.NAMES[n]), n) for n in kbstate.NAMES if n not in classes}
    return _table(("name", "what it is"), [(f"`{name}`", _cell(_first(thing))) for name, thing in things.items()])


def _first(thing: object) -> str:
    """The first paragraph of a docstring."""
    return one_line((inspect.getdoc(thing) or "").split("\n\n", maxsplit=1)[0])


def _address(model: type[Resource]) -> str:
    fixed = model.model_fields[model.identity[0]].default
    if isinstance(fixed, str):
        return f"{model.kind}:{fixed}"
    return f"{model.kind}:" + "/".join(field.upper() for field in model.identity)


def _model(title: str, model: type, before: str = "") -> str:
    text = "\n\n".join(one_line(part) for part in (inspect.getdoc(model) or "").split("\n\n"))
    return "\n\n".join(part for part in (title, before + text, _fields(model)) if part)


def _fields(model: type) -> str:
    every = list(fields(model))
    rows = [(f"`{f.name}`", f"`{_cell(f.type)}`", _cell(f.default), _cell(_meaning(f))) for f in every if f.declared]
    table = _table(("field", "type", "default", "meaning"), rows) if rows else ""
    seen = [f"- `{f.name}`: {f.text}" for f in every if not f.declared and f.text]
    return "\n\n".join([table, "Shown in plans:", "\n".join(seen)] if seen else [table])


def _meaning(field: Field) -> str:
    return " ".join(filter(None, [field.text, f"({', '.join(field.marks)})" if field.marks else ""]))


def _inner(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The models that its fields hold, at any depth."""
    for field in fields(model):
        for word in re.findall(r"[A-Z]\w+", field.type) if field.declared else ():
            found = getattr(sys.modules[model.__module__], word, getattr(types, word, None))
            if isinstance(found, type) and issubclass(found, BaseModel) and not issubclass(found, Resource):
                yield found
                yield from _inner(found)


# --- the page ---------------------------------------------------------------------------------------------------


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines)


BLOCKS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "lab": lab,
    "hosts": hosts,
    "names": names,
    "common": common,
    "index": index,
    "kinds": kind_pages,
    "checks": checks,
}


def page(text: str) -> str:
    """The page with its generated blocks made anew; what stands between them is written by hand."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found['name']]()}\n\n{found[3]}", text)


def main() -> int:
    if sys.argv[1:] not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 64
    before = PAGE.read_text()
    after = page(before)
    if sys.argv[1:]:
        if before != after:
            print("docs/reference.md is not up to date: run `python -m scripts.reference`", file=sys.stderr)
        return int(before != after)
    PAGE.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
