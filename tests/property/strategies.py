"""Random descriptions that a machine can take: some hosts' bridges, some sandboxes, some of what is in them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from hypothesis import strategies as st

from libnetwork_py.desired import HOST, Address, Bridge, Description, Element, Namespace, Route, Sysctl, Veth, Word
from libnetwork_py.types import MacAddress
from tests.sample import PORTS, TABLE

DEFAULT = IPv4Network("0.0.0.0/0")


def paths(count: int = 3) -> list[str]:
    """The namespaces that random descriptions speak of."""
    return [f"/run/netns/box{number}" for number in range(count)]


@st.composite
def descriptions(draw: st.DrawFn, places: tuple[str, ...] = tuple(paths())) -> Description:
    """A description in which every word has what it stands on, in any order."""
    networks = draw(st.sets(st.integers(0, 2)))
    words: list[Word] = [word for number in sorted(networks) for word in _network(number)]
    words += [TABLE] if networks else []
    for place, path in enumerate(places):
        joined = (
            draw(st.none() | st.sets(st.sampled_from(sorted(networks))))
            if networks
            else draw(st.none() | st.just(set[int]()))
        )
        if joined is not None:
            words += [Namespace(path), Sysctl(path, "ipv6.conf.default.disable_ipv6", "1")]
            for number in sorted(joined):
                words += _endpoint(path, place, number, published=draw(st.booleans()))
            words += _way_out(path, place, draw(st.sampled_from(sorted(joined)))) if joined else []
    return tuple(draw(st.permutations(words)))


def _network(number: int) -> Description:
    mac = MacAddress(bytes([2, 0, 0, 0, 1, number]))
    return Bridge(HOST, f"br{number}", mac, group=100 + number), Address(
        HOST, f"br{number}", IPv4Interface(f"10.{number}.0.1/16")
    )


def _endpoint(path: str, place: int, number: int, *, published: bool) -> list[Word]:
    address = IPv4Interface(f"10.{number}.1.{place}/16")
    mac = MacAddress(bytes([2, 0x42, 10, number, 1, place]))
    words: list[Word] = [
        Veth(
            HOST,
            f"veth{place}n{number}",
            path,
            f"eth{number}",
            mac,
            f"br{number}",
            group=100 + number,
            isolated=published,
        ),
        Address(path, f"eth{number}", address),
    ]
    if published:
        words.append(Element(HOST, TABLE.name, PORTS, ("tcp", 8000 + 10 * place + number), (address.ip, 80)))
    return words


def _way_out(path: str, place: int, number: int) -> list[Word]:
    return [Route(path, DEFAULT, f"eth{number}", IPv4Address(f"10.{number}.0.1"), place)]
