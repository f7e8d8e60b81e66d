"""``info``, ``reconcile``, ``plan`` and ``events``.

May import: controller (its type), errors.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING

from ..errors import InvalidParameter, LibnetworkError, NotFound
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
    code = _compiled(_script(arguments.file), arguments.file)
    with controller.plan() as planned:
        _run(code, arguments.file, controller)
    output.result({"plan": planned.text.splitlines()}, planned.text.rstrip("\n"))
    return 0


def _script(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise NotFound(f"cannot read {file}: {error.strerror}", code="no_such_file", path=file) from None
    except UnicodeDecodeError as error:
        raise InvalidParameter(f"{file} is no text in UTF-8: {error}", code="invalid_script", path=file) from None


def _compiled(source: str, file: str) -> CodeType:
    try:
        return compile(source, file, "exec")
    except SyntaxError as error:
        raise InvalidParameter(
            f"{file}, line {error.lineno}: {error.msg}", code="invalid_script", path=file, line=error.lineno
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise InvalidParameter(f"{file} is no Python: {error}", code="invalid_script", path=file) from None


def _run(code: CodeType, file: str, controller: NetworkController) -> None:
    """Run the user's script; what it raises that is none of the library's is said with the line that did."""
    try:
        exec(code, {"__name__": "__main__", "__file__": file, "controller": controller})  # noqa: S102 (the user's)
    except LibnetworkError:
        raise
    except Exception as error:
        lines = [each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == file]
        where = f"{file}, line {lines[-1]}" if lines else file
        raise InvalidParameter(f"{where}: {type(error).__name__}: {error}", code="script_failed", path=file) from error


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
