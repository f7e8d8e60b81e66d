"""What a caller may configure of a controller, checked.

May import: types, errors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from attrs import field, fields, frozen

from .errors import InvalidParameter
from .types import IPAddress, IPNetwork, parse_address, parse_network

Privilege: TypeAlias = Literal["auto", "root", "user"]
"""Whose privilege a controller uses."""
Outside: TypeAlias = Literal["auto", "pasta", "none"]
"""How a host without root reaches the outside."""

PLUGIN_SOCKETS = (Path("/run/docker/plugins"),)
PLUGIN_SPECS = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))
"""Where Docker looks for plug-ins."""


def _paths(value: Sequence[str | os.PathLike[str]]) -> tuple[Path, ...]:
    return tuple(Path(each) for each in value)


def _pools(value: Sequence[tuple[str | IPNetwork, int]]) -> tuple[tuple[IPNetwork, int], ...]:
    pools = tuple((parse_network(base, "address pool"), int(size)) for base, size in value)
    for base, size in pools:
        if not base.prefixlen <= size <= base.max_prefixlen:
            raise InvalidParameter(
                f"address pool {base} cannot be cut into networks of /{size}",
                code="invalid_pool",
                pool=str(base),
                size=size,
            )
    return pools


def _privilege(value: str) -> Privilege:
    for known in ("auto", "root", "user"):
        if value == known:
            return known
    raise InvalidParameter(f"privilege is auto, root or user, not {value!r}", code="invalid_privilege", privilege=value)


def _advertised(value: str | IPAddress | None) -> IPAddress | None:
    return None if value is None else parse_address(value, "advertised address")


def _ttl(value: float) -> float:
    if not 0 < value <= 86400:
        raise InvalidParameter(
            f"lease_ttl {value!r}: give seconds, more than 0 and at most a day", code="invalid_ttl", ttl=value
        )
    return float(value)


def _outside(value: str) -> Outside:
    for known in ("auto", "pasta", "none"):
        if value == known:
            return known
    raise InvalidParameter(f"outside is auto, pasta or none, not {value!r}", code="invalid_outside", outside=value)


def _dns_ttl(value: int) -> int:
    if not 0 <= value < 1 << 31:
        raise InvalidParameter(
            f"invalid dns_ttl {value!r}: give seconds, 0 to 2147483647", code="invalid_ttl", ttl=value
        )
    return int(value)


@frozen(kw_only=True)
class ControllerConfig:
    """Configuration of a `NetworkController`.

    Attributes:
        address_pools: Predefined pools to choose subnets from: a base network and the prefix length of each subnet. Default: the
            reference's 31 networks of 172.17.0.0/16 to 192.168.240.0/20.
        blocked_plugins: Names of drivers and IPAMs that must not be loaded.
        drivers: Network drivers of the program's own, by name: instances that go before any plug-in of that name.
        ipams: IPAM drivers, likewise.
        plugin_sockets: Directories in which Docker's plug-ins have their sockets.
        plugin_specs: Directories of specification files of plug-ins that listen elsewhere, the first has priority.
        plugin_timeout: Seconds for a plug-in to be reached, trying again, and for each of its answers.
        repair_on_open: Make what the records describe and the kernel lacks when a controller opens; false leaves it to `reconcile`.
        privilege: ``root``: use the caller's own; ``user``: a user namespace, for which no privilege is needed; ``auto``: the caller's own
            if it is enough (``CAP_NET_ADMIN`` and ``CAP_SYS_ADMIN``), else a user namespace.
        advertise: This host's address in the underlay, at which other hosts of the cluster reach it. Default: the one from which it
            reaches the cluster's store.
        lease_ttl: Seconds without a word from this host after which the cluster's other hosts take it for dead, and its addresses and
            endpoints' names are free.
        outside: Without root, and with a host of the controller's own: ``pasta``: have that program lead it to the network where the caller
            is; ``auto``: if it is installed; ``none``: leave it alone.
        localhost: Likewise: have published TCP and UDP ports reached at 127.0.0.1 of the caller's own machine too, by a relay.
        dns_ttl: Seconds for which programs in sandboxes may keep an answer of the name service; the reference's 600.
        lock_timeout: Seconds to wait for another thread or process that is changing the same state directory.
    """

    address_pools: tuple[tuple[IPNetwork, int], ...] = field(default=(), converter=_pools)
    blocked_plugins: frozenset[str] = field(default=frozenset(), converter=frozenset)
    drivers: Mapping[str, object] = field(factory=dict)
    ipams: Mapping[str, object] = field(factory=dict)
    plugin_sockets: tuple[Path, ...] = field(default=PLUGIN_SOCKETS, converter=_paths)
    plugin_specs: tuple[Path, ...] = field(default=PLUGIN_SPECS, converter=_paths)
    plugin_timeout: float = field(default=30.0, converter=float)
    repair_on_open: bool = True
    advertise: IPAddress | None = field(default=None, converter=_advertised)
    lease_ttl: float = field(default=15.0, converter=_ttl)
    dns_ttl: int = field(default=600, converter=_dns_ttl)
    lock_timeout: float = field(default=60.0, converter=float)
    privilege: Privilege = field(default="auto", converter=_privilege)
    outside: Outside = field(default="auto", converter=_outside)
    localhost: bool = False

    @classmethod
    def of(cls, value: ControllerConfig | Mapping[str, object] | None) -> ControllerConfig:
        """Return a configuration for one, a mapping of its fields, or ``None``.

        Raises:
            InvalidParameter: unknown field or bad value.
        """
        if isinstance(value, ControllerConfig):
            return value
        if value is not None and not isinstance(value, Mapping):
            raise InvalidParameter(
                f"config is a ControllerConfig or a mapping of its fields, not {value!r}", code="invalid_configuration"
            )
        known = {attribute.name for attribute in fields(cls)}
        unknown = set(value or ()) - known
        if unknown:
            raise InvalidParameter(
                f"unknown configuration {', '.join(sorted(map(repr, unknown)))}: it knows {', '.join(sorted(known))}",
                code="unknown_configuration", names=sorted(unknown),
            )  # fmt: skip
        for name, given in (value or {}).items():
            _check(cls, name, given)
        return cls(**(value or {}))  # type: ignore[arg-type]  # the converters check each value


def _check(cls: type[ControllerConfig], name: str, given: object) -> None:
    """Name the field whose value a converter cannot read."""
    try:
        cls(**{name: given})  # type: ignore[arg-type]  # that is what is found out
    except InvalidParameter:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidParameter(
            f"configuration {name} cannot be {given!r}: see ControllerConfig.{name}",
            code="invalid_configuration",
            name=name,
        ) from error
