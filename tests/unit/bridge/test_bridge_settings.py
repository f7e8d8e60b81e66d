"""What each option of the bridge driver makes, as ``ip`` and ``nft`` lines, and what is refused. All in memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from libnetwork_py import (
    Conflict,
    Forbidden,
    InvalidParameter,
    LibnetworkError,
    Network,
    NetworkController,
    NotSupported,
    Sandbox,
)
from libnetwork_py.desired import HOST, Address, Bridge, Sysctl, Veth
from libnetwork_py.drivers.bridge.options import OPTIONS
from libnetwork_py.facts import LinkFact
from libnetwork_py.lifecycle.engine import Engine
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel, Killed

PREFIX = "com.docker.network."
SUBNETS = ["10.1.0.0/24", "fd00:1::/64"]


def option(name: str, value: object) -> dict[str, object]:
    """One option, its key written without what all begin with."""
    return {PREFIX + name: value}


NAMED = option("bridge.name", "br0")


@pytest.fixture
def kernel() -> FakeKernel:
    """A host in memory with an uplink, a bridge that somebody made and gave addresses, and one without."""
    theirs = [
        LinkFact(f"theirs{number}", 7 + number, "bridge", "52:54:00:00:00:07", 1500, up=True) for number in (0, 1)
    ]
    vxlan = LinkFact("vxlan0", 12, "vxlan", "52:54:00:00:00:0c", 1500, up=True)
    return FakeKernel(
        host_links=[LinkFact("eth0", 2, "", "52:54:00:00:00:02", 1500, up=True), *theirs, vxlan],
        host_addresses={"eth0": "192.0.2.1/24", "theirs0": ["10.7.0.1/24", "10.8.0.1/24"]},
        sysctls={"ipv6.conf.theirs0.accept_ra": "1", "ipv4.conf.theirs0.route_localnet": "0"},
    )


@pytest.fixture
def controller(kernel: FakeKernel) -> Iterator[NetworkController]:
    """A controller whose firewall table is there already."""
    with NetworkController.over(MemoryStore(), kernel) as made:
        made.create_network("warm", subnets="10.250.0.0/24", internal=True, options=option("bridge.name", "br-warm"))
        kernel.take_text()
        yield made


def text_of(kernel: FakeKernel, network: Network) -> str:
    """What was done since it was last asked, without what is different each time."""
    text = kernel.take_text()
    text = re.sub(r"veth[0-9a-f]{11}\b", "vethENDPOINT", text)
    text = re.sub(r"libnetwork_py_[0-9a-f]+", "TABLE", text)
    text = re.sub(r"group \d+", "group NETWORK", text)
    text = re.sub(r"address 02(:[0-9a-f]{2}){5} type bridge", "address MAC type bridge", text)
    text = re.sub(r"fe80::[0-9a-f:]+/64", "LINKLOCAL", text)
    return text.replace(network.id[:12], "NETWORK")


SETTINGS: Mapping[str, tuple[dict[str, object], dict[str, Any]]] = {
    "default": ({}, {}),
    "name": (option("bridge.name", "docker7"), {}),
    "no-masquerade": (option("bridge.enable_ip_masquerade", "false"), {}),
    "no-icc": (option("bridge.enable_icc", "false"), {}),
    "nat-unprotected": (
        {
            **option("bridge.gateway_mode_ipv4", "nat-unprotected"),
            **option("bridge.gateway_mode_ipv6", "nat-unprotected"),
        },
        {},
    ),
    "routed": ({**option("bridge.gateway_mode_ipv4", "routed"), **option("bridge.gateway_mode_ipv6", "routed")}, {}),
    "nat-and-routed": (option("bridge.gateway_mode_ipv6", "routed"), {}),
    "isolated": (
        {**option("bridge.gateway_mode_ipv4", "isolated"), **option("bridge.gateway_mode_ipv6", "isolated")},
        {"internal": True, "ports": []},
    ),
    "isolated-ipv4": (option("bridge.gateway_mode_ipv4", "isolated"), {"internal": True, "ports": []}),
    "internal": ({}, {"internal": True, "ports": []}),
    "inhibit-ipv4": (option("bridge.inhibit_ipv4", "true"), {}),
    "inhibit-ipv4-internal": (option("bridge.inhibit_ipv4", "true"), {"internal": True, "ports": []}),
    "trusted": (option("bridge.trusted_host_interfaces", "eth0:wg0"), {}),
    "host-addresses": ({**option("host_ipv4", "192.0.2.9"), **option("host_ipv6", "2001:db8::9")}, {}),
    "host-binding": (option("bridge.host_binding_ipv4", "192.0.2.1"), {}),
    "host-binding-ipv6": (option("bridge.host_binding_ipv4", "2001:db8::1"), {}),
    "host-binding-all": (option("bridge.host_binding_ipv4", "0.0.0.0"), {}),
    "mtu": (option("driver.mtu", 9000), {}),
    "prefix": (option("container_iface_prefix", "net"), {}),
    "default-gateway": (
        {},
        {"aux_addresses": {"DefaultGatewayIPv4": "10.1.0.254", "DefaultGatewayIPv6": "fd00:1::fe"}},
    ),
    "adopted": (option("bridge.name", "theirs0"), {"ports": []}),
    "adopted-bare": (option("bridge.name", "theirs1"), {"ports": []}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_as_text(
    controller: NetworkController, kernel: FakeKernel, golden: Callable[[str, str], None], name: str
) -> None:
    """A network with a setting, an endpoint on it, a published port, and all of it going again, is what a person would type."""
    options, rest = SETTINGS[name]
    given: dict[str, Any] = {"subnets": SUBNETS, **{key: value for key, value in rest.items() if key != "ports"}}
    network = controller.create_network("front", options=options, **given)
    web = controller.create_sandbox("web")
    web.connect(network, ports=rest.get("ports", ["8080:80"]))
    text = text_of(kernel, network)
    assert not controller.reconcile(repair=False)
    web.disconnect(network)
    before = text_of(kernel, network)
    network.delete()
    golden(f"bridge/setting-{name}.txt", f"{text}\n{before}\n{text_of(kernel, network)}\n")


@pytest.mark.parametrize("key", [each.key for each in OPTIONS])
def test_every_option_has_its_default(controller: NetworkController, kernel: FakeKernel, key: str) -> None:
    """An option given its default makes what is made without it."""
    default = next(each.default for each in OPTIONS if each.key == key)
    if key in {PREFIX + name for name in ("enable_ipv4", "enable_ipv6", "internal")}:
        default = "true" if key.endswith("ipv4") else "false"
    plain = controller.create_network("front", subnets="10.1.0.0/24", options=NAMED)
    without = text_of(kernel, plain)
    plain.delete()
    kernel.take_text()
    given = {**NAMED, key: default} if key != PREFIX + "bridge.name" else NAMED
    assert text_of(kernel, controller.create_network("front", subnets="10.1.0.0/24", options=given)) == without


REFUSED: list[tuple[dict[str, object], dict[str, Any], type[LibnetworkError], str, str]] = [
    (option("bridge.enable_icc", "maybe"), {}, InvalidParameter, "invalid_option", "failed to parse .*enable_icc value: 'maybe'"),
    (option("bridge.enable_icc", ""), {}, InvalidParameter, "invalid_option", "failed to parse"),
    (option("bridge.enable_ip_masquerade", "2"), {}, InvalidParameter, "invalid_option", "failed to parse"),
    (option("bridge.inhibit_ipv4", "yes"), {}, InvalidParameter, "invalid_option", "failed to parse"),
    (option("bridge.gateway_mode_ipv4", "bridge"), {}, InvalidParameter, "invalid_option", "'nat-unprotected'"),
    (option("bridge.gateway_mode_ipv6", "NAT"), {}, InvalidParameter, "invalid_option", "failed to parse"),
    (option("bridge.gateway_mode_ipv4", "isolated"), {}, InvalidParameter, "isolated_not_internal",
     "gateway mode 'isolated' can only be used for an internal network"),
    (option("bridge.gateway_mode_ipv6", "isolated"), {}, InvalidParameter, "isolated_not_internal", "internal"),
    (option("host_ipv4", "nonsense"), {}, InvalidParameter, "invalid_option", "failed to parse .*host_ipv4"),
    (option("host_ipv4", "2001:db8::1"), {}, InvalidParameter, "invalid_option", "no IPv4 address"),
    (option("host_ipv6", "192.0.2.1"), {}, InvalidParameter, "invalid_option", "no IPv6 address"),
    (option("bridge.host_binding_ipv4", "localhost"), {}, InvalidParameter, "invalid_option", "failed to parse"),
    (option("bridge.trusted_host_interfaces", "eth0:far too long a name"), {}, InvalidParameter, "invalid_option", "trusted"),
    (option("bridge.trusted_host_interfaces", "a/b"), {}, InvalidParameter, "invalid_option", "trusted_host_interfaces"),
    (option("container_iface_prefix", "a/b"), {}, InvalidParameter, "invalid_option", "container_iface_prefix"),
    (option("container_iface_prefix", "fifteen_bytes__"), {}, InvalidParameter, "invalid_option", "container_iface_prefix"),
    (option("bridge.name", "sixteen_bytes___"), {}, InvalidParameter, "invalid_option", "too long"),
    (option("bridge.name", "eth0"), {}, Conflict, "link_exists", "a physical interface"),
    (option("bridge.name", "vxlan0"), {}, Conflict, "link_exists", "a vxlan link"),
    (option("bridge.name", "br-warm"), {}, Conflict, "bridge_taken", "network 'warm'"),
    (option("driver.mtu", -1), {}, InvalidParameter, "invalid_option", "not negative"),
    (option("driver.mtu", "1500 bytes"), {}, InvalidParameter, "invalid_option", "failed to parse"),
    (option("driver.mtu", 67), {}, InvalidParameter, "invalid_mtu", "68"),
    (option("driver.mtu", 65536), {}, InvalidParameter, "invalid_mtu", "65535"),
    (option("driver.mtu", 1279), {"subnets": SUBNETS}, InvalidParameter, "invalid_mtu", "1280"),
    (option("bridge.default_bridge", "true"), {}, NotSupported, "default_bridge", "leave it out"),
    (option("bridge.namme", "br0"), {}, InvalidParameter, "unknown_option", "com.docker.network.bridge.name"),
    ({}, {"ipv4": False}, InvalidParameter, "no_family", "IPv4 or IPv6 must be enabled"),
    (option("enable_ipv4", "false"), {}, InvalidParameter, "no_family", "IPv4 or IPv6 must be enabled"),
    (option("enable_ipv4", "false"), {"subnets": SUBNETS}, InvalidParameter, "option_conflict", "enable_ipv4=false"),
    (option("enable_ipv4", "true"), {"ipv4": False, "ipv6": True}, InvalidParameter, "option_conflict", "ipv4=False"),
    (option("enable_ipv6", "false"), {"ipv6": True}, InvalidParameter, "option_conflict", "ipv6=True"),
    (option("enable_ipv6", "false"), {"subnets": SUBNETS}, InvalidParameter, "option_conflict", "enable_ipv6=false"),
    (option("internal", "false"), {"internal": True}, InvalidParameter, "option_conflict", "internal=True"),
    (option("internal", "perhaps"), {}, InvalidParameter, "invalid_option", "failed to parse"),
    ({}, {"subnets": ["10.1.0.0/24", "10.2.0.0/24"]}, Forbidden, "too_many_subnets", "at most one IPv4"),
    ({}, {"subnets": "10.250.0.0/25"}, Conflict, "pool_overlap", "overlaps 10.250.0.0/24"),
    ({}, {"subnets": "224.1.0.0/24"}, InvalidParameter, "invalid_subnet", "multicast"),
    ({}, {"subnets": "ff05::/64"}, InvalidParameter, "invalid_subnet", "multicast"),
    ({}, {"subnets": "fe80::/63"}, InvalidParameter, "invalid_subnet", "clashes with the link-local prefix"),
    ({}, {"subnets": "fe80::/65"}, InvalidParameter, "invalid_subnet", "clashes with the link-local prefix"),
    ({}, {"subnets": "::ffff:10.2.4.0/120"}, InvalidParameter, "invalid_subnet", "IPv4 addresses"),
    ({}, {"subnets": "10.1.0.0/24", "aux_addresses": {"DefaultGatewayIPv4": "10.2.0.1"}}, InvalidParameter,
     "outside_subnet", "DefaultGatewayIPv4"),
    ({}, {"subnets": SUBNETS, "aux_addresses": {"DefaultGatewayIPv4": "fd00:1::9"}}, InvalidParameter,
     "invalid_gateway", "no IPv4 address"),
    ({}, {"subnets": "10.1.0.0/24", "internal": True, "aux_addresses": {"DefaultGatewayIPv4": "10.1.0.9"}},
     InvalidParameter, "internal_gateway", "no way out"),
    (option("bridge.name", "theirs0"), {"subnets": "10.7.0.0/24", "gateways": "10.7.0.9"}, Conflict, "bridge_address",
     r"10\.7\.0\.1/24 in subnet 10\.7\.0\.0/24: give it as the gateway"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "rest", "category", "code", "says"), REFUSED)
def test_what_is_refused(
    controller: NetworkController,
    kernel: FakeKernel,
    options: dict[str, object],
    rest: dict[str, Any],
    category: type[LibnetworkError],
    code: str,
    says: str,
) -> None:
    """A setting that cannot be is refused with its reason; nothing is touched, and its subnets are free again."""
    before = kernel.state()
    with pytest.raises(category, match=says) as caught:
        controller.create_network("front", options=options, **rest)
    assert caught.value.code == code
    assert (kernel.state(), kernel.text) == (before, "")
    assert [each.name for each in controller.networks()] == ["warm"]
    if code != "pool_overlap":
        controller.create_network("front", subnets="10.1.0.0/24", options=NAMED)


def test_docker_s_flags_are_the_arguments(controller: NetworkController) -> None:
    """The flags of a network may be given as Docker's options, as ``docker network create -o`` takes them."""
    options = {**option("enable_ipv6", "true"), **option("enable_ipv4", "0"), **option("internal", "T")}
    network = controller.create_network("front", options=options)
    assert ([each.version for each in network.subnets], network.ipv6, network.internal) == ([6], True, True)


def test_gateways_that_sandboxes_get(controller: NetworkController) -> None:
    """A sandbox gets the auxiliary address as its gateway where there is one, else the network's; an internal network has none."""
    aux = {"DefaultGatewayIPv4": "10.1.0.254"}
    front = controller.create_network("front", subnets=SUBNETS, aux_addresses=aux)
    web = controller.create_sandbox("web")
    endpoint = web.connect(front)
    assert [str(each) for each in endpoint.gateways] == ["10.1.0.254", "fd00:1::1"]
    assert (str(web.gateway(4)), str(web.gateway(6))) == ("10.1.0.254", "fd00:1::1")
    assert [str(each) for each in front.create_endpoint("apart").gateways] == ["10.1.0.254", "fd00:1::1"]
    inner = controller.create_network("inner", internal=True)
    assert inner.create_endpoint("apart").gateways == ()


def test_no_gateway_is_reserved_where_there_is_none(controller: NetworkController) -> None:
    """An isolated family, and an inhibited one of an internal network, keep no gateway: its address goes to an endpoint."""
    isolated = {**option("bridge.gateway_mode_ipv4", "isolated"), **option("bridge.gateway_mode_ipv6", "isolated")}
    for number, options in enumerate((isolated, option("bridge.inhibit_ipv4", "true"))):
        network = controller.create_network(f"n{number}", subnets=f"10.{number}.0.0/24", internal=True, options=options)
        assert network.gateways == ()
        assert str(network.create_endpoint("first").addresses[0]) == f"10.{number}.0.1"


# A bridge of somebody else's


def test_an_adopted_bridge_keeps_what_it_had(kernel: FakeKernel, controller: NetworkController) -> None:
    """A bridge that was there is not made; it gets the gateway's address and settings, and has what it had when the network goes."""
    before = kernel.facts().host
    network = controller.create_network("front", subnets=SUBNETS, options=option("bridge.name", "theirs0"))
    made = {word for word in kernel.state() if getattr(word, "link", "") == "theirs0"}
    assert not [word for word in kernel.state() if isinstance(word, Bridge) and word.name == "theirs0"]
    given = [word.address for word in made if isinstance(word, Address)]
    assert {str(each) for each in given if not each.is_link_local} == {"10.1.0.1/24", "fd00:1::1/64"}
    assert [each.version for each in given if each.is_link_local] == [6]
    assert {word.restore for word in made if isinstance(word, Sysctl)} == {"0", "1"}
    network.delete()
    assert kernel.facts().host == before
    had = kernel.facts(words=made).sysctls
    assert had[Sysctl(HOST, "ipv6.conf.{}.accept_ra", "", link="theirs0").key] == "1"


def test_an_adopted_bridge_s_address_may_be_the_gateway(kernel: FakeKernel, controller: NetworkController) -> None:
    """An address that the bridge has already is neither made nor taken away."""
    network = controller.create_network("front", subnets="10.7.0.0/24", options=option("bridge.name", "theirs0"))
    assert [str(each) for each in network.gateways] == ["10.7.0.1"]
    assert not [word for word in kernel.state() if isinstance(word, Address) and word.link == "theirs0"]
    network.delete()
    assert ("theirs0", "10.7.0.1/24") in {(link, str(address)) for link, address in kernel.facts().host.addresses}


def test_an_adopted_bridge_s_address_may_be_kept_back(controller: NetworkController) -> None:
    """An address of the bridge inside the subnet may be an auxiliary one beside another gateway."""
    network = controller.create_network(
        "front", subnets="10.7.0.0/24", gateways="10.7.0.9", aux_addresses={"bridge": "10.7.0.1"},
        options=option("bridge.name", "theirs0"),
    )  # fmt: skip
    assert str(network.create_endpoint("first").addresses[0]) == "10.7.0.2"


def test_a_bridge_stays_adopted(kernel: FakeKernel) -> None:
    """Another controller on the same records, `reconcile` and `update` leave an adopted bridge adopted, and an own one our own."""
    store = MemoryStore()
    first = NetworkController.over(store, kernel)
    first.create_network("front", subnets="10.1.0.0/24", options=option("bridge.name", "theirs0"))
    first.create_network("own", subnets="10.2.0.0/24", options=NAMED)
    with NetworkController.over(store, kernel) as second:
        assert not second.reconcile()
        for network in second.networks():
            network.update(options=option("bridge.enable_ip_masquerade", "false"))
        assert [word.name for word in kernel.state() if isinstance(word, Bridge)] == ["br0"]
        for network in second.networks():
            network.delete()
        assert "theirs0" in kernel.facts().host.links
        assert "br0" not in kernel.facts().host.links


# Changed in use

CHANGES = {
    "masquerade": option("bridge.enable_ip_masquerade", "false"),
    "icc": option("bridge.enable_icc", "false"),
    "trusted": option("bridge.trusted_host_interfaces", "wg0"),
    "host-addresses": {**option("host_ipv4", "192.0.2.9"), **option("host_ipv6", "2001:db8::9")},
    "host-binding": option("bridge.host_binding_ipv4", "192.0.2.1"),
    "mtu": option("driver.mtu", 9000),
}


@pytest.fixture
def joined(controller: NetworkController, kernel: FakeKernel) -> tuple[Network, Sandbox]:
    """A network with both families, and a sandbox on it with a published port."""
    network = controller.create_network("front", subnets=SUBNETS, options=NAMED)
    web = controller.create_sandbox("web")
    web.connect(network, ports="8080:80")
    kernel.take_text()
    return network, web


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_use_as_text(
    joined: tuple[Network, Sandbox], kernel: FakeKernel, golden: Callable[[str, str], None], name: str
) -> None:
    """What may change in use is changed in place, and back: no link, address or route is made anew."""
    network, _ = joined
    before = kernel.state()
    network.update(options=CHANGES[name])
    there = text_of(kernel, network)
    defaults = {each.key: each.default for each in OPTIONS}
    network.update(options={key: defaults[key] for key in CHANGES[name]})
    assert kernel.state() == before
    golden(f"bridge/change-{name}.txt", f"{there}\n{text_of(kernel, network)}\n")


def test_every_changeable_option_is_tried() -> None:
    """The table of changes has every option that may change."""
    assert {key for each in CHANGES.values() for key in each} == {each.key for each in OPTIONS if each.changeable}


def test_a_change_of_icc_reaches_every_port(controller: NetworkController, kernel: FakeKernel) -> None:
    """With ICC switched off every port of the bridge is isolated, also those of endpoints that join later."""
    network = controller.create_network("front", subnets=SUBNETS, options=NAMED)
    for name in ("one", "two"):
        controller.create_sandbox(name).connect(network)
    network.update(options=option("bridge.enable_icc", "false"))
    controller.create_sandbox("three").connect(network)
    assert [word.isolated for word in kernel.state() if isinstance(word, Veth)] == [True] * 3


@pytest.mark.parametrize("key", [each.key for each in OPTIONS if not each.changeable])
def test_what_cannot_change(joined: tuple[Network, Sandbox], kernel: FakeKernel, key: str) -> None:
    """An option that cannot change in use is named; given as it is, it is no change."""
    network, _ = joined
    kind = next(each.type for each in OPTIONS if each.key == key)
    mode = "routed" if "gateway_mode" in key else "x"
    value = {"boolean": "true", "text": mode, "interface": "br9"}[kind]
    with pytest.raises(NotSupported, match=re.escape(key)) as caught:
        network.update(options={key: value}, labels={"a": "b"})
    assert caught.value.code == "option_fixed"
    assert (dict(network.options), dict(network.labels), kernel.text) == (NAMED, {}, "")
    default = next(each.default for each in OPTIONS if each.key == key)
    network.update(options={key: NAMED.get(key, default)} if kind != "boolean" or default else {})


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (option("driver.mtu", 1279), "invalid_mtu"),
        (option("bridge.enable_icc", "maybe"), "invalid_option"),
        (option("bridge.namme", "x"), "unknown_option"),
        (option("host_ipv4", "2001:db8::1"), "invalid_option"),
    ],
)
def test_a_bad_change(
    joined: tuple[Network, Sandbox], kernel: FakeKernel, options: dict[str, object], code: str
) -> None:
    """A bad value is refused as on creation, and the network stays as it is."""
    network, _ = joined
    with pytest.raises(InvalidParameter) as caught:
        network.update(options=options)
    assert caught.value.code == code
    assert (dict(network.options), kernel.text) == (NAMED, "")


@pytest.mark.parametrize("step", range(1, 6))
def test_a_refused_change_is_taken_back(joined: tuple[Network, Sandbox], kernel: FakeKernel, step: int) -> None:
    """Wherever the kernel refuses a change, links and filter have their old shape, and so has the record."""
    network, _ = joined
    before = kernel.state()
    changes = {**CHANGES["icc"], **CHANGES["mtu"], **CHANGES["masquerade"]}
    kernel.fail_at(step)
    with pytest.raises(LibnetworkError):
        network.update(options=changes)
    kernel.heal()
    assert (kernel.state(), dict(network.options)) == (before, NAMED)
    network.update(options=changes)
    assert dict(network.options) == {**NAMED, **{key: str(value) for key, value in changes.items()}}


@pytest.mark.parametrize("step", range(1, 6))
def test_a_killed_change_is_taken_back(kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Whenever the process dies in a change, the next to come finds the network as it was before."""
    store = MemoryStore()
    first = NetworkController.over(store, kernel)
    first.create_sandbox("web").connect(first.create_network("front", subnets=SUBNETS, options=NAMED))
    before = kernel.facts(["/run/netns/web"])
    kernel.fail_at(step, Killed())
    monkeypatch.setattr(Engine, "_failed", lambda *_: None)  # a dead process says nothing of its failure
    with pytest.raises(Killed):
        first.network("front").update(options={**CHANGES["icc"], **CHANGES["mtu"], **CHANGES["masquerade"]})
    with NetworkController.over(store, kernel, config={"repair_on_open": False}) as second:
        assert dict(second.network("front").options) == NAMED
        assert kernel.facts(["/run/netns/web"]) == before
        assert not second.reconcile(repair=False)


def test_labels_change_together_with_options(joined: tuple[Network, Sandbox], kernel: FakeKernel) -> None:
    """Labels are replaced, options added to; both in one call."""
    network, _ = joined
    network.update(labels={"stage": "test"}, options=CHANGES["icc"])
    network.update(labels={"tier": "1"})
    assert dict(network.labels) == {"tier": "1"}
    assert dict(network.options) == {**NAMED, **CHANGES["icc"]}


def test_an_endpoint_changes_in_use(joined: tuple[Network, Sandbox], kernel: FakeKernel) -> None:
    """An endpoint's aliases, settings and labels are replaced while it is joined; what is not given stays."""
    network, _ = joined
    endpoint = network.endpoint("web")
    endpoint.update(aliases=["www"], sysctls={"net.ipv4.conf.IFNAME.rp_filter": 2}, labels={"a": "b"})
    assert kernel.text.splitlines() == [
        "# update endpoint web",
        "ip netns exec web sysctl -w net.ipv4.conf.eth0.rp_filter=2",
    ]
    endpoint.update(labels={})
    assert (endpoint.aliases, dict(endpoint.labels)) == (("www",), {})
    with pytest.raises(InvalidParameter, match="IFNAME"):
        endpoint.update(sysctls={"net.ipv4.ip_forward": 1})
