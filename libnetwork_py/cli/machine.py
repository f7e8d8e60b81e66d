"""``info``, ``reconcile``, ``plan`` and ``events``.

May import: controller (its type), errors.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NotFound
from .arguments import Arguments
from .output import SHORT, Output, outline, plain

if TYPE_CHECKING:
    from ..controller import NetworkController

DIFFERS = 1
"""Exit status where something differs from the records and was not mended."""


def info(controller: NetworkController, _arguments: Arguments, output: Output) -> int:
    """Print what the controller found here."""
    found = plain(controller.info())
    output.result(found, "\n".join(outline(found)))
    return 0


def reconcile(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """Compare with the kernel, and repair unless told not to."""
    report = controller.reconcile(repair=not arguments.dry_run)
    output.result(report, str(report))
    return 0 if report.repaired else DIFFERS


def plan(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """Run a script with everything it asks of ``controller`` planned and nothing done; print the plan."""
    source = _script(arguments.file)
    with controller.plan() as planned:
        exec(compile(source, arguments.file, "exec"), {"__name__": "__main__", "controller": controller})  # noqa: S102 (the user's)
    output.result({"plan": planned.text.splitlines()}, planned.text.rstrip("\n"))
    return 0


def _script(file: str) -> str:
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise NotFound(f"cannot read {file}: {error.strerror}", code="no_such_file", path=file) from None


def events(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """Print events as they come, one a line."""
    with controller.events(since=arguments.since) as stream:
        for seen, event in enumerate(stream, start=1):
            if output.as_json:
                output.json(event, indent=None)
            else:
                words = (
                    event.when.isoformat(timespec="milliseconds"),
                    event.object,
                    event.kind,
                    event.id[:SHORT],
                    event.name,
                )
                output.text(" ".join([*words, *([event.detail] if event.detail else [])]))
            if seen == arguments.count:
                break
    return 0
