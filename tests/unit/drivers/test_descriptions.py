"""What each driver describes, as the ``ip`` and ``nft`` lines that make and remove it (goldens under ``tests/golden``)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from libnetwork_py import NetworkController, labels
from libnetwork_py.testing import FakeKernel
from tests.unit.lifecycle.fake import controller, stable_ids, without_table

Golden = Callable[[str, str], None]


class Stage:
    """A controller and the lines that its last steps made."""

    def __init__(self) -> None:
        self.kernel = FakeKernel(host_links=["ens3"], host_addresses={"ens3": "192.0.2.10/24"})
        self.controller: NetworkController = controller(self.kernel)

    def lines(self) -> str:
        """The lines since the last call."""
        return without_table(self.kernel.take_text()) + "\n"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage whose ids are the same in every run."""
    stable_ids(monkeypatch)
    return Stage()


NETWORKS: dict[str, dict[str, object]] = {
    "default": {},
    "dual_stack": {"subnets": ["10.7.0.0/24", "fd00:7::/64"]},
    "ipv6_alone": {"ipv4": False, "subnets": "fd00:7::/64"},
    "internal": {"internal": True},
    "icc_off": {"options": {labels.BRIDGE_ENABLE_ICC: False}},
    "no_masquerade": {"options": {labels.BRIDGE_ENABLE_IP_MASQUERADE: False}},
    "own_names": {
        "subnets": "10.7.0.0/24", "gateways": "10.7.0.254", "ip_ranges": "10.7.0.128/25",
        "options": {labels.BRIDGE_NAME: "mybr0", labels.DRIVER_MTU: 1400, labels.CONTAINER_IFACE_PREFIX: "net"},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_bridge_network(stage: Stage, golden: Golden, name: str) -> None:
    """A bridge network and an endpoint on it with a published port are described like this, with each of the options."""
    network = stage.controller.create_network("front", **NETWORKS[name])  # type: ignore[arg-type]
    made = stage.lines()
    ports = () if network.internal else ("8080:80",)
    stage.controller.create_sandbox("web").connect(network, ports=ports)
    golden(f"bridge/{name}.txt", f"{made}\n{stage.lines()}")


def test_a_bridge_networks_end(stage: Stage, golden: Golden) -> None:
    """Leaving, deleting the sandbox and deleting the network remove what was made, last first."""
    network = stage.controller.create_network("front")
    box = stage.controller.create_sandbox("web")
    endpoint = box.connect(network, ports="8080:80")
    stage.lines()
    endpoint.leave()
    left = stage.lines()
    endpoint.join(box)
    stage.lines()
    box.delete()
    deleted = stage.lines()
    network.delete()
    golden("bridge/end.txt", f"{left}\n{deleted}\n{stage.lines()}")
    assert not stage.kernel.state()


@pytest.mark.parametrize(
    "port", ["8080:80", "127.0.0.1:8080:80/udp", "[::1]:8080:80", "8000-8002:80-82", "192.0.2.10:8080:80/sctp"]
)
def test_published_ports(stage: Stage, golden: Golden, port: str) -> None:
    """A published port is elements of maps, for each family that its host address allows."""
    network = stage.controller.create_network("front", subnets=["10.7.0.0/24", "fd00:7::/64"])
    endpoint = stage.controller.create_sandbox("web").connect(network)
    stage.lines()
    binding = endpoint.publish(port)
    made = stage.lines()
    endpoint.unpublish(binding)
    golden(f"bridge/port_{port.replace(':', '_').replace('/', '_').strip('[')}.txt", f"{made}\n{stage.lines()}")


def test_a_moving_gateway(stage: Stage, golden: Golden) -> None:
    """A second network that wins the election replaces the default route; leaving it puts the first one's back."""
    box = stage.controller.create_sandbox("web")
    box.connect(stage.controller.create_network("beta"))
    alpha = stage.controller.create_network("alpha")
    stage.lines()
    box.connect(alpha)
    joined = stage.lines()
    box.disconnect(alpha)
    golden("bridge/moving_gateway.txt", f"{joined}\n{stage.lines()}")


def test_an_endpoint_with_everything(stage: Stage, golden: Golden) -> None:
    """MAC address, several addresses, settings and an interface name are described on the endpoint's interface."""
    network = stage.controller.create_network("front", subnets=["10.7.0.0/24", "fd00:7::/64"])
    box = stage.controller.create_sandbox("web", sysctls={"net.ipv4.ip_forward": 1})
    stage.lines()
    box.connect(
        network, addresses=["10.7.0.9", "10.7.0.10", "fd00:7::9"], mac="02:00:00:00:00:09", interface="wan0",
        sysctls={"net.ipv4.conf.IFNAME.log_martians": 1},
    )  # fmt: skip
    golden("bridge/endpoint.txt", stage.lines())


def test_null(stage: Stage, golden: Golden) -> None:
    """A null network is nothing, and a sandbox on it a bare namespace."""
    network = stage.controller.create_network("none", "null")
    stage.controller.create_sandbox("web").connect(network)
    golden("null/endpoint.txt", stage.lines())


def test_host(stage: Stage, golden: Golden) -> None:
    """The host network and the host's sandbox on it are nothing."""
    network = stage.controller.create_network("hostnet", "host")
    stage.controller.create_sandbox("own", netns="host").connect(network)
    golden("host/endpoint.txt", stage.lines())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_description_is_kept(stage: Stage, name: str) -> None:
    """What was made is what is described: nothing differs right after, and making it again changes nothing."""
    network = stage.controller.create_network("front", **NETWORKS[name])  # type: ignore[arg-type]
    stage.controller.create_sandbox("web").connect(network)
    stage.lines()
    assert not stage.controller.reconcile()
    assert stage.lines() == "\n"
