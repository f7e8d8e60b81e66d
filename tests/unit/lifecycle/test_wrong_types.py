"""Values of the wrong type, from callers that no type checker has seen: a typed error before anything is touched, or taken as meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from libnetwork_py import InvalidParameter, LibnetworkError, NetworkController, NotFound
from libnetwork_py.store.sqlite import SqliteStore
from libnetwork_py.testing import FakeKernel
from tests.unit.lifecycle.fake import everything

HALF = "\ud800"
"""Half a surrogate pair: text in memory that no file can keep."""

STRANGE: list[Any] = [
    None, True, 5, -1, 2.5, "", " ", "x", "a\nb", "\0", HALF, "é" * 200, b"x", [], [None], [5], ["x"], [[]], {"a": "b"}, {"a": None},
    {5: 6}, {"a": HALF}, {HALF: "a"}, {"a": ["x"]}, object(), "10.0.0.300", "fe80::1%eth0", "0.0.0.0/0", "fd00::/129", "99999", "all",
]  # fmt: skip


@pytest.fixture
def kernel() -> FakeKernel:
    """The kernel below."""
    return FakeKernel()


@pytest.fixture
def some(kernel: FakeKernel, tmp_path: Path) -> Iterator[NetworkController]:
    """A controller whose records are files, with a network, a sandbox and an endpoint."""
    store = SqliteStore(tmp_path)
    with NetworkController.over(store, kernel) as controller:
        controller.create_sandbox("web").connect(controller.create_network("front"))
        yield controller
    store.close()


CALLS: dict[str, tuple[Callable[..., object], str]] = {
    "create_network": (
        lambda some, **given: some.create_network("new", **given),
        (
            "driver subnets gateways ip_ranges aux_addresses ipv4 ipv6 internal attachable options labels ipam ipam_options config_from"
            " config_only routes"
        ),
    ),
    "create_sandbox": (
        lambda some, **given: some.create_sandbox("new", **given),
        "netns hostname domainname dns dns_search dns_options extra_hosts sysctls labels aliases",
    ),
    "create_endpoint": (
        lambda some, **given: some.network("front").create_endpoint("new", **given),
        "addresses mac ports expose aliases dns_names sysctls interface options labels routes",
    ),
    "refresh": (
        lambda some, **given: some.sandbox("web").refresh(**given),
        "hostname domainname dns dns_search dns_options extra_hosts sysctls labels aliases netns",
    ),
    "update": (lambda some, **given: some.network("front").update(**given), "labels options routes"),
    "by name": (
        lambda some, **given: [getattr(some, name)(value) for name, value in given.items()],
        "network sandbox endpoint create_network create_sandbox",
    ),
}


@pytest.mark.parametrize(("call", "keyword"), [(call, each) for call in CALLS for each in CALLS[call][1].split()])
def test_strange_values(some: NetworkController, kernel: FakeKernel, call: str, keyword: str) -> None:
    """Whatever a caller gives gets a typed error, with nothing touched, or is taken."""
    for value in STRANGE:
        before = everything(some, kernel)
        try:
            CALLS[call][0](some, **{keyword: value})
        except LibnetworkError:
            assert everything(some, kernel) == before
        else:
            for each in ("new", str(value)):
                for find in (some.network, some.sandbox, some.network("front").endpoint):
                    with suppress(LibnetworkError):
                        find(each).delete()


@pytest.mark.parametrize(
    ("call", "code", "says"),
    [
        (
            lambda some: some.create_network("n", internal="false"),
            "invalid_flag",
            "internal is True or False, not 'false'",
        ),
        (lambda some: some.create_network("n", ipv6=1), "invalid_flag", "ipv6"),
        (lambda some: some.create_network("n", labels={"a": None}), "invalid_mapping", r"labels\['a'\] is None"),
        (lambda some: some.create_network("n", labels={"a": HALF}), "invalid_mapping", "no text"),
        (lambda some: some.create_network("n", subnets={"a": "10.0.0.0/8"}), "invalid_sequence", "give a sequence"),
        (lambda some: some.create_sandbox("n", netns=True), "invalid_pid", "netns=True is no process"),
        (lambda some: some.create_sandbox("n", netns=-1), "invalid_pid", "id of one, a path"),
        (lambda some: some.create_sandbox("n", netns=2.5), "not_a_namespace", "netns 2.5 is no path"),
        (lambda some: some.create_sandbox("n", netns=""), "not_a_namespace", "netns '' is no path"),
        (lambda some: some.network("front").create_endpoint(interface=5), "invalid_interface_name", "no text"),
        (lambda some: some.network("front").create_endpoint(interface=HALF), "invalid_interface_name", "no text"),
        (lambda some: some.network("front").create_endpoint(interface="all"), "invalid_interface_name", "keeps it"),
        (lambda some: some.create_sandbox("n", sysctls={"net.a.b": "1\n2"}), "invalid_sysctl", "one line"),
        (lambda some: some.create_sandbox("n", sysctls={"net.a.b": ""}), "invalid_sysctl", "one line"),
        (lambda some: some.network(5), "invalid_name", "no text"),
        (lambda some: some.sandbox([]), "invalid_name", "no text"),
        (lambda _: NetworkController(5), "invalid_path", "state_dir 5 is no path"),  # type: ignore[arg-type]
        (lambda _: NetworkController(""), "invalid_path", "state_dir '' is no path"),
        (lambda _: NetworkController("a\0b"), "invalid_path", "no path"),
        (lambda _: NetworkController(host=""), "invalid_host", "host '' is no path"),
        (lambda _: NetworkController(config=5), "invalid_configuration", "ControllerConfig"),  # type: ignore[arg-type]
        (lambda _: NetworkController(cluster=[]), "invalid_cluster", "etcd://"),  # type: ignore[arg-type]
    ],
)
def test_what_is_said(some: NetworkController, call: Callable[[Any], object], code: str, says: str) -> None:
    """The message names the argument and what it may be."""
    with pytest.raises(InvalidParameter, match=says) as caught:
        call(some)
    assert caught.value.code == code


def test_what_is_deleted_has_its_name(some: NetworkController) -> None:
    """A second deletion says which object was deleted, by its name and the beginning of its id."""
    front, web = some.network("front"), some.sandbox("web")
    (joined,) = web.endpoints()
    joined.delete(force=True)
    web.delete()
    front.delete()
    for handle in (front, web, joined):
        with pytest.raises(NotFound, match=f"'{handle.name}' \\({handle.id[:12]}\\) is deleted") as caught:
            handle.delete()
        assert caught.value.code == f"no_such_{type(handle).__name__.lower()}"
