"""Small frozen values that every room speaks: addresses, names, MAC addresses, port bindings.

Division of labour: a value here checks its own form and nothing else; whether it is *free* or *allowed* is decided elsewhere.

May import: errors.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from types import MappingProxyType
from typing import Any, Literal, Self, TypeAlias, TypeGuard, cast

from attrs import evolve, field, frozen

from .errors import InvalidParameter

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network
IPInterface: TypeAlias = IPv4Interface | IPv6Interface
Family: TypeAlias = Literal[4, 6]
Protocol: TypeAlias = Literal["tcp", "udp", "sctp"]
Scope: TypeAlias = Literal["local", "global"]

PROTOCOLS: tuple[Protocol, ...] = ("tcp", "udp", "sctp")
FAMILIES: tuple[Family, ...] = (4, 6)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
INTERFACE_NAME_MAX = 15
"""Longest interface name the kernel takes (IFNAMSIZ less its zero byte)."""


def check_name(kind: str, name: str) -> str:
    """Return ``name`` if it may name a network, endpoint or sandbox.

    Docker's rule: a letter or digit, then letters, digits, ``_``, ``.`` and ``-``; at most 128 characters.

    Raises:
        InvalidParameter: ``name`` is empty or has another character.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):  # type: ignore[redundant-expr] # not every caller is checked
        what = kind if kind.endswith("name") else f"{kind} name"
        raise InvalidParameter(
            f"invalid {what} {name!r}: use 1 to 128 letters, digits, '_', '.' and '-', beginning with a letter or digit",
            code="invalid_name",
            kind=kind,
            name=name,
        )
    return name


def check_dns_name(kind: str, name: str) -> str:
    """Return ``name`` if it may be asked of a name service: `check_name`, and no part between dots is empty or of more than 63 letters.

    Raises:
        InvalidParameter: it may not.
    """
    if not all(0 < len(part) <= 63 for part in check_name(kind, name).split(".")):
        raise InvalidParameter(
            f"invalid {kind} {name!r}: each part between dots has 1 to 63 letters",
            code="invalid_name",
            kind=kind,
            name=name,
        )
    return name


def check_dns_names(kind: str, names: Iterable[str] | str) -> tuple[str, ...]:
    """Return names of one endpoint, if a question can ask for each and none is said twice.

    Raises:
        InvalidParameter: one may not be, or two differ in nothing, or in case alone.
    """
    checked = tuple(check_dns_name(kind, each) for each in as_tuple(names))
    met: set[str] = set()
    for each in checked:
        if each.lower() in met:
            raise InvalidParameter(
                f"{kind} {each!r} is given twice (names have no case): give each once",
                code="duplicate_name",
                name=each,
            )
        met.add(each.lower())
    return checked


def is_text(value: object) -> TypeGuard[str]:
    """Return whether ``value`` is text that can be written down: half a surrogate pair cannot."""
    if not isinstance(value, str):
        return False
    try:
        return value.isascii() or bool(value.encode())
    except UnicodeEncodeError:
        return False


def check_path(what: str, value: object, code: str = "invalid_path", like: str = "text or a Path") -> str:
    """Return a path as text. ``code`` and ``like``: of the error, and what to give.

    Raises:
        InvalidParameter: it is of another type, empty, or none that a file can have.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if is_text(text) and text and "\0" not in text:
        return text
    raise InvalidParameter(f"{what} {value!r} is no path: give {like}", code=code, what=what)


def check_flag(what: str, value: object) -> bool:
    """Return ``value`` if it is a truth value: ``"false"`` would count as true.

    Raises:
        InvalidParameter: it is of another type.
    """
    if isinstance(value, bool):
        return value
    raise InvalidParameter(f"{what} is True or False, not {value!r}", code="invalid_flag", what=what)


def check_interface_name(name: str) -> str:
    """Return ``name`` if the kernel takes it as an interface name (``dev_valid_name`` in net/core/dev.c).

    Raises:
        InvalidParameter: it is empty, longer than 15 bytes, ``.``, ``..``, ``all`` or ``default`` (which the kernel keeps for settings),
            or holds ``/``, ``:`` or white space.
    """
    if not is_text(name):
        raise InvalidParameter(f"interface name {name!r} is no text", code="invalid_interface_name", name=name)
    if len(name.encode()) > INTERFACE_NAME_MAX:
        raise InvalidParameter(
            f"interface name {name!r} is too long: the kernel allows {INTERFACE_NAME_MAX} bytes",
            code="interface_name_too_long",
            name=name,
        )
    if name in {"all", "default"}:
        raise InvalidParameter(
            f"invalid interface name {name!r}: the kernel keeps it for the settings of every interface",
            code="invalid_interface_name",
            name=name,
        )
    if not name or name in {".", ".."} or re.search(r"[/:\s\0%]", name):
        raise InvalidParameter(
            f"invalid interface name {name!r}: it may not be empty, '.', '..', or hold '/', ':', '%' or white space",
            code="invalid_interface_name",
            name=name,
        )
    return name


class MacAddress(str):
    """An Ethernet address: lower-case hexadecimal text with colons, and ``packed`` bytes.

    It is a ``str``, so it compares with, prints and serialises as ``"02:42:ac:11:00:02"``.

    Raises:
        InvalidParameter: the text is not six octets, or the address is a group address (multicast) or zero.
    """

    __slots__ = ()

    def __new__(cls, text: str | bytes) -> Self:
        try:
            packed = text if isinstance(text, bytes) else bytes.fromhex(re.sub(r"[:-]", "", text))
        except (ValueError, TypeError):
            packed = b""
        if len(packed) != 6 or (
            isinstance(text, str)
            and not re.fullmatch(r"[0-9A-Fa-f]{2}(([:-]?)[0-9A-Fa-f]{2}(\2[0-9A-Fa-f]{2}){4})", text)
        ):
            raise InvalidParameter(
                f"invalid MAC address {text!r}: write six octets like 02:42:ac:11:00:02", code="invalid_mac", mac=text
            )
        if packed[0] & 1 or not any(packed):
            raise InvalidParameter(
                f"MAC address {text!r} is a group address or zero: an interface needs a unicast one",
                code="invalid_mac",
                mac=text,
            )
        return super().__new__(cls, packed.hex(":"))

    @property
    def packed(self) -> bytes:
        """The six octets."""
        return bytes.fromhex(self.replace(":", ""))


def parse_address(text: str | IPAddress, what: str = "address") -> IPAddress:
    """Return an address object for text or an address.

    Raises:
        InvalidParameter: ``text`` is not an IPv4 or IPv6 address; ``what`` names it in the message.
    """
    try:
        return ipaddress.ip_address(str(text))  # as text: ip_address(5) would be 0.0.0.5
    except ValueError:
        raise InvalidParameter(
            f"invalid {what} {str(text)!r}: not an IPv4 or IPv6 address", code="invalid_address", address=str(text)
        ) from None


def parse_network(text: str | IPNetwork, what: str = "subnet") -> IPNetwork:
    """Return a network object for ``a.b.c.d/n`` or ``x::/n``; bits beyond the prefix length are dropped, as the reference does.

    Raises:
        InvalidParameter: ``text`` has no prefix length or is malformed.
    """
    if isinstance(text, (IPv4Network, IPv6Network)):
        return text
    try:
        if "/" not in text:
            raise ValueError
        return ipaddress.ip_network(text, strict=False)
    except (ValueError, TypeError):
        raise InvalidParameter(
            f"invalid {what} {str(text)!r}: write an address and a prefix length like 10.1.0.0/16 or fd00:1::/64",
            code="invalid_subnet",
            subnet=str(text),
        ) from None


def as_tuple(value: object) -> tuple[Any, ...]:
    """Return the items of ``value``; one item given bare (text, address, network, binding) counts as one.

    So ``subnets="10.0.0.0/24"`` means what it says instead of eleven one-letter subnets. What the items are is for the caller to check.

    Raises:
        InvalidParameter: it is a mapping, whose values would be lost.
    """
    scalar = (str, bytes, IPv4Address, IPv6Address, IPv4Network, IPv6Network, PortBinding)
    if isinstance(value, scalar) or not isinstance(value, Iterable):
        return (value,)
    if isinstance(value, Mapping):
        raise InvalidParameter(f"{value!r} is a mapping: give a sequence", code="invalid_sequence")
    return tuple(value)


EMPTY: Mapping[str, str] = MappingProxyType({})
"""The empty text mapping, as a default that nobody can change."""


def freeze(mapping: Mapping[str, object], what: str) -> Mapping[str, str]:
    """Return a read-only copy with text keys and text values; ``True``/``False`` become ``"true"``/``"false"`` as in Docker.

    Raises:
        InvalidParameter: ``mapping`` is no mapping, a key is not text, or a value cannot be told by one word.
    """
    if not isinstance(mapping, Mapping):
        raise InvalidParameter(
            f"{what} must be a mapping of text to text, not {type(mapping).__name__}", code="invalid_mapping", what=what
        )
    if not mapping:
        return EMPTY
    for key in mapping:
        if not is_text(key):
            raise InvalidParameter(f"{what}: key {key!r} is not text", code="invalid_mapping", what=what)
    return MappingProxyType({key: _text(value, f"{what}[{key!r}]") for key, value in mapping.items()})


def _text(value: object, what: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, (bytes, bytearray, list, tuple, set, frozenset, Mapping)):
        raise InvalidParameter(
            f"{what} is {value!r}: give text, a number or a truth value", code="invalid_mapping", what=what
        )
    text = str(value)
    if not is_text(text):
        raise InvalidParameter(f"{what} is {value!r}, which is no text", code="invalid_mapping", what=what)
    return text


_BINDING = re.compile(
    r"""(?:(?P<ip>\[[0-9A-Fa-f:.%\w]+\]|[0-9.]+):(?=[^/]*:))?      # host address, only before a host port
        (?:(?P<host>(?:\d+(?:-\d+)?)?):)?                            # host port or range; empty: any free
        (?P<container>\d+(?:-\d+)?)
        (?:/(?P<protocol>\w*))?""",
    re.VERBOSE | re.ASCII,
)


def _host_ip(address: str | IPAddress | None) -> IPAddress | None:
    return None if address is None else parse_address(address, "host address in the port binding")


@frozen
class PortBinding:
    """A container port, or a run of them, published on the host.

    Text forms (``parse``): ``80``, ``8080:80``, ``127.0.0.1:8080:80/udp``, ``[::1]:8080:80``, ``8000-8010:80-90/tcp``, ``0:80``.
    Host port 0 means "any free one". A host range with one container port means "one free port of the range". A binding that an
    endpoint returns always has concrete host ports, one for each container port.

    Raises:
        InvalidParameter: a port outside 1 to 65,535 (host: 0), a reversed range, ranges of unequal length, an unknown protocol.
    """

    container_port: int
    protocol: Protocol = "tcp"
    host_ip: IPAddress | None = field(default=None, converter=_host_ip)
    host_port: int = 0
    host_port_end: int = 0
    container_port_end: int = 0

    def __attrs_post_init__(self) -> None:
        ports = (self.container_port, self.container_port_end, self.host_port, self.host_port_end)
        if {*map(type, ports)} != {int}:
            raise InvalidParameter(f"invalid port {ports}: ports are numbers", code="invalid_port", binding=str(ports))
        if not self.container_port_end:
            object.__setattr__(self, "container_port_end", self.container_port)
        if not self.host_port_end:
            object.__setattr__(self, "host_port_end", self.host_port + self.count - 1 if self.host_port else 0)
        why = self._fault()
        if why:
            raise InvalidParameter(f"invalid port {self}: {why}", code="invalid_port", binding=str(self))

    def _fault(self) -> str:
        if self.protocol not in PROTOCOLS:
            return f"unknown protocol {self.protocol!r}, use tcp, udp or sctp"
        for low, port, end in (
            (1, self.container_port, self.container_port_end),
            (0, self.host_port, self.host_port_end),
        ):
            if not low <= port <= 65535 or not low <= end <= 65535:
                return f"{end if low <= port <= 65535 else port} is not between {low} and 65535"
        if self.container_port_end < self.container_port or self.host_port_end < self.host_port:
            return "the range is reversed"
        if self.host_port_end and not self.host_port:
            return "a range of host ports begins at 1 or higher; 0 alone means any free one"
        if self.host_port and self.count > 1 and self.host_port_end - self.host_port + 1 != self.count:
            return "the host range and the container range differ in length"
        return "" if self.host_ip is None else _no_host(self.host_ip)

    @property
    def count(self) -> int:
        """How many container ports."""
        return self.container_port_end - self.container_port + 1

    @property
    def family(self) -> Family | None:
        """4 or 6 where a host address pins the family, else ``None``: both."""
        if self.host_ip is None:
            return None
        return 4 if self.host_ip.version == 4 else 6

    def at(self, host_port: int) -> PortBinding:
        """Return this binding with its first host port fixed."""
        if host_port == self.host_port and self.host_port_end == host_port + self.count - 1:
            return self
        return evolve(self, host_port=host_port, host_port_end=host_port + self.count - 1)

    @classmethod
    def parse(cls, value: str | int | PortBinding) -> PortBinding:
        """Return the binding that ``value`` writes.

        Raises:
            InvalidParameter: see the class.
        """
        if isinstance(value, PortBinding):
            return value
        match = _BINDING.fullmatch(str(value).strip())
        if not match:
            raise InvalidParameter(
                f"invalid port {value!r}: write [HOST_ADDRESS:][HOST_PORT:]CONTAINER_PORT[/PROTOCOL], each port a number or a range a-b",
                code="invalid_port",
                binding=str(value),
            )
        host_ip = (match["ip"] or "").strip("[]") or None
        start, end = _ports(match["container"])
        host_start, host_end = _ports(match["host"] or "0")
        protocol = cast("Protocol", (match["protocol"] or "tcp").lower())
        return cls(start, protocol, host_ip, host_start, host_end, end)

    def __str__(self) -> str:
        host = f"[{self.host_ip}]:" if self.family == 6 else f"{self.host_ip}:" if self.host_ip else ""
        return f"{host}{_span(self.host_port, self.host_port_end)}:{_span(self.container_port, self.container_port_end)}/{self.protocol}"


def _no_host(address: IPAddress) -> str:
    """Why an address can be no host's own; empty: it can."""
    if "%" in str(address):
        return "a host address has no zone"
    if address.is_multicast or str(address) == "255.255.255.255":
        return "the host address is no single host's"
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return f"the host address is an IPv4 one, write {address.ipv4_mapped}"
    return ""


def _ports(text: str) -> tuple[int, int]:
    start, _, end = text.partition("-")
    first = int(start or 0)
    return first, int(end) if end else first


def _span(start: int, end: int) -> str:
    return str(start) if end in {0, start} else f"{start}-{end}"


def check_exposed(value: str | int) -> str:
    """Return an exposed port's text: no host port, no host address."""
    binding = PortBinding.parse(value)
    if binding.host_ip or binding.host_port:
        raise InvalidParameter(
            f"invalid exposed port {value!r}: write a port or range and a protocol, 80 or 53/udp; ports= publishes",
            code="invalid_port", binding=str(value),
        )  # fmt: skip
    return str(value)
