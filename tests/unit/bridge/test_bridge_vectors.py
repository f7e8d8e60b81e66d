"""The reference's tables about the bridge driver's options, where they are at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libnetwork_py import InvalidParameter, NetworkController, labels
from libnetwork_py.drivers.bridge.options import read
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel

TABLES = Path(__file__).parents[4] / "shared/vectors/bridge/tables/moby__drivers_bridge_bridge_linux_test.json"

pytestmark = pytest.mark.skipif(not TABLES.exists(), reason="the vectors are not on this machine")

KEYS = {
    "BridgeName": labels.BRIDGE_NAME,
    "EnableICC": labels.BRIDGE_ENABLE_ICC,
    "EnableIPMasquerade": labels.BRIDGE_ENABLE_IP_MASQUERADE,
    "DefaultBindingIP": labels.BRIDGE_HOST_BINDING_IPV4,
    "netlabel.HostIPv4": labels.HOST_IPV4,
}


def cases(test: str) -> Any:
    """The cases of one of the reference's tests; none without the vectors."""
    tables = json.loads(TABLES.read_text())["tables"] if TABLES.exists() else []
    return next((table["cases"] for table in tables if table["test"] == test), [])


@pytest.fixture
def controller() -> Iterator[NetworkController]:
    """A controller in memory."""
    with NetworkController.over(MemoryStore(), FakeKernel()) as made:
        yield made


def test_all_options_are_read() -> None:
    """TestCreateFullOptionsLabels: every option of the table is known and read; ``default_bridge`` we refuse, there being none."""
    given = dict(cases("TestCreateFullOptionsLabels"))
    assert given.pop("DefaultBridge") == "true"
    given["BridgeName"] = "docker0"
    options = read({KEYS[name]: value for name, value in given.items()}, "0" * 64)
    assert (options.name, options.icc, options.masquerade) == ("docker0", True, True)
    assert (str(options.host_binding), str(options.snat[4])) == ("127.0.0.1", "1.2.3.4")


@pytest.mark.parametrize(
    "case", [each for each in cases("TestValidateFixedCIDRV6") if "input" in each], ids=lambda each: each["doc"]
)
def test_ipv6_subnets(controller: NetworkController, case: dict[str, str]) -> None:
    """TestValidateFixedCIDRV6: what is an IPv6 subnet there is one here, and what is not is refused."""
    if case["doc"] == "non-IPv6 subnet":  # an IPv4 subnet is fine where the caller does not say which family it wants
        assert not controller.create_network("front", subnets=case["input"]).ipv6
    elif "expectedErr" in case:
        with pytest.raises(InvalidParameter) as caught:
            controller.create_network("front", ipv4=False, subnets=case["input"])
        assert caught.value.code in {"invalid_subnet", "invalid_pool"}
    else:
        assert controller.create_network("front", ipv4=False, subnets=case["input"]).ipv6


def test_default_gateways(controller: NetworkController) -> None:
    """TestSetDefaultGw: both families' default gateways are what a sandbox gets."""
    assert {"DefaultGatewayIPv4", "DefaultGatewayIPv6"} <= set(cases("TestSetDefaultGw")["netlabel.GenericData"])
    aux = {"DefaultGatewayIPv4": "10.1.0.254", "DefaultGatewayIPv6": "fd00:1::fe"}
    front = controller.create_network("front", subnets=["10.1.0.0/24", "fd00:1::/64"], aux_addresses=aux)
    web = controller.create_sandbox("web")
    web.connect(front)
    assert {str(web.gateway(4)), str(web.gateway(6))} == set(aux.values())
