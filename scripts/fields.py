"""The fields of a model as its source has them: type, default, docstring (which no running code has)."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

NOT_DECLARED = re.compile(r"[Oo]bserved only|not declared")
MARKS = {"Meta": "not compared", "Unordered": "without order", "Replaces": "a change replaces it"}
"""What the markers of `kbstate.resource` mean to whoever declares something."""


@dataclass(frozen=True)
class Field:
    """One field."""

    name: str
    type: str
    default: str
    text: str
    marks: tuple[str, ...]
    declared: bool
    """Whether it is for desired files; others are only observed, or filled in."""


def fields(model: type) -> Iterator[Field]:
    """The fields that this class itself has, in the order of its source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    assert isinstance(tree, ast.ClassDef)
    for here, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if not isinstance(here, ast.AnnAssign) or not isinstance(here.target, ast.Name):
            continue
        source = ast.unparse(here.annotation)
        if here.target.id.startswith("_") or source.startswith("ClassVar"):
            continue
        text = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            text = one_line(str(after.value.value))
        name, marks = _type(here.annotation)
        declared = not NOT_DECLARED.search(text) and "Watched" not in source
        yield Field(here.target.id, name, _default(here.value), text, marks, declared)


def one_line(text: str) -> str:
    return " ".join(text.split())


class _Plain(ast.NodeTransformer):
    """A type as one would write it, without what only checks it. Collects the marks in words."""

    def __init__(self) -> None:
        self.marks: list[str] = []

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        outer = ast.unparse(node.value)
        if outer == "Annotated" and isinstance(node.slice, ast.Tuple):
            first, *rest = node.slice.elts
            called = [ast.unparse(item.func) for item in rest if isinstance(item, ast.Call)]
            self.marks += [MARKS[name] for name in called if name in MARKS]
            return self._visited(first)
        return self._visited(node.slice) if outer == "InstanceOf" else self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        return ast.Name(node.attr)

    def _visited(self, node: ast.expr) -> ast.AST:
        result: ast.AST = self.visit(node)
        return result


def _type(annotation: ast.expr) -> tuple[str, tuple[str, ...]]:
    plain = _Plain()
    text = ast.unparse(plain.visit(ast.parse(ast.unparse(annotation), mode="eval").body))
    return text.replace(" | None", "").replace(" | Trouble", ""), tuple(plain.marks)


def _default(value: ast.expr | None) -> str:
    """The default, in words where they say more; nothing for None, which means "not ours"."""
    if value is None:
        return "needed"
    if isinstance(value, ast.Call):  # Field(…)
        given = {word.arg: word.value for word in value.keywords}
        if "default_factory" in given:
            return "empty"
        first = given.get("default") or (value.args[0] if value.args else None)
        return _default(first)
    text = ast.unparse(value)
    return {"None": "", "()": "empty", "''": "empty"}.get(text, f"`{text}`")
