"""Picks the implementations of drivers, IPAM, ports and firewall for a controller.

Division of labour: `controller` chooses store and kernel, which its callers may give it; everything that these two and the configuration
decide is chosen here.

May import: everything below; implementations inside functions, when they are needed.
"""

from __future__ import annotations

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
from .store.api import Store

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
    ports = Reservations(partial(kernel.sockets, HOST), *_free_ports(kernel))
    ours = table(HOST, f"{TABLE_PREFIX}{identity[:8]}")
    apart = kernel.privilege == "user" or not files.can_be_written()
    place = directory / "netns" if directory is not None and apart else files.DIRECTORY
    return Env(identity, store, kernel, drivers, ipams, ports, ours, config, place)


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


def _free_ports(kernel: Kernel) -> tuple[range, frozenset[int]]:
    """Return what "any free port" is chosen from, and the ports that are kept back, as the host has it."""
    span, kept = (Sysctl(HOST, f"ipv4.{name}", "") for name in ("ip_local_port_range", "ip_local_reserved_ports"))
    found = kernel.facts(words=[span, kept]).sysctls
    try:
        ports = parse_port_range(found.get(span.key, ""))
    except InvalidParameter:
        return DYNAMIC_PORTS, frozenset()
    return ports, parse_reserved_ports(found.get(kept.key, ""), ports)
