"""Picks the implementations: a controller's store and kernel, and by these its drivers, IPAM, ports and firewall.

Division of labour: `controller` says when; its callers may give it a store and a kernel of their own. Everything else is chosen here.

May import: everything below; implementations inside functions, when they are needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from .config import ControllerConfig
from .desired import HOST, Sysctl
from .drivers.api import NetworkDriver
from .drivers.remote.driver import RemoteDriver
from .errors import InvalidParameter
from .firewall.table import TABLE_PREFIX, table
from .ipam.api import IpamDriver
from .ipam.remote import RemoteIpam
from .kernel.api import Kernel
from .lifecycle import files
from .lifecycle.env import Env
from .lifecycle.names import PACKAGE, Summons
from .plugins.client import Found
from .plugins.discovery import Discovery
from .plugins.registry import Registry
from .ports.ranges import DYNAMIC_PORTS, parse_port_range, parse_reserved_ports
from .ports.reservations import Reservations
from .sandbox import Sandbox
from .store.api import Store
from .types import check_path

if TYPE_CHECKING:
    from .kernel.linux import LinuxKernel


def compose(identity: str, store: Store, kernel: Kernel, config: ControllerConfig, directory: Path | None) -> Env:
    """Return what a controller of an identity works with.

    Args:
        identity: The controller's id.
        store: Its records.
        kernel: Its machine.
        config: What its caller configured.
        directory: Where its store keeps files, if it does.
    """
    plugins = Discovery(config.plugin_sockets, config.plugin_specs), config.plugin_timeout
    remote_drivers: Found[NetworkDriver] = Found(*plugins, "NetworkDriver", RemoteDriver)
    remote_ipams: Found[IpamDriver] = Found(*plugins, "IpamDriver", RemoteIpam)
    blocked = config.blocked_plugins
    drivers = Registry("libnetwork_py.drivers", "driver", NetworkDriver, blocked, remote_drivers)  # type: ignore[type-abstract]
    ipams = Registry("libnetwork_py.ipam", "IPAM driver", IpamDriver, blocked, remote_ipams)  # type: ignore[type-abstract]
    for registry, given in ((drivers, config.drivers), (ipams, config.ipams)):
        for name, plugin in given.items():
            registry.register(name, plugin)
    if config.address_pools:
        from .ipam.default import DefaultIpam

        ipams.register("default", DefaultIpam(config.address_pools))
    ports = Reservations(partial(kernel.sockets, HOST), *_free_ports(kernel), kernel.renew)
    ours = table(HOST, f"{TABLE_PREFIX}{identity[:8]}")
    place, behind = _places(kernel, directory)
    return Env(identity, store, kernel, drivers, ipams, ports, ours, config, place, behind)


def name_service(kernel: LinuxKernel, directory: Path, how: str, config: ControllerConfig) -> Summons:
    """Return what finds or starts the process of the name service.

    Args:
        kernel: Where it runs.
        directory: The state directory that it belongs to.
        how: ``lasting``: names go on while no controller is there; else ``temporary``.
        config: What the caller configured.
    """
    from .kernel.children import Child, Program

    program = Program(PACKAGE, (str(directory / PACKAGE.name), how, str(config.dns_ttl)))
    return partial(Child, kernel.opener, directory, program)


def _places(kernel: Kernel, directory: Path | None) -> tuple[Path, Path | None]:
    """Return where sandboxes have folders for their files, and what these are links into, if they are."""
    if kernel.files is not None:
        return kernel.files, None
    if directory is not None and (kernel.privilege == "user" or not files.can_be_written()):
        return directory / "netns", None
    return files.DIRECTORY, files.in_memory()


def _free_ports(kernel: Kernel) -> tuple[range, frozenset[int]]:
    """Return what "any free port" is chosen from, and the ports that are kept back, as the host has it."""
    span, kept = (Sysctl(HOST, f"ipv4.{name}", "") for name in ("ip_local_port_range", "ip_local_reserved_ports"))
    found = kernel.facts(words=[span, kept]).sysctls
    try:
        ports = parse_port_range(found.get(span.key, ""))
    except InvalidParameter:
        return DYNAMIC_PORTS, frozenset()
    return ports, parse_reserved_ports(found.get(kept.key, ""), ports)


def host_path(host: Sandbox | str | os.PathLike[str] | None) -> str:
    """Return the path of the namespace that plays the host; empty: the caller's own.

    Raises:
        InvalidParameter: it is of another type, or no path.
    """
    if host is None:
        return ""
    if isinstance(host, Sandbox):
        return host.key
    if isinstance(host, (str, os.PathLike)):
        return str(Path(check_path("host", host, "invalid_host", "one like /run/netns/NAME")).absolute())
    raise InvalidParameter(
        f"host is a Sandbox, the path of a network namespace or None, not {type(host).__name__}", code="invalid_host"
    )


def namespace_place(netns: str | os.PathLike[str] | int | None) -> str | int | None:
    """Return where a namespace to adopt is: a path, or a process's id.

    Raises:
        InvalidParameter: neither.
    """
    if netns is None or (type(netns) is int and netns > 0):
        return netns
    if isinstance(netns, int):
        raise InvalidParameter(
            f'netns={netns!r} is no process: give the id of one, a path or "host"', code="invalid_pid", pid=netns
        )
    return check_path("netns", netns, "not_a_namespace", 'one like /run/netns/NAME, the id of a process or "host"')


@contextmanager
def undone_on_failure(undo: Callable[[], object]) -> Iterator[ExitStack]:
    """Call ``undo``, and what is put on the stack, if the body raises."""
    with ExitStack() as stack:
        stack.callback(undo)
        yield stack
        stack.pop_all()


def linux(host: str, config: ControllerConfig, directory: Callable[[], Path] | None = None) -> LinuxKernel:
    """Return the kernel layer. ``directory``: opens the state directory, where there is one that several processes may share."""
    from .kernel.linux import LinuxKernel

    return LinuxKernel(
        host or None,
        privilege=config.privilege,
        directory=directory,
        outside=config.outside,
        localhost=config.localhost,
    )


def persistent(state_dir: Path | None) -> tuple[Store, Path]:
    """Return the store of a state directory, and the directory."""
    from .store.directory import open_directory
    from .store.sqlite import SqliteStore

    directory = open_directory(state_dir)
    return SqliteStore(directory), directory
