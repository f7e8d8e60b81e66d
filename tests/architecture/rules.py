"""Reads a package's sources and says which of the house's rules they break: who may import whom, names, sizes, docstrings.

Division of labour: `read` turns files into `Module` values, each rule is a function from those to sentences. No module is imported
here, so a tree that would not even load can be judged.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from attrs import frozen

LAYERS: tuple[frozenset[str], ...] = tuple(
    frozenset(line.replace("|", " ").split())
    for line in (
        "errors | display",
        "types | labels | handle",
        "nftables | config | routes | condition",
        "published",
        "desired",
        "facts | render",
        "sandbox",
        "endpoint",
        "network",
        "scene",
        "plugins",
        "ipam | store | kernel | firewall | ports | dns",
        "drivers",
        "lifecycle",
        "show",
        "notebook",
        "composition",
        "controller",
        "serving",
        "cli | __init__ | experiments | topology",
        "testing | __main__",
    )
)
"""The import line, from the ground up. What stands on one line does not know each other; nothing points up."""

BLIND: Mapping[str, frozenset[str]] = {
    "drivers": frozenset({"kernel", "store", "ipam", "ports"}),
    "labels": frozenset({"errors"}),
}
"""Rooms that do not know some of the rooms below them either."""

CONTRACTS: Mapping[str, frozenset[str]] = {
    "kernel": frozenset({"api"}),
    "store": frozenset({"api", "cluster", "codec"}),
    "ipam": frozenset({"api"}),
    "drivers": frozenset({"api", "acting", "options"}),
}
"""What of a room others may import: all but its implementations, which the composition root chooses."""

ROOTS = frozenset({"composition", "controller", "serving", "testing"})
"""The composition root, and what stands in for it in tests."""

HANDLES = frozenset({"network", "endpoint", "sandbox"})
"""Modules that may name one another for the type checker alone."""

FORBIDDEN_NAMES = frozenset({"utils", "util", "common", "helpers", "helper", "misc"})

FUNCTION_LINES, FILE_LINES, CLASS_METHODS = 60, 500, 20

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@frozen
class Import:
    """One import: the absolute name of the module, the line, and how it is meant."""

    name: str
    line: int
    for_types: bool
    lazy: bool


@frozen
class Module:
    """One source file: its dotted name below the package (empty for the package's own ``__init__``) and what it imports."""

    name: str
    path: Path
    tree: ast.Module
    lines: int
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        """The room that it is in, or the module that it is where it is in none."""
        return self.name.partition(".")[0] or "__init__"

    @property
    def is_package(self) -> bool:
        """Whether it is the ``__init__`` of a folder."""
        return self.path.name == "__init__.py"


def read(root: Path) -> list[Module]:
    """Return every module below the folder of a package."""
    return [_module(path, root) for path in sorted(root.rglob("*.py"))]


def _module(path: Path, root: Path) -> Module:
    text = path.read_text()
    parts = list(path.relative_to(root).with_suffix("").parts)
    package = parts[:-1]
    if parts[-1] == "__init__":
        parts.pop()
    tree = ast.parse(text, str(path))
    imports = tuple(_imports(tree, root.name, package, for_types=False, lazy=False))
    return Module(".".join(parts), path, tree, len(text.splitlines()), imports)


def _imports(node: ast.AST, top: str, package: Sequence[str], *, for_types: bool, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import():
                yield from (Import(alias.name, child.lineno, for_types, lazy) for alias in child.names)
            case ast.ImportFrom():
                base = _base(child, top, package)
                yield from (Import(f"{base}.{alias.name}", child.lineno, for_types, lazy) for alias in child.names)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from _imports(child, top, package, for_types=True, lazy=lazy)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _imports(child, top, package, for_types=for_types, lazy=True)
            case _:
                yield from _imports(child, top, package, for_types=for_types, lazy=lazy)


def _base(node: ast.ImportFrom, top: str, package: Sequence[str]) -> str:
    if not node.level:
        return node.module or ""
    above = [top, *package][: len(package) + 2 - node.level]
    return ".".join([*above, *([node.module] if node.module else [])])


# who may import whom


def breaches(modules: Sequence[Module], top: str) -> list[str]:
    """Return what breaks the import line: an import of what stands above, beside, or is nobody's business."""
    found: list[str] = []
    for module in modules:
        for each in module.imports:
            target = _inside(each, top)
            if target is None or target.partition(".")[0] == module.room:
                continue
            why = _breach(module, each, target)
            if why:
                found.append(f"{_place(module, each.line)}: imports {target}: {why}")
    return found


def _inside(each: Import, top: str) -> str | None:
    """The name below the package, ``__init__`` for names that it exports itself; ``None`` for others' modules."""
    parts = each.name.split(".")
    if parts[0] != top:
        return None
    return ".".join(parts[1:]) or "__init__"


def _breach(module: Module, each: Import, target: str) -> str:
    room, other = module.room, target.partition(".")[0]
    if module.name == "" and each.for_types:
        return ""
    mine, its = _layer(room), _layer(other)
    if mine is None:
        return f"{room} stands nowhere on the import line"
    if its is None and module.name == "":
        return ""
    if its is None:
        return f"{other} stands nowhere on the import line; import from the module that has it"
    if each.for_types and {room, other} <= HANDLES:
        return ""
    if its > mine:
        return "points up"
    if its == mine:
        return f"{room} and {other} do not know each other"
    if other in BLIND.get(room, ()):
        return f"{room} does not know {other}"
    part = target.split(".")[1] if "." in target else ""
    if other in CONTRACTS and room not in ROOTS and part not in CONTRACTS[other]:
        return f"only {' and '.join(sorted(ROOTS))} choose implementations; others import {', '.join(sorted(CONTRACTS[other]))}"
    return ""


def _layer(room: str) -> int | None:
    return next((number for number, layer in enumerate(LAYERS) if room in layer), None)


def netlink(modules: Sequence[Module]) -> list[str]:
    """Return who imports pyroute2 outside the kernel room, or while it is loaded itself."""
    return [
        f"{_place(module, each.line)}: imports {each.name}: only kernel/ does"
        for module in modules
        for each in module.imports
        if each.name.split(".")[0] == "pyroute2" and module.room != "kernel"
    ]


def cycles(modules: Sequence[Module], top: str) -> list[str]:
    """Return the modules that reach themselves through what is imported while they load."""
    names = {module.name for module in modules}
    edges = {module.name: _loaded(module, names, top) - {module.name} for module in modules}
    return [f"{name or top}: imports itself through {', '.join(sorted(edges[name]))}" for name in _circular(edges)]


def _loaded(module: Module, names: set[str], top: str) -> set[str]:
    found: set[str] = set()
    for each in module.imports:
        target = _inside(each, top)
        if target is None or each.for_types or each.lazy:
            continue
        parts = target.split(".")
        found |= {name for name in (".".join(parts[:end]) for end in range(1, len(parts) + 1)) if name in names}
    return found - {module.name.rpartition(".")[0]}  # the package of a module has begun to load before it


def _circular(edges: Mapping[str, set[str]]) -> list[str]:
    left = {name: set(targets) for name, targets in edges.items()}
    while leaves := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in leaves:
            del left[name]
    return sorted(left)


# names, sizes, docstrings


def bad_names(modules: Sequence[Module]) -> list[str]:
    """Return modules whose names say nothing about what is in them."""
    return [
        f"{module.path}: a module named {part} has no subject"
        for module in modules
        for part in module.name.split(".")
        if part.strip("_") in FORBIDDEN_NAMES
    ]


def too_large(modules: Sequence[Module]) -> list[str]:
    """Return files, functions (their docstrings not counted) and classes beyond their budgets."""
    found = [
        f"{module.path}: {module.lines} lines, at most {FILE_LINES}" for module in modules if module.lines > FILE_LINES
    ]
    for module in modules:
        for node in ast.walk(module.tree):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef() if _length(node) > FUNCTION_LINES:
                    found.append(
                        f"{_place(module, node.lineno)}: {node.name} has {_length(node)} lines, at most {FUNCTION_LINES}"
                    )
                case ast.ClassDef() if len(_public_methods(node)) > CLASS_METHODS:
                    count = len(_public_methods(node))
                    found.append(
                        f"{_place(module, node.lineno)}: {node.name} has {count} public methods, at most {CLASS_METHODS}"
                    )
                case _:
                    pass
    return found


def _length(node: Function) -> int:
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return (node.end_lineno or node.lineno) - body[0].lineno + 1 if body else 0


def _public_methods(node: ast.ClassDef) -> list[Function]:
    """The methods that a class offers; a property and its setter are an attribute, a test is offered to nobody."""
    functions = (each for each in node.body if isinstance(each, Function) and not each.name.startswith(("_", "test_")))
    return [each for each in functions if not _is(each, "property", "setter", "overload")]


def _is(node: Function | ast.ClassDef, *names: str) -> bool:
    decorators = (each.func if isinstance(each, ast.Call) else each for each in node.decorator_list)
    return any(
        (each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "")) in names for each in decorators
    )


def undocumented(modules: Sequence[Module]) -> list[str]:
    """Return modules and public names without a docstring, and packages whose docstrings do not say who does what.

    A method whose body is ``...`` belongs to a port, whose types say all.
    """
    found: list[str] = []
    for module in modules:
        text = ast.get_docstring(module.tree) or ""
        if not text:
            found.append(f"{module.path}: has no docstring")
        elif module.is_package:
            missing = [phrase for phrase in ("Division of labour", "May import") if phrase not in text]
            found += [f"{module.path}: its docstring does not say {phrase!r}" for phrase in missing]
        found += [f"{_place(module, node.lineno)}: {node.name} has no docstring" for node in _bare(module.tree.body)]
    return found


def _bare(body: Iterable[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    for node in body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node) and not _is_port(node) and not _is(node, "setter", "overload"):
            yield node
        if isinstance(node, ast.ClassDef):
            yield from _bare(node.body)


def _is_port(node: Function | ast.ClassDef) -> bool:
    last = node.body[-1]
    return isinstance(last, ast.Expr) and isinstance(last.value, ast.Constant) and last.value.value is ...


def _place(module: Module, line: int) -> str:
    return f"{module.path}:{line}"
