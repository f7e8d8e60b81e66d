"""Docker's IPAM plug-ins: what they are asked, what becomes of their answers, and what happens when they are bad or gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from libnetwork_py import Conflict, Forbidden, Internal, NetworkController, Unavailable
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from tests.unit.lifecycle.fake import everything
from tests.unit.plugins.stub import Stub


@pytest.fixture
def ipam(plugin: Stub) -> Stub:
    """A plug-in that hands out 10.81.0.0/16, and numbers its addresses."""
    left = iter(range(2, 250))

    def address(body: Any) -> dict[str, Any]:
        wanted = body["Address"] or (
            "10.81.0.1" if "RequestAddressType" in (body["Options"] or {}) else f"10.81.0.{next(left)}"
        )
        return {"Address": f"{wanted}/16", "Data": {}}

    plugin.answers |= {
        "IpamDriver.GetDefaultAddressSpaces": {
            "LocalDefaultAddressSpace": "white",
            "GlobalDefaultAddressSpace": "blue",
        },
        "IpamDriver.RequestPool": lambda body: {"PoolID": "p", "Pool": body["Pool"] or "10.81.0.0/16", "Data": {}},
        "IpamDriver.RequestAddress": address,
        "IpamDriver.ReleaseAddress": {},
        "IpamDriver.ReleasePool": {},
    }
    return plugin


def test_what_it_is_asked(controller: NetworkController, ipam: Stub) -> None:
    """A pool, a gateway and an address are asked for as a real dockerd asks, and given back in the reverse order."""
    network = controller.create_network("front", ipam="x", ipam_options={"io": "1"})
    endpoint = network.create_endpoint("e", mac="02:42:00:00:00:09")
    assert ipam.asked("IpamDriver.RequestPool") == [
        {"AddressSpace": "white", "Pool": "", "SubPool": "", "Options": {"io": "1"}, "V6": False}
    ]
    gateway, address = ipam.asked("IpamDriver.RequestAddress")
    assert gateway == {"PoolID": "p", "Address": "", "Options": {"RequestAddressType": "com.docker.network.gateway"}}
    assert address["Options"]["com.docker.network.endpoint.macaddress"] == "02:42:00:00:00:09"
    assert [str(each) for each in (*network.gateways, *endpoint.addresses)] == ["10.81.0.1", "10.81.0.2"]
    ipam.requests.clear()
    endpoint.delete()
    network.delete()
    assert ipam.calls() == ["ReleaseAddress", "ReleaseAddress", "ReleasePool"]
    assert ipam.requests[0][1] == {"PoolID": "p", "Address": "10.81.0.2"}


def test_a_gateway_in_its_data(controller: NetworkController, ipam: Stub) -> None:
    """A gateway that comes with the pool is used and not asked for."""
    data = {"com.docker.network.gateway": "10.81.0.9/16"}
    ipam.answers["IpamDriver.RequestPool"] = {"PoolID": "p", "Pool": "10.81.0.0/16", "Data": data}
    assert [str(each) for each in controller.create_network("front", ipam="x").gateways] == ["10.81.0.9"]
    assert ipam.calls() == ["RequestPool"]


def test_pools_that_the_host_uses(ipam: Stub, directory: Path) -> None:
    """A pool that overlaps what the host has is held until another one is found, then given back."""
    pools = iter(["10.81.0.0/16", "10.82.0.0/16"])
    ipam.answers["IpamDriver.RequestPool"] = lambda _: {"PoolID": (pool := next(pools)), "Pool": pool}
    ipam.answers["IpamDriver.RequestAddress"] = {"Address": "10.82.0.1/16"}
    kernel = FakeKernel(host_links=["ens3"], host_addresses={"ens3": "10.81.3.4/16"})
    with NetworkController.over(MemoryStore(), kernel, config={"plugin_sockets": [directory]}) as some:
        assert [str(each) for each in some.create_network("front", ipam="x").subnets] == ["10.82.0.0/16"]
    assert ipam.asked("IpamDriver.ReleasePool") == [{"PoolID": "10.81.0.0/16"}]


def test_pools_without_end(ipam: Stub, directory: Path) -> None:
    """A plug-in that offers what the host uses again and again, each time as another pool, is refused, and gets all of them back."""
    numbers = iter(range(1000))
    ipam.answers["IpamDriver.RequestPool"] = lambda _: {"PoolID": str(next(numbers)), "Pool": "10.81.0.0/16"}
    kernel = FakeKernel(host_links=["ens3"], host_addresses={"ens3": "10.81.3.4/16"})
    with (
        NetworkController.over(MemoryStore(), kernel, config={"plugin_sockets": [directory]}) as some,
        pytest.raises(Conflict, match="'x' only offers 10"),
    ):
        some.create_network("front", ipam="x")
    asked, released = (len(ipam.asked(f"IpamDriver.{method}")) for method in ("RequestPool", "ReleasePool"))
    assert asked == released < 1000


@pytest.mark.parametrize(
    ("method", "answer", "error", "text"),
    [
        ("RequestPool", {"Error": "boom"}, Forbidden, "remote: boom"),
        ("RequestPool", {"Err": "boom"}, Internal, "PoolID is ''"),
        ("RequestPool", {"PoolID": "p", "Pool": "everything"}, Internal, "Pool is 'everything'"),
        ("RequestPool", {"PoolID": "p", "Pool": "fd00::/64"}, Internal, "for an IPv4 pool"),
        (
            "RequestPool",
            {"PoolID": "p", "Pool": "10.81.0.0/16", "Data": {"com.docker.network.gateway": "10.9.0.1/16"}},
            Internal,
            "not in 10.81.0.0/16",
        ),
        ("RequestAddress", {"Address": "10.81.0.1"}, Internal, "no prefix length"),
        ("RequestAddress", {"Error": "boom"}, Forbidden, "remote: boom"),
        ("RequestAddress", {"Address": ""}, Unavailable, "no address returned"),
        ("RequestAddress", {"Address": "seven"}, Internal, "Address is 'seven'"),
    ],
)
def test_bad_answers(
    controller: NetworkController,
    kernel: FakeKernel,
    ipam: Stub,
    method: str,
    answer: Any,
    error: type[Exception],
    text: str,
) -> None:
    """A refusal, nonsense and nothing are errors that name the plug-in, and what it had given is given back."""
    before = everything(controller, kernel)
    ipam.answers[f"IpamDriver.{method}"] = answer
    with pytest.raises(error, match=text) as caught:
        controller.create_network("front", ipam="x")
    assert "'x'" in str(caught.value)
    assert everything(controller, kernel) == before
    assert ("ReleasePool" in ipam.calls()) == (method == "RequestAddress")


def test_a_plugin_that_is_gone_keeps_nobody(
    controller: NetworkController, kernel: FakeKernel, ipam: Stub, directory: Path
) -> None:
    """A network whose IPAM plug-in is gone can be deleted; a warning says what was not given back."""
    before = everything(controller, kernel)
    network = controller.create_network("front", ipam="x")
    (directory / "x.sock").rename(directory / "gone")
    network.delete()
    assert everything(controller, kernel) == before
    assert [each for each in controller.info().warnings if "not given back" in each]
    (directory / "gone").rename(directory / "x.sock")


@pytest.mark.parametrize("replay", [True, False])
def test_it_is_told_again(kernel: FakeKernel, directory: Path, ipam: Stub, replay: bool) -> None:
    """After a restart a plug-in that wants it is told which pools and addresses are out; another one is not."""
    ipam.answers["IpamDriver.GetCapabilities"] = {"RequiresRequestReplay": replay}
    store, config = MemoryStore(), {"plugin_sockets": [directory]}
    NetworkController.over(store, kernel, config=config).create_network("front", ipam="x").create_endpoint("e")
    ipam.requests.clear()
    NetworkController.over(store, kernel, config=config)
    pools = [each["Pool"] for each in ipam.asked("IpamDriver.RequestPool")]
    addresses = [each["Address"] for each in ipam.asked("IpamDriver.RequestAddress")]
    assert set(pools) == ({"10.81.0.0/16"} if replay else set())
    assert addresses == (["10.81.0.1", "10.81.0.2"] if replay else [])
