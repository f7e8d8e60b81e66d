"""From records to names: who is called what, what a sandbox sees, what its two files say.

Nothing here touches the machine, but for reading the host's ``resolv.conf``.

May import: lifecycle.describe, lifecycle.state, dns, desired, endpoint, sandbox, network, types.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, auto
from functools import cache
from pathlib import Path
from typing import TypeAlias

from ..desired import HOST
from ..dns import hosts, resolvconf
from ..dns.book import Book, Box, Endpoint, Note, Packed, box_note, end_note, named
from ..dns.resolvconf import ResolvConf
from ..dns.wire import name_of
from ..endpoint import EndpointRecord
from ..errors import LibnetworkError
from ..firewall import resolver
from ..network import NetworkRecord
from ..sandbox import HOST_GATEWAY, Candidate, SandboxRecord
from ..types import IPAddress, PortBinding
from .describe import Describer
from .state import Record, State

HOST_NAMES = ("host.docker.internal", "host.containers.internal")
"""What the host is called inside: the address is the network's gateway."""
STUB = "127.0.0.53"
_STUB_BEHIND = Path("/run/systemd/resolve/resolv.conf")
_GENERATED = "ep-"
_CONFS_MAX = 64

_Overrides: TypeAlias = tuple[tuple[str, ...] | None, tuple[str, ...] | None, tuple[str, ...] | None]


class _Seen(Enum):
    """By whom the host's ``resolv.conf`` is seen: by the service, in a sandbox that has one, in one that has none."""

    BEHIND = auto()
    SERVED = auto()
    DIRECT = auto()
    DIRECT6 = auto()


class Naming:
    """Says what records mean for names.

    Args:
        state: The records.
        describer: Knows the order of a sandbox's endpoints.
        resolv_conf: The host's file.
        reach: From a namespace's path to the one by which other processes have it, the name service's among them.
    """

    def __init__(self, state: State, describer: Describer, resolv_conf: Path, reach: Callable[[str], str]) -> None:
        self._state = state
        self._describer = describer
        self._path = resolv_conf
        self.reach = reach
        self._read: tuple[tuple[int, int], ResolvConf] | None = None
        self.warning = ""
        self._confs: dict[tuple[_Seen, _Overrides], tuple[ResolvConf, ResolvConf, str]] = {}

    def serves(self, sandbox: SandboxRecord | None) -> bool:
        """Whether a sandbox has a name service."""
        return sandbox is not None and self._describer.has_names(sandbox)

    def box(self, sandbox: SandboxRecord) -> Box:
        """Return what a sandbox sees."""
        candidates = self._candidates(sandbox)
        conf, _ = self._conf(sandbox, _Seen.BEHIND)
        closed = all(each.internal for each in candidates)
        behind = [
            (each.address, each.host)
            for each in conf.behind or ()
            if each.address != resolver.ADDRESS and not (each.host and closed)
        ]
        endpoints = self._state.endpoints
        networks = dict.fromkeys(endpoints[each.endpoint_id].network_id for each in candidates)
        records = self._records(sandbox, candidates)
        pairs = {name_of(alias): name_of(name) for alias, name in sandbox.aliases.items()}
        aliases = {alias: name for alias, name in pairs.items() if alias and name}
        return Box(tuple(networks), records, aliases, tuple(behind), conf.ndots, self.reach(sandbox.key))

    def _candidates(self, sandbox: SandboxRecord) -> list[Candidate]:
        """A sandbox's endpoints in their order; by interface where a driver is not there now."""
        try:
            return self._describer.candidates(sandbox.id)
        except LibnetworkError:
            joined = self._state.in_sandbox(sandbox.id)
            networks = self._state.networks
            return [
                Candidate(each.id, networks[each.network_id].name, 0, networks[each.network_id].internal, ())
                for each in joined
            ]

    def _records(self, sandbox: SandboxRecord, candidates: Sequence[Candidate]) -> dict[bytes, Packed]:
        """The user's records, then the host's names."""
        gateways = [str(each) for each in _gateways(candidates)]
        found = named(
            (name, each)
            for name, address in sandbox.extra_hosts.items()
            for each in (gateways if address == HOST_GATEWAY else [address])
        )
        host = named((name, each) for name in HOST_NAMES for each in gateways)
        return {**host, **found}

    def files(self, sandbox: SandboxRecord) -> tuple[str, str]:
        """Return ``hosts`` and ``resolv.conf`` of a sandbox."""
        joined = self._state.in_sandbox(sandbox.id)
        own = [address.ip for each in joined for address in each.addresses]
        gateways = _gateways(self._candidates(sandbox)) if _wants_gateway(sandbox) else []
        extra = {name: address for name, address in sandbox.extra_hosts.items() if address != HOST_GATEWAY}
        for name, address in sandbox.extra_hosts.items():
            if address == HOST_GATEWAY and gateways:
                extra[name] = str(gateways[0])
        names = hosts.own_names(sandbox.hostname, sandbox.domainname)
        direct = _Seen.DIRECT6 if any(each.version == 6 for each in own) else _Seen.DIRECT
        _, conf = self._conf(sandbox, _Seen.SERVED if self.serves(sandbox) else direct)
        return hosts.text(extra, own, names, ipv6=_has_ipv6()), conf

    def _conf(self, sandbox: SandboxRecord, seen: _Seen) -> tuple[ResolvConf, str]:
        """What becomes of the host's file, and its text: the same for most sandboxes, so it is kept."""
        host, overrides = self._host(), _overrides(sandbox)
        known = self._confs.get((seen, overrides))
        if known is None or known[0] is not host:
            if len(self._confs) >= _CONFS_MAX:
                self._confs.clear()
            conf = _derived(host.override(*overrides), seen)
            known = self._confs[seen, overrides] = host, conf, conf.text()
        return known[1:]

    def _host(self) -> ResolvConf:
        """The host's own file, read again when it has changed; one that cannot be read counts as empty."""
        for path in (self._path, _STUB_BEHIND):
            try:
                status = os.stat(path)  # noqa: PTH116 (with every operation)
                mark = status.st_ino, status.st_mtime_ns
                if self._read is None or self._read[0] != mark:
                    self._read = mark, resolvconf.parse(path.read_text(encoding="utf-8", errors="replace"), str(path))
            except FileNotFoundError:
                continue
            except OSError as error:
                self.warning = (
                    f"cannot read {path}: {error.strerror}: names that are not ours are asked of nobody but given `dns`"
                )
                continue
            self.warning = ""
            if self._read[1].nameservers != (STUB,) or path == _STUB_BEHIND or not _STUB_BEHIND.exists():
                return self._read[1]
        return self._read[1] if self._read else ResolvConf(str(self._path))

    def sandbox(self, sandbox_id: str) -> SandboxRecord | None:
        """Return the record of a sandbox."""
        return self._state.sandboxes.get(sandbox_id)

    def sandboxes(self, touched: Iterable[tuple[Record | None, Record | None]]) -> list[SandboxRecord]:
        """Return the sandboxes whose files may be different after records changed: those of namespaces of their own."""
        ids = _Scope(self._state, touched).sandboxes
        records = [self._state.sandboxes[each] for each in ids if each in self._state.sandboxes]
        return [each for each in records if each.key != HOST and not each.handed]

    def notes(
        self, book: Book, touched: Iterable[tuple[Record | None, Record | None]]
    ) -> tuple[list[Note], list[Note]]:
        """Return what a book must be told after records changed: what goes, and what comes or is different."""
        scope = _Scope(self._state, touched)
        gone: list[Note] = []
        come: list[Note] = []
        for network_id in scope.networks:
            network = self._state.networks.get(network_id)
            if network is None and network_id in book.networks:
                gone.append(["no-net", network_id])
            elif network is not None and network_id not in book.networks:
                come.append(["net", network_id, network.name])
        for network_id, endpoint_id in scope.endpoints:
            held = book.networks[network_id].endpoints.get(endpoint_id) if network_id in book.networks else None
            now = self._endpoint(endpoint_id)
            if now is None and held is not None:
                gone.append(["no-end", network_id, endpoint_id])
            elif now is not None and now != held:
                come.append(end_note(network_id, endpoint_id, now))
        for sandbox_id in scope.sandboxes:
            sandbox = self._state.sandboxes.get(sandbox_id)
            seen = self.box(sandbox) if sandbox is not None and self.serves(sandbox) else None
            if seen is None and sandbox_id in book.boxes:
                gone.append(["no-box", sandbox_id])
            elif seen is not None and seen != book.boxes.get(sandbox_id):
                come.append(box_note(sandbox_id, seen))
        return gone, come

    def _endpoint(self, endpoint_id: str) -> Endpoint | None:
        record = self._state.endpoints.get(endpoint_id)
        sandbox = self._state.sandboxes.get(record.sandbox_id or "") if record else None
        if record is None or record.sandbox_id is None or not record.addresses:
            return None
        if not record.host and (sandbox is None or not self._describer.has_names(sandbox, record)):
            return None
        addresses = tuple(each.ip.packed for each in record.addresses)
        return Endpoint(tuple(dict.fromkeys(_names(record, sandbox))), addresses, tuple(_ports(record)))


class _Scope:
    """Whose names may be different after records changed."""

    def __init__(self, state: State, touched: Iterable[tuple[Record | None, Record | None]]) -> None:
        self.networks: dict[str, None] = {}
        self.endpoints: dict[tuple[str, str], None] = {}
        self.sandboxes: dict[str, None] = {}
        for before, after in touched:
            for record in (before, after):
                match record:
                    case EndpointRecord():
                        self.endpoints[record.network_id, record.id] = None
                        if record.sandbox_id:
                            self.sandboxes[record.sandbox_id] = None
                    case SandboxRecord():
                        self.sandboxes[record.id] = None
                        joined = state.in_sandbox(record.id)
                        self.endpoints.update({(each.network_id, each.id): None for each in joined})
                    case NetworkRecord():
                        self.networks[record.id] = None
                    case None:
                        pass


def _names(endpoint: EndpointRecord, sandbox: SandboxRecord | None) -> Iterator[str]:
    """The names of an endpoint, the one for whoever asks by address first.

    One on another host has no sandbox here: its host tells the sandbox's names among its own.
    """
    yield from endpoint.dns_names
    if not endpoint.name.startswith(_GENERATED):
        yield endpoint.name
    if sandbox is not None:
        yield sandbox.name
    yield from (endpoint.name, *endpoint.aliases, (endpoint.sandbox_id or "")[:12])
    if sandbox is not None and sandbox.hostname:
        yield sandbox.hostname
        if sandbox.domainname:
            yield f"{sandbox.hostname}.{sandbox.domainname}"


def _ports(endpoint: EndpointRecord) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """The ports that an endpoint exposes or publishes, with the names that services have by custom."""
    offered = dict.fromkeys(
        (binding.container_port + number, binding.protocol)
        for binding in (*map(PortBinding.parse, endpoint.expose), *endpoint.ports)
        for number in range(binding.count)
    )
    for port, protocol in offered:
        yield port, protocol, _services(port, protocol)


@cache
def _services(port: int, protocol: str) -> tuple[str, ...]:
    try:
        return (socket.getservbyport(port, protocol),)
    except OSError:
        return ()


def _gateways(candidates: Iterable[Candidate]) -> list[IPAddress]:
    """The host's addresses as a sandbox reaches them, one per family."""
    found: dict[int, IPAddress] = {}
    for each in candidates:
        for address in each.gateways:
            found.setdefault(address.version, address)
    return [address for _, address in sorted(found.items())]


def _wants_gateway(sandbox: SandboxRecord) -> bool:
    return HOST_GATEWAY in sandbox.extra_hosts.values()


def _derived(conf: ResolvConf, seen: _Seen) -> ResolvConf:
    match seen:
        case _Seen.BEHIND:
            return conf.internal(resolver.ADDRESS)
        case _Seen.SERVED:
            return conf.internal(resolver.ADDRESS, ["ndots:0"])
        case _:
            return conf.direct(ipv6=seen is _Seen.DIRECT6)


def _overrides(sandbox: SandboxRecord) -> _Overrides:
    return sandbox.dns or None, sandbox.dns_search or None, sandbox.dns_options or None


@cache
def _has_ipv6() -> bool:
    return os.path.isdir("/proc/sys/net/ipv6")  # noqa: PTH112 (asked once)


def host_resolv_conf(host: str) -> Path:
    """Return the ``resolv.conf`` of the namespace that plays the host: what ``ip netns exec`` shows there, else the machine's."""
    own = Path("/etc/netns", Path(host).name, "resolv.conf")
    return own if host != HOST and own.exists() else Path("/etc/resolv.conf")
