"""Tables read from the code when the documentation is built: a driver's options, an endpoint's states, the errors' codes."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

import libnetwork_py
from libnetwork_py import errors
from libnetwork_py.drivers.api import Capability, NetworkDriver, Option
from libnetwork_py.endpoint import TRANSITIONS
from libnetwork_py.plugins.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sphinx.application import Sphinx

HEADINGS = ("Option", "For", "Type", "Default", "While in use", "What it does")


def cells(option: Option) -> tuple[str, ...]:
    """Return one row, as Markdown."""
    kind = " or ".join(f"`{each}`" for each in option.choices) or option.type
    change = "changeable" if option.changeable else "fixed"
    return f"`{option.key}`", option.where, kind, f"`{option.default}`" if option.default else "", change, option.doc


def capabilities(capability: Capability) -> list[str]:
    """Return what a driver is like, a sentence each."""
    return [
        f"Scope: {capability.scope}.",
        "Its endpoints have addresses, from IPAM." if capability.addresses else "It has no subnets and no addresses.",
        "Its endpoints can publish ports." if capability.ports else "It publishes no ports.",
        *(["Its endpoints join the host's own sandbox and no other."] if capability.host_only else []),
        *(["There is at most one such network per controller."] if capability.singleton else []),
    ]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


class FromCode(SphinxDirective):
    """A directive whose content is Markdown made by `lines`."""

    def lines(self) -> list[str]:
        """Return the Markdown."""
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        """Return it parsed."""
        container = nodes.container()
        self.state.nested_parse(StringList(self.lines(), source=self.name), self.content_offset, container)
        return container.children


class DriverOptions(FromCode):
    """``{driver-options} NAME``: what a driver is like, and its options."""

    required_arguments = 1

    def lines(self) -> list[str]:
        """Return sentences and a table."""
        drivers = Registry("libnetwork_py.drivers", "driver", NetworkDriver)  # type: ignore[type-abstract]
        driver = drivers.get(self.arguments[0])
        sentences = [f"- {sentence}" for sentence in capabilities(driver.capability)]
        options = table(HEADINGS, map(cells, driver.options)) if driver.options else ["It has no options."]
        return [*sentences, "", *options]


class EndpointStates(FromCode):
    """``{endpoint-states}``: which verb an endpoint's state allows, and the state after it."""

    def lines(self) -> list[str]:
        """Return a table with a line for each verb."""
        states = list(dict.fromkeys(state for state, _ in TRANSITIONS))
        verbs = dict.fromkeys(verb for _, verb in TRANSITIONS)
        after: dict[tuple[str, str], str] = {key: f"`{state}`" for key, state in TRANSITIONS.items()}
        rows = [[f"`{verb}`", *(after.get((state, verb), "`Conflict`") for state in states)] for verb in verbs]
        return table(["", *(f"when `{state}`" for state in states)], rows)


class ErrorCodes(FromCode):
    """``{error-codes}``: every code that the package raises, with its category and messages."""

    def lines(self) -> list[str]:
        """Return a table with a line for each category and code."""
        messages: dict[tuple[str, str], dict[str, None]] = {}
        root = Path(libnetwork_py.__file__).parent
        for path in sorted(root.rglob("*.py")):
            if path.relative_to(root).parts[0] != "testing":
                for category, code, message in raised(ast.parse(path.read_text(encoding="utf-8"))):
                    messages.setdefault((category, code), {})[message] = None
        rows = [
            [f"`{code}`", f"`{category}`", "; ".join(texts)] for (category, code), texts in sorted(messages.items())
        ]
        return table(["Code", "Category", "Says"], rows)


def raised(tree: ast.AST) -> Iterator[tuple[str, str, str]]:
    """Return category, code and message of every error that a module makes with its code written out."""
    for call in ast.walk(tree):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id in errors.__all__
            and call.args
        ):
            for keyword in call.keywords:
                if keyword.arg == "code":
                    yield from ((call.func.id, code, template(call.args[0])) for code in texts(keyword.value))


def texts(node: ast.expr) -> Iterator[str]:
    """Return the texts that an expression may be: both branches of a condition."""
    if isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif text := template(node):
        yield text


def template(node: ast.expr) -> str:
    """Return a text or f-string with an ellipsis for each value, safe in Markdown."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    text = "".join(
        part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "…" for part in parts
    )
    return text.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_") if " " in text else text


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("driver-options", DriverOptions)
    app.add_directive("endpoint-states", EndpointStates)
    app.add_directive("error-codes", ErrorCodes)
    return {"version": "1", "parallel_read_safe": True}
