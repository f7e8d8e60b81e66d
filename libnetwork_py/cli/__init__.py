"""``python -m libnetwork_py`` and ``libnetwork-py``: the public API from a shell. It decides nothing.

Division of labour: `parser` says which commands and options there are, `arguments` what came of them; `networks`, `sandboxes`,
`plugins` and `machine` each call the API and hand the result on; `output` writes results as tables for people or as JSON, and errors;
`main` ties them together and turns an error's category into an exit status.

May import: controller, types, errors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

from ..errors import LibnetworkError
from .arguments import Arguments
from .output import Output, silence
from .parser import build

if TYPE_CHECKING:
    from ..controller import NetworkController

INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell gives it: 128 and the signal's number."""


def open_controller(arguments: Arguments) -> NetworkController:
    """Open the controller that ``--state-dir``, ``--host`` and ``--cluster`` name."""
    from ..controller import NetworkController  # noqa: PLC0415 (`--help` needs no kernel layer)

    # what says what differs, and mends it, must find it as it is
    settings = {"repair_on_open": not hasattr(arguments, "dry_run")}
    return NetworkController(arguments.state_dir, host=arguments.host_path, cluster=arguments.cluster, config=settings)


def main(
    argv: Sequence[str] | None = None, *, opener: Callable[[Arguments], NetworkController] = open_controller
) -> int:
    """Run one command and return its exit status.

    0; the category's ``exit_status`` where the library refuses (2 invalid, 3 not found, 4 conflict, 5 forbidden, 6 unavailable,
    7 not supported, 8 internal); the program's own for ``sandbox exec``; 130 after Ctrl-C.

    Args:
        argv: Arguments without the program's name; the process's own by default.
        opener: What makes the controller.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    output = Output(as_json="--json" in words)
    try:
        arguments = build().parse_args(words, Arguments())
        output = Output(as_json=arguments.json)
        if arguments.alone is not None:
            return arguments.alone(arguments, output)
        with opener(arguments) as controller:
            return arguments.command(controller, arguments, output)
    except LibnetworkError as error:
        return output.error(error)
    except ExceptionGroup as group:
        return _several(group, output)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone; say nothing, also not while closing
        silence()
        return 1


def _several(group: ExceptionGroup[Exception], output: Output) -> int:
    """Report each error of a teardown that went on; the exit status is the first one's. A defect keeps its traceback."""
    ours, others = group.split(LibnetworkError)
    if others is not None or ours is None:
        raise group
    statuses = [output.error(cast("LibnetworkError", each)) for each in _leaves(ours)]
    return statuses[0]


def _leaves(group: ExceptionGroup[Exception]) -> list[Exception]:
    nested = (_leaves(each) if isinstance(each, ExceptionGroup) else [each] for each in group.exceptions)
    return [leaf for leaves in nested for leaf in leaves]
