"""What a controller says of itself and its surroundings.

May import: lifecycle.engine, kernel.api, plugins, facts, types.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attrs import frozen

from ..desired import Element
from ..display import Displayed
from ..firewall.table import CLOSED, HOME
from ..plugins.registry import PluginInfo
from ..types import FAMILIES, Family
from . import neighbours
from .engine import Engine


@frozen
class Info(Displayed):
    """The answer of `NetworkController.info`.

    Attributes:
        id: The controller's id.
        versions: Of the library, its dependencies, Python and the running kernel.
        features: Kernel features found by trying them.
        drivers: Network drivers with the distribution they came with; ``ipams``: IPAM drivers.
        store: The store's class and place; ``firewall``: the packet filter's table.
        privilege: ``root``: the caller's own privilege is used; ``user``: that of a user namespace.
        outside: How the host reaches the outside: ``host``: it is the machine's own way; ``pasta``, or ``pasta: `` and why it does not
            work; ``none``.
        localhost: Whether ports published on a user's host are reached at 127.0.0.1 of the machine too.
        networks: How many there are; ``sandboxes``, ``endpoints``: likewise.
        cluster: The cluster's store, its hosts and this one's address; empty for a controller of its own.
        warnings: What does not hurt yet.
    """

    id: str
    versions: Mapping[str, str]
    features: Mapping[str, bool]
    drivers: tuple[PluginInfo, ...]
    ipams: tuple[PluginInfo, ...]
    store: str
    firewall: str
    privilege: str
    outside: str
    localhost: bool
    networks: int
    sandboxes: int
    endpoints: int
    cluster: str
    warnings: tuple[str, ...]


def gather(engine: Engine, directory: Path | None) -> Info:
    """Ask everybody."""
    with engine.reading() as state:
        counts = len(state.networks), len(state.sandboxes), len(state.endpoints)
    env = engine.env
    features = env.kernel.features()
    missing = [name for name in ("bridge", "veth", "nftables") if features.get(name) is False]
    cluster, troubles = engine.cluster.describe() if engine.cluster else ("", [])
    warnings = (
        *engine.warnings,
        *troubles,
        *engine.names.warnings,
        *engine.names.refusals(),
        *_neighbours(engine),
        *(f"this kernel lacks {name}, which the bridge driver needs" for name in missing),
    )
    return Info(
        env.id,
        _versions(),
        dict(features),
        tuple(env.drivers.info()),
        tuple(env.ipams.info()),
        f"{type(env.store).__name__} {directory or 'in memory'}",
        f"nftables inet {env.table.name}",
        env.kernel.privilege,
        env.kernel.outside(),
        env.kernel.localhost,
        *counts,
        cluster,
        warnings,
    )


def _neighbours(engine: Engine) -> list[str]:
    """What other tables of the packet filter mean for the bridges and published ports that there are."""
    with engine.reading() as state:
        elements = [
            word for each in state.networks for word in engine.describer.network(each) if isinstance(word, Element)
        ]
        endpoints = [each for each in state.endpoints.values() if each.bindings]
        ports = tuple((binding, frozenset(each.port_families)) for each in endpoints for binding in each.bindings)
    homes = {(str(word.fields[1]), family) for family in FAMILIES for word in elements if word.set is HOME[family]}
    bridges: dict[str, frozenset[Family]] = {
        bridge: frozenset(family for family in FAMILIES if (bridge, family) in homes) for bridge, _ in sorted(homes)
    }
    closed: frozenset[Family] = frozenset(
        family for family in FAMILIES if any(_closes(word, family) for word in elements)
    )
    if not bridges:
        return []
    ours = neighbours.Ours(engine.env.table.name, bridges, ports, closed)
    return list(neighbours.warnings(engine.env.kernel.packet_filter(), ours))


def _closes(word: Element, family: Family) -> bool:
    return word.set is CLOSED and word.fields == (f"ipv{family}",)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "kernel": platform.release()}
    for name in ("libnetwork_py", "pyroute2", "attrs", "typing-extensions"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
