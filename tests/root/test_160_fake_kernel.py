"""The fake kernel is like the real one: the same changes succeed, the same fail with the same error, and the machine looks the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

import pytest
from attrs import evolve, frozen

from libnetwork_py.desired import (
    HOST,
    Address,
    Bridge,
    Change,
    Description,
    Forwarding,
    Moved,
    Namespace,
    Neighbour,
    Route,
    Sysctl,
    Veth,
    Vxlan,
    Word,
)
from libnetwork_py.errors import LibnetworkError
from libnetwork_py.facts import Facts, LinkFact, NamespaceFacts
from libnetwork_py.kernel.api import Kernel
from libnetwork_py.kernel.linux import LinuxKernel
from libnetwork_py.testing import FakeKernel
from libnetwork_py.types import MacAddress
from tests.root import kernel_lab, machine

MAC, OTHER_MAC = MacAddress("02:42:ac:12:00:02"), MacAddress("02:42:ac:12:00:03")
BRIDGE = Bridge(HOST, "br0", MacAddress("02:42:ac:12:00:01"), 1400, 77)
GATEWAY = Address(HOST, "br0", IPv4Interface("172.18.0.1/16"))
DEFAULT, NEAR = IPv4Network("0.0.0.0/0"), IPv4Address("172.18.0.1")

Words = Callable[[str], Description]


def ground(web: str) -> Description:
    """A bridge and a sandbox on it, without IPv6."""
    return (
        Namespace(web),
        Sysctl(web, "ipv6.conf.default.disable_ipv6", "1"),
        Sysctl(HOST, "ipv6.conf.default.disable_ipv6", "1"),
        BRIDGE,
        GATEWAY,
        pair(web),
        Veth(HOST, "spare", HOST, "spare-in", OTHER_MAC),
    )


def pair(web: str, mac: MacAddress = MAC) -> Veth:
    """The sandbox's foot on the bridge."""
    return Veth(HOST, "veth1", web, "eth0", mac, "br0", 1400, 77, isolated=True)


ADDRESS: Words = lambda web: (Address(web, "eth0", IPv4Interface("172.18.0.2/16")),)  # noqa: E731
ROUTE: Words = lambda web: (Route(web, DEFAULT, "eth0", NEAR),)  # noqa: E731


@frozen
class Step:
    """A change to a machine with the ground: what goes and what comes."""

    name: str
    make: Words = lambda _: ()
    remove: Words = lambda _: ()


HERE, THERE, THERE_IPV6 = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2"), IPv6Address("2001:db8::2")


def tunnel(web: str) -> Description:
    """A bridge with a VXLAN device in the sandbox's namespace."""
    return (
        Bridge(web, "br2", MacAddress("02:00:00:00:00:02"), 1400),
        Vxlan(web, "vx0", 77, HERE, 4790, "br2", 1400, 77),
    )


def peer(web: str, mac: MacAddress = OTHER_MAC) -> Description:
    """Somebody behind it."""
    return Neighbour(web, "vx0", IPv4Address("10.1.0.2"), mac), Forwarding(web, "vx0", mac, THERE)


GOOD = (
    Step("a tunnel", tunnel),
    Step("a tunnel and somebody behind it", lambda web: (*tunnel(web), *peer(web))),
    Step("a tunnel of the host's own", lambda _: (Vxlan(HOST, "vx1", 78, HERE, master="br0", proxy=False),)),
    Step("an address", ADDRESS),
    Step("an address and a route", lambda web: (*ADDRESS(web), *ROUTE(web))),
    Step("a host address", lambda web: (Address(web, "eth0", IPv4Interface("10.0.0.1/32")),)),
    Step(
        "two addresses of a subnet", lambda web: (*ADDRESS(web), Address(web, "eth0", IPv4Interface("172.18.0.3/16")))
    ),
    Step("a route on-link", lambda web: (Route(web, IPv4Network("10.7.0.0/16"), "eth0"),)),
    Step("a route with a metric", lambda web: (*ADDRESS(web), Route(web, DEFAULT, "eth0", NEAR, 5))),
    Step("two routes with two metrics", lambda web: (*ADDRESS(web), *ROUTE(web), Route(web, DEFAULT, "eth0", NEAR, 5))),
    Step(
        "IPv6",
        lambda web: (
            Sysctl(web, "ipv6.conf.{}.disable_ipv6", "0", link="eth0"),
            Address(web, "eth0", IPv6Interface("fd00:18::2/64")),
            Address(web, "eth0", IPv6Interface("fd00:19::2/128")),
            Route(web, IPv6Network("::/0"), "eth0", IPv6Interface("fd00:18::1/64").ip),
        ),
    ),
    Step("another pair", lambda web: (Veth(HOST, "veth2", web, "eth1", OTHER_MAC, "br0", hairpin=True),)),
    Step("a pair in the host", lambda _: (Veth(HOST, "left", HOST, "right", OTHER_MAC),)),
    Step(
        "a pair between two bridges",
        lambda _: (
            Bridge(HOST, "br9", MacAddress("02:00:00:00:00:99")),
            Veth(HOST, "left", HOST, "right", OTHER_MAC, "br0", isolated=True, peer_master="br9"),
        ),
    ),
    Step(
        "a link of the host",
        lambda web: (Moved(web, "eth5", "spare-in", MAC), Address(web, "eth5", IPv4Interface("10.5.0.2/24"))),
    ),
    Step("no bridge", remove=lambda _: (BRIDGE,)),
    Step("no pair", remove=lambda web: (pair(web),)),
    Step("no namespace", remove=lambda web: (Namespace(web),)),
    Step("nothing there", remove=lambda web: (*ADDRESS(web), *ROUTE(web), Veth(HOST, "veth7", web, "eth7", MAC))),
    Step("a setting", lambda _: (Sysctl(HOST, "ipv4.ip_forward", "1", restore="0"),)),
    Step(
        "one sandbox for another",
        lambda web: (*ground(web)[:2], pair(web, OTHER_MAC), *ADDRESS(web)),
        lambda web: (Namespace(web), pair(web)),
    ),
)

BAD = (
    Step("a tunnel with a number that is taken", lambda web: (*tunnel(web), Vxlan(HOST, "vx1", 77, HERE, 4790, "br0"))),
    Step("a tunnel named as a pair", lambda _: (Vxlan(HOST, "veth1", 77, HERE),)),
    Step("a tunnel that is a port of nothing", lambda web: (Vxlan(web, "vx0", 77, HERE, master="br7"),)),
    Step("a neighbour twice", lambda web: (*tunnel(web), *peer(web)[:1], *peer(web, MAC)[:1])),
    Step("a neighbour on nothing", lambda web: peer(web)[:1]),
    Step("forwarding twice", lambda web: (*tunnel(web), *peer(web)[1:], Forwarding(web, "vx0", OTHER_MAC, HERE))),
    Step("forwarding over nothing", lambda web: peer(web)[1:]),
    Step("forwarding by another family", lambda web: (*tunnel(web), Forwarding(web, "vx0", OTHER_MAC, THERE_IPV6))),
    Step("a namespace that exists", lambda web: (Namespace(web),)),
    Step("a bridge that exists", lambda _: (BRIDGE,)),
    Step("a bridge named as a veth", lambda _: (evolve(BRIDGE, name="veth1"),)),
    Step("a pair that exists", lambda web: (Veth(HOST, "veth1", web, "eth1", OTHER_MAC),)),
    Step("an inner end that exists", lambda web: (Veth(HOST, "veth2", web, "eth0", OTHER_MAC),)),
    Step("a pair of one name", lambda _: (Veth(HOST, "same", HOST, "same", OTHER_MAC),)),
    Step(
        "an inner end that is a port of nothing",
        lambda _: (Veth(HOST, "up", HOST, "dn", OTHER_MAC, "br0", peer_master="br7"),),
    ),
    Step("a port of nothing", lambda web: (Veth(HOST, "veth2", web, "eth1", OTHER_MAC, "br7"),)),
    Step("a port of a veth", lambda web: (Veth(HOST, "veth2", web, "eth1", OTHER_MAC, "veth1"),)),
    Step("an end in no namespace", lambda web: (Veth(HOST, "veth2", f"{web}-gone", "eth1", OTHER_MAC),)),
    Step("a link that the host lacks", lambda web: (Moved(web, "eth5", "spare7"),)),
    Step("a link in place of another", lambda web: (Moved(web, "eth0", "spare-in"),)),
    Step("an address twice", lambda _: (GATEWAY,)),
    Step("an address on nothing", lambda web: (Address(web, "eth7", IPv4Interface("10.0.0.1/8")),)),
    Step("an address in no namespace", lambda web: (Address(f"{web}-gone", "eth0", IPv4Interface("10.0.0.1/8")),)),
    Step("a gateway far away", ROUTE),
    Step(
        "a gateway behind a host address",
        lambda web: (Address(web, "eth0", IPv4Interface("172.18.0.2/32")), *ROUTE(web)),
    ),
    Step("a route over nothing", lambda web: (Route(web, DEFAULT, "eth7"),)),
    Step("a route that the kernel has", lambda web: (*ADDRESS(web), Route(web, IPv4Network("172.18.0.0/16"), "eth0"))),
    Step("a setting of nothing", lambda web: (Sysctl(web, "ipv4.conf.{}.rp_filter", "1", link="eth7"),)),
    Step("a failure after a removal", ROUTE, lambda _: (GATEWAY,)),
    Step(
        "a failure after a removed network",
        lambda web: (Namespace(web),),
        lambda web: (GATEWAY, BRIDGE, pair(web)),
    ),
)


@pytest.fixture
def web() -> Iterator[str]:
    """The path of a sandbox's namespace."""
    path = kernel_lab.path("web")
    yield path
    machine.drop_namespace(path)


@pytest.fixture
def real(host: str, web: str) -> Iterator[LinuxKernel]:
    """A real kernel with the ground."""
    with kernel_lab.kernel(host) as kernel:
        kernel.apply(Change(make=ground(web)))
        yield kernel


@pytest.fixture
def fake(fake_kernel: FakeKernel, web: str) -> FakeKernel:
    """A fake one with the ground."""
    fake_kernel.apply(Change(make=ground(web)))
    return fake_kernel


@pytest.mark.parametrize("step", GOOD, ids=lambda step: step.name)
def test_the_same_machine(real: LinuxKernel, fake: FakeKernel, web: str, step: Step) -> None:
    """After a change, and after its reverse, both machines have the same interfaces, addresses, routes and settings."""
    change = Change(step.remove(web), step.make(web))
    words = (*ground(web), *change.make)
    for each in (change, Change(remove=change.make)):
        real.apply(each)
        fake.apply(each)
        expected = seen(fake, web, words)
        machine.wait_until(lambda expected=expected: seen(real, web, words) == expected, f"{expected}")  # type: ignore[misc]


@pytest.mark.parametrize("step", BAD, ids=lambda step: step.name)
def test_the_same_error(real: LinuxKernel, fake: FakeKernel, web: str, step: Step) -> None:
    """What one refuses the other refuses with the same category and code, and neither machine has changed."""
    change = Change(step.remove(web), step.make(web))
    before = seen(real, web, ground(web))
    assert before == seen(fake, web, ground(web))
    errors = [refusal(kernel, change) for kernel in (real, fake)]
    assert (type(errors[0]), errors[0].code) == (type(errors[1]), errors[1].code), errors
    assert seen(fake, web, ground(web)) == before
    assert seen(real, web, ground(web)) == before


def test_the_same_features(real: LinuxKernel, fake: FakeKernel) -> None:
    """Both name the same features."""
    assert set(fake.features()) == set(real.features())


def refusal(kernel: Kernel, change: Change) -> LibnetworkError:
    """The error that a change gives."""
    with pytest.raises(LibnetworkError) as caught:
        kernel.apply(change)
    return caught.value


def seen(kernel: Kernel, web: str, words: tuple[Word, ...]) -> Facts:
    """A snapshot less what a fake does not have: link-local addresses, random MACs, numbers."""
    facts = kernel.facts([web], words=words)
    return evolve(facts, namespaces={path: _plain(inside) for path, inside in facts.namespaces.items()})


def _plain(inside: NamespaceFacts) -> NamespaceFacts:
    return NamespaceFacts(
        {name: _anonymous(link) for name, link in sorted(inside.links.items())},
        frozenset(each for each in inside.addresses if not each[1].is_link_local),
        frozenset(each for each in inside.routes if not each.destination.is_link_local),
        inside.neighbours,
        inside.forwarding,
        inside.bridged,
    )


def _anonymous(link: LinkFact) -> LinkFact:
    random = link.kind in {"veth", "vxlan"} and link.mac not in {MAC, OTHER_MAC}
    return evolve(link, index=0, mac="" if random else link.mac)
