"""The commands and their options, in ``docker network``'s spelling.

May import: errors.
"""

from __future__ import annotations

import argparse
import re
from typing import Any, NoReturn

from ..errors import InvalidParameter
from . import machine, networks, plugins, sandboxes
from .arguments import Command
from .output import PROGRAM, Output


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are the library's errors, and which takes ``--ipv4=false`` as Docker does."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.allow_abbrev = False
        self._switches: set[str] = set()

    def error(self, message: str) -> NoReturn:
        """Raise `InvalidParameter`, whose exit status is argparse's own."""
        raise InvalidParameter(f"{message}; see '{self.prog} --help'", code="usage")

    def switch(self, name: str, *, default: bool, text: str) -> None:
        """Add ``--name``, ``--name=true`` and ``--name=false``."""
        self._switches.add(name)
        group = self.add_mutually_exclusive_group()
        destination = name.replace("-", "_")
        group.add_argument(f"--{name}", dest=destination, action="store_true", default=default, help=text)
        group.add_argument(f"--no-{name}", dest=destination, action="store_false", help=argparse.SUPPRESS)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Parse, after rewriting ``--name=false`` into a form that argparse has."""
        return super().parse_known_args(None if args is None else [self._spelling(each) for each in args], namespace)

    def _spelling(self, word: str) -> str:
        match = re.fullmatch(r"--([a-z0-9-]+)=(.*)", word)
        if not match or match[1] not in self._switches:
            return word
        if match[2].lower() not in {"true", "false", "1", "0", "t", "f"}:
            self.error(f"--{match[1]}: {match[2]!r} is neither true nor false")
        return f"--{match[1]}" if match[2].lower() in {"true", "1", "t"} else f"--no-{match[1]}"


class _Version(argparse.Action):
    """Prints the installed distribution's version; it is looked up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from importlib.metadata import version  # noqa: PLC0415 (takes 10 ms)

        Output(as_json=False).text(f"{PROGRAM} {version('libnetwork_py')}")
        parser.exit()


def build() -> Parser:
    """Return the parser of the whole command line."""
    parser = Parser(prog=PROGRAM, description="Networks, sandboxes and endpoints on this machine's kernel.")
    parser.add_argument("--state-dir", metavar="DIR", help="where the controller keeps its records (default: per user)")
    parser.add_argument(
        "--host", metavar="NAMESPACE", help="path, or name in `ip netns`, of the namespace that plays the host"
    )
    parser.add_argument(
        "--cluster", metavar="URL", help="the cluster's store, for networks across hosts: etcd://HOST:PORT,HOST:PORT"
    )
    parser.add_argument("--json", action="store_true", help="results and errors as JSON")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    groups = parser.add_subparsers(metavar="COMMAND", required=True)
    _network(groups.add_parser("network", help="networks and what is connected to them"))
    _sandbox(groups.add_parser("sandbox", help="network namespaces"))
    _machine(groups)
    _plugin(groups.add_parser("plugin", help="drivers for Docker"))
    return parser


def _command(group: Any, name: str, command: Command, text: str) -> Parser:
    parser: Parser = group.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    for option, metavar in (("--state-dir", "DIR"), ("--host", "NAMESPACE"), ("--cluster", "URL")):
        parser.add_argument(option, metavar=metavar, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="results and errors as JSON")
    parser.set_defaults(command=command)
    return parser


def _many(parser: Parser, *names: str, metavar: str, text: str) -> None:
    parser.add_argument(*names, action="append", default=[], metavar=metavar, help=text)


def _listing(parser: Parser) -> None:
    _many(
        parser,
        "-f",
        "--filter",
        metavar="KEY=VALUE",
        text="only those whose KEY is VALUE (label=KEY or label=KEY=VALUE)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="ids only")
    parser.add_argument("--no-trunc", action="store_true", help="whole ids")


def _network(parser: Parser) -> None:
    group = parser.add_subparsers(metavar="COMMAND", required=True)
    _listing(_command(group, "ls", networks.ls, "list networks"))
    _network_create(_command(group, "create", networks.create, "create a network"))
    rm = _command(group, "rm", networks.rm, "remove networks")
    rm.add_argument("-f", "--force", action="store_true", help="no error where there is no such network")
    rm.add_argument("--disconnect", action="store_true", help="endpoints leave and are deleted first")
    rm.add_argument("network", nargs="+")
    inspect = _command(group, "inspect", networks.inspect, "show all that is known of networks, as JSON")
    inspect.add_argument("network", nargs="+")
    prune = _command(group, "prune", networks.prune, "remove unused networks, and what dead temporary controllers left")
    prune.add_argument("-f", "--force", action="store_true", help="do not ask")
    _network_connect(_command(group, "connect", networks.connect, "connect a sandbox to a network"))
    disconnect = _command(group, "disconnect", networks.disconnect, "disconnect a sandbox from a network")
    disconnect.add_argument("network")
    disconnect.add_argument("sandbox")


def _network_create(parser: Parser) -> None:
    parser.add_argument("-d", "--driver", default="bridge", help="driver of the network (default: bridge)")
    _many(parser, "--subnet", metavar="CIDR", text="subnet, like 10.1.0.0/16")
    _many(parser, "--gateway", metavar="ADDRESS", text="gateway of a subnet")
    _many(parser, "--ip-range", metavar="CIDR", text="part of a subnet that addresses are taken from")
    _many(parser, "--aux-address", metavar="NAME=ADDRESS", text="address of a subnet to keep back")
    _many(parser, "-o", "--opt", metavar="KEY=VALUE", text="option of the driver")
    _many(parser, "--label", metavar="KEY[=VALUE]", text="label")
    _many(
        parser,
        "--route",
        metavar="ROUTE",
        text="route that every sandbox on it gets, like '10.9.0.0/16 via 172.18.0.5'",
    )
    parser.add_argument("--ipam-driver", default="default", help="who hands out addresses (default: default)")
    _many(parser, "--ipam-opt", metavar="KEY=VALUE", text="option of the IPAM driver")
    parser.add_argument("--config-from", metavar="NETWORK", help="the network to copy the configuration from")
    for name, default, text in (
        ("ipv4", True, "addresses of IPv4 (on; --ipv4=false)"),
        ("ipv6", False, "addresses of IPv6"),
        ("internal", False, "cut off from the outside"),
        ("attachable", False, "others may attach by hand"),
        ("config-only", False, "a configuration for other networks, nothing more"),
    ):
        parser.switch(name, default=default, text=text)
    parser.add_argument("network", help="its name")


def _network_connect(parser: Parser) -> None:
    parser.add_argument("--ip", metavar="ADDRESS", help="IPv4 address, like 172.30.100.104")
    parser.add_argument("--ip6", metavar="ADDRESS", help="IPv6 address, like 2001:db8::33")
    parser.add_argument("--mac-address", metavar="MAC", help="Ethernet address, like 02:42:ac:11:00:02")
    parser.add_argument("--name", help="name of the endpoint (default: the sandbox's)")
    parser.add_argument("--interface", help="name of the interface inside the sandbox (default: eth0, eth1, …)")
    parser.add_argument(
        "--gw-priority", type=int, default=0, metavar="NUMBER", help="the highest becomes the gateway (default: 0)"
    )
    _many(parser, "--alias", metavar="NAME", text="further name in this network")
    _many(parser, "-p", "--publish", metavar="PORT", text="publish a port, like 8080:80 or 127.0.0.1:5353:53/udp")
    _many(parser, "--expose", metavar="PORT", text="port that is served, for information")
    _many(parser, "--driver-opt", metavar="KEY=VALUE", text="option of the driver")
    _many(
        parser, "--sysctl", metavar="KEY=VALUE", text="setting of the interface, like net.ipv4.conf.IFNAME.rp_filter=0"
    )
    _many(parser, "--label", metavar="KEY[=VALUE]", text="label")
    _many(
        parser,
        "--route",
        metavar="ROUTE",
        text="route over this interface, like '10.9.0.0/16 via 172.18.0.5 metric 100'",
    )
    parser.add_argument("network")
    parser.add_argument("sandbox")


def _sandbox(parser: Parser) -> None:
    group = parser.add_subparsers(metavar="COMMAND", required=True)
    _listing(_command(group, "ls", sandboxes.ls, "list sandboxes"))
    _sandbox_create(_command(group, "create", sandboxes.create, "create a sandbox"))
    rm = _command(group, "rm", sandboxes.rm, "remove sandboxes and their endpoints")
    rm.add_argument(
        "-f", "--force", action="store_true", help="also where something it depends on is missing or broken"
    )
    rm.add_argument("sandbox", nargs="+")
    run = _command(group, "exec", sandboxes.execute, "run a program inside a sandbox; its exit status is the command's")
    _many(run, "-e", "--env", metavar="KEY=VALUE", text="variable of its environment, added to ours")
    run.add_argument("-w", "--workdir", metavar="DIR", help="directory to run it in")
    run.add_argument("sandbox")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- PROGRAM [ARGUMENT …]")


def _sandbox_create(parser: Parser) -> None:
    parser.add_argument(
        "--netns", metavar="PATH|PID|host", help="adopt a namespace: a path, a process's, or the host's own"
    )
    parser.add_argument("--hostname", help="the name it has for itself")
    parser.add_argument("--domainname", help="the domain it has for itself")
    _many(parser, "--dns", metavar="ADDRESS", text="name server")
    _many(parser, "--dns-search", metavar="DOMAIN", text="search domain")
    _many(parser, "--dns-option", metavar="OPTION", text="option of resolv.conf")
    _many(parser, "--add-host", metavar="NAME:ADDRESS", text="line of /etc/hosts (also NAME=ADDRESS)")
    _many(parser, "--sysctl", metavar="KEY=VALUE", text="setting of the namespace, like net.ipv4.ip_forward=1")
    _many(parser, "--label", metavar="KEY[=VALUE]", text="label")
    parser.add_argument("sandbox", help="its name")


def _machine(groups: Any) -> None:
    _command(groups, "info", machine.info, "versions, kernel features, drivers, warnings")
    reconcile = _command(
        groups, "reconcile", machine.reconcile, "compare what should exist with the kernel, and repair it"
    )
    reconcile.add_argument("--dry-run", action="store_true", help="list only; exit status 1 where anything differs")
    plan = _command(
        groups, "plan", machine.plan, "print what a Python script would do, as ip and nft lines, and do nothing"
    )
    plan.add_argument("file", help="the script, in which `controller` is the controller; - for standard input")
    events = _command(groups, "events", machine.events, "print what happens, as it happens")
    events.add_argument("--since", type=int, metavar="NUMBER", help="begin after this event")
    events.add_argument("-n", "--count", type=int, metavar="NUMBER", help="end after so many")


def _plugin(parser: Parser) -> None:
    group = parser.add_subparsers(metavar="COMMAND", required=True)
    serve = _command(
        group, "serve", machine.info, "offer a driver to Docker, as one of its plug-ins, until it is ended"
    )
    serve.set_defaults(alone=plugins.serve)
    serve.add_argument("--driver", metavar="NAME", help="network driver to offer")
    serve.add_argument("--ipam", metavar="NAME", help="IPAM driver to offer")
    serve.add_argument(
        "--name",
        default="libnetwork-py",
        help="the plug-in's name (libnetwork-py), as in docker network create -d NAME",
    )
    serve.add_argument("--socket", metavar="PATH", help="Unix socket (/run/docker/plugins/NAME.sock)")
    serve.add_argument("--listen", metavar="HOST:PORT", help="listen on TCP instead, with TLS")
    for name, text in (
        ("cert", "certificate"),
        ("key", "its key"),
        ("ca", "certificates of those whose clients may connect"),
    ):
        serve.add_argument(f"--tls-{name}", metavar="FILE", help=f"TLS: {text}, PEM")
