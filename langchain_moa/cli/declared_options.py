"""The options of `MoAOptions` as the command line takes them.

They are read from the source of `options.py`: importing it takes longer than `moa --help` should.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class DeclaredOption:
    """One option of a mixture."""

    name: str
    text: str
    """What it means, without markup."""

    type: Any
    """What a value on the command line is: `int`, `float`, `int | float`, `bool`, `str`, a `Literal`, or `list[str]`.
    `None`: a table or an object, which only Python, and in part a configuration file, can give."""

    limits: Mapping[str, float]
    """Of a number: `ge` and `gt`, as pydantic names them."""


@cache
def declared_options() -> Mapping[str, DeclaredOption]:
    """Return all options by name, in the order in which they are declared."""
    module = ast.parse(files("langchain_moa").joinpath("options.py").read_text("utf-8"))
    options = next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "MoAOptions")
    aliases = {ast.unparse(node.targets[0]): node.value for node in module.body if isinstance(node, ast.Assign)}
    found = {}
    for field, text in pairwise(options.body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            name = ast.unparse(field.target)
            found[name] = DeclaredOption(
                name=name,
                text=" ".join(ast.literal_eval(text.value).replace("`", "").split()),
                type=_type_of(field.annotation, aliases),
                limits=dict(_limits(field.value)),
            )
    return found


def _type_of(annotation: ast.expr, aliases: Mapping[str, ast.expr]) -> Any:
    members = list(_members(annotation, aliases))
    names = {ast.unparse(member) for member in members}
    if "bool" in names:
        return bool
    if numbers := {"int", "float"} & names:
        return int | float if len(numbers) == 2 else float if "float" in numbers else int
    if "str" in names:
        return str
    for member in members:
        if isinstance(member, ast.Subscript) and ast.unparse(member.value) == "Literal":
            return Literal[tuple(ast.literal_eval(ast.Tuple(elts=_elements(member.slice), ctx=ast.Load())))]
        if isinstance(member, ast.Subscript) and ast.unparse(member.value) == "Sequence":
            return None if "Sequence" in ast.unparse(member.slice) else list[str]
    return None


def _members(annotation: ast.expr, aliases: Mapping[str, ast.expr]) -> Iterator[ast.expr]:
    """Yield the members of a union, and of the unions that it names."""
    if isinstance(annotation, ast.BinOp):
        yield from _members(annotation.left, aliases)
        yield from _members(annotation.right, aliases)
    elif isinstance(annotation, ast.Name) and annotation.id in aliases:
        yield from _members(aliases[annotation.id], aliases)
    else:
        yield annotation


def _elements(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _limits(value: ast.expr | None) -> Iterator[tuple[str, float]]:
    for keyword in value.keywords if isinstance(value, ast.Call) else ():
        if keyword.arg in ("ge", "gt"):
            yield keyword.arg, ast.literal_eval(keyword.value)
