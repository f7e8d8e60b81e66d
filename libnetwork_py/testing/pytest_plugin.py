"""A pytest plug-in: networks for a test, gone after it, and shown when it fails.

    @pytest.mark.network_features("netem")                    # skipped, with the feature's name, where the kernel lacks it
    def test_a_slow_link(network_pair):
        network_pair.server.endpoints()[0].shape(delay="50ms")
        network_pair.client.run(["ping", "-c1", "server"], check=True)

Fixtures: ``network_controller``, a temporary controller over a host namespace of its own, so that tests touch nothing of the machine's
network and any number of them run side by side, in one process or in the workers of pytest-xdist; ``network_pair``, two sandboxes on one
network of it; ``fake_network_controller``, one over a kernel in memory, which needs no privilege and makes nothing.

When a test fails that used one of these, the report has the topology, the plan (the ``ip``, ``tc`` and ``nft`` lines that make what was
there) and, if the kernel has something else, what that is.

Installed with the package (entry point ``pytest11``); ``-p no:libnetwork_py`` switches it off. Until a test asks for something, it loads
nothing.

May import: everything of this package, when a fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from attrs import frozen

if TYPE_CHECKING:
    from ..controller import NetworkController
    from ..network import Network
    from ..sandbox import Sandbox

_MARKER = "network_features"
_CONTROLLERS = pytest.StashKey[list["NetworkController"]]()


@frozen
class NetworkPair:
    """Two sandboxes that reach each other: what ``network_pair`` gives. ``network`` joins them; ``controller`` made all three."""

    controller: NetworkController
    network: Network
    client: Sandbox
    server: Sandbox


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        f"{_MARKER}(*names): skip the test where the kernel lacks one of these features (see NetworkController.info().features), "
        "or where no network namespaces can be had",
    )


class _Machine:
    """What the machine can do, found out once in a process: by a controller that also has the host namespaces of tests."""

    def __init__(self) -> None:
        self._outer: NetworkController | None = None
        self._features: Mapping[str, bool] | None = None
        self._hosts = 0

    def outer(self) -> NetworkController:
        from ..controller import NetworkController  # noqa: PLC0415 (loaded when a test asks for it)

        if self._outer is None:
            self._outer = NetworkController.temporary()
        return self._outer

    def features(self) -> Mapping[str, bool]:
        if self._features is None:
            self._features = self.outer().info().features
        return self._features

    def host(self) -> Sandbox:
        self._hosts += 1
        return self.outer().create_sandbox(f"pytest-host-{self._hosts}")

    def close(self) -> None:
        if self._outer is not None:
            self._outer.close()
            self._outer = None


_machine = _Machine()


def pytest_sessionfinish() -> None:
    """Give back what belongs to no test."""
    _machine.close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose features are not all there."""
    from ..errors import LibnetworkError  # noqa: PLC0415 (loaded when there are tests)

    wanted = [str(name) for marker in item.iter_markers(_MARKER) for name in marker.args]
    if item.get_closest_marker(_MARKER) is None:
        return
    try:
        found = _machine.features()
    except LibnetworkError as error:
        pytest.skip(f"no network namespaces can be had: {error}")
    unknown = [name for name in wanted if name not in found]
    if unknown:
        pytest.fail(f"{_MARKER}: unknown {', '.join(unknown)}; known are {', '.join(sorted(found))}", pytrace=False)
    missing = [name for name in wanted if not found[name]]
    if missing:
        pytest.skip(f"this kernel lacks {', '.join(missing)}")


@pytest.fixture
def network_controller(request: pytest.FixtureRequest) -> Iterator[NetworkController]:
    """A temporary controller over a host namespace of its own; all it made is gone after the test."""
    from ..controller import NetworkController  # noqa: PLC0415 (loaded when a test asks for it)

    host = _machine.host()
    try:
        with NetworkController.temporary(host=host) as controller:
            _remember(request, controller)
            yield controller
    finally:
        host.delete(force=True)


@pytest.fixture
def fake_network_controller(request: pytest.FixtureRequest) -> Iterator[NetworkController]:
    """A controller over a kernel in memory: no privilege, no traffic."""
    from ..controller import NetworkController  # noqa: PLC0415 (loaded when a test asks for it)
    from ..store.memory import MemoryStore  # noqa: PLC0415
    from .fake_kernel import FakeKernel  # noqa: PLC0415

    with NetworkController.over(MemoryStore(), FakeKernel()) as controller:
        _remember(request, controller)
        yield controller


@pytest.fixture
def network_pair(network_controller: NetworkController) -> NetworkPair:
    """Two sandboxes, ``client`` and ``server``, on one network with a free subnet."""
    network = network_controller.create_network("pair")
    with network_controller.batch():
        client, server = (network_controller.create_sandbox(name) for name in ("client", "server"))
        client.connect(network)
        server.connect(network)
    return NetworkPair(network_controller, network, client, server)


def _remember(request: pytest.FixtureRequest, controller: NetworkController) -> None:
    item: pytest.Item = request.node
    item.stash.setdefault(_CONTROLLERS, []).append(controller)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, object, object]:
    """Put the topology and the plan into the report of a test that failed."""
    report = yield
    if isinstance(report, pytest.TestReport) and report.when == "call" and report.failed:
        for controller in item.stash.get(_CONTROLLERS, []):
            with suppress(Exception):  # the controller may be what is broken
                report.sections += _sections(controller)
    return report


def _sections(controller: NetworkController) -> Iterator[tuple[str, str]]:
    yield "libnetwork_py: topology", str(controller.draw())
    yield "libnetwork_py: plan", controller._described()  # noqa: SLF001 (what the controller has for this module)
    drift = controller.reconcile(repair=False)
    if drift:
        yield "libnetwork_py: what the kernel has instead", str(drift)
