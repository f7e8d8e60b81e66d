"""``sandbox …``.

May import: controller (its type), sandbox, errors.
"""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

from ..errors import InvalidParameter
from .arguments import Arguments, chosen, labels, pairs
from .networks import described_endpoint, each_of
from .output import PROGRAM, SHORT, Output, table

if TYPE_CHECKING:
    from ..controller import NetworkController
    from ..sandbox import Sandbox

NOT_EXECUTABLE, NOT_FOUND = 126, 127
"""Exit statuses of a shell for a program that cannot be run."""


def described(sandbox: Sandbox) -> dict[str, Any]:
    """Return what a program is told of a sandbox."""
    endpoints = list(map(described_endpoint, sandbox.endpoints()))
    return {
        "id": sandbox.id,
        "name": sandbox.name,
        "key": sandbox.key,
        "labels": sandbox.labels,
        "endpoints": endpoints,
    }


def ls(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """List sandboxes."""
    found = chosen(controller.sandboxes, arguments.filter)
    cut = None if arguments.no_trunc else SHORT
    if arguments.quiet:
        output.result([each.id for each in found], "\n".join(each.id[:cut] for each in found))
    elif output.as_json:
        output.json(list(map(described, found)))
    else:
        rows = [(each.id[:cut], each.name, each.key, *_endpoints(controller, each)) for each in found]
        output.text(table(("SANDBOX ID", "NAME", "NAMESPACE", "NETWORKS", "ADDRESSES", "PORTS"), rows))
    return 0


def _endpoints(controller: NetworkController, sandbox: Sandbox) -> tuple[str, str, str]:
    """Return the three last cells of a sandbox's row."""
    endpoints = sandbox.endpoints()
    networks = ", ".join(controller.network(each.network_id).name for each in endpoints)
    addresses = ", ".join(str(address) for each in endpoints for address in each.addresses)
    return networks, addresses, ", ".join(str(port) for each in endpoints for port in each.ports)


def create(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """Create a sandbox and print its id."""
    netns = arguments.netns
    sandbox = controller.create_sandbox(
        arguments.sandbox,
        netns=int(netns) if netns and netns.isascii() and netns.isdigit() else netns,
        hostname=arguments.hostname,
        domainname=arguments.domainname,
        dns=arguments.dns,
        dns_search=arguments.dns_search,
        dns_options=arguments.dns_option,
        extra_hosts=pairs(arguments.add_host, "--add-host", separators=":="),
        sysctls=pairs(arguments.sysctl, "--sysctl"),
        labels=labels(arguments.label),
    )
    output.result(described(sandbox), sandbox.id)
    return 0


def rm(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """Remove sandboxes, all that can be, and print their names."""
    return each_of(arguments.sandbox, lambda name: controller.sandbox(name).delete(force=arguments.force), output)


def execute(controller: NetworkController, arguments: Arguments, output: Output) -> int:
    """Run a program inside a sandbox, on our standard input and output; return its exit status."""
    argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not argv:
        raise InvalidParameter(f"name a program to run: {PROGRAM} sandbox exec NAME -- PROGRAM", code="usage")
    environment = {**os.environ, **pairs(arguments.env, "--env")}
    sandbox = controller.sandbox(arguments.sandbox)
    try:
        process = sandbox.popen(argv, env=environment, cwd=arguments.workdir)
    except FileNotFoundError as error:
        output.note(f"{PROGRAM}: {error.filename or argv[0]}: {error.strerror}")
        return NOT_FOUND
    except OSError as error:
        output.note(f"{PROGRAM}: {error.filename or argv[0]}: {error.strerror}")
        return NOT_EXECUTABLE
    return _wait(process)


def _wait(process: subprocess.Popen[Any]) -> int:
    """Wait for a program. Ctrl-C reaches it by itself, being in our terminal's group; SIGTERM and SIGHUP are handed on."""

    def hand_on(number: int, _frame: object) -> None:
        process.send_signal(number)

    before = {each: signal.signal(each, hand_on) for each in (signal.SIGTERM, signal.SIGHUP)}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return status if status >= 0 else 128 - status
