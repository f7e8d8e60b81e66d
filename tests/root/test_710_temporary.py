"""Temporary controllers: everything they made goes, by `close`, or after their process's death by the next start or `prune`."""

# ruff: noqa: PT012 (an error that leaves a whole block is what is tested)

from __future__ import annotations

from pathlib import Path

import pytest

from libnetwork_py import LibnetworkError, NetworkController, NotFound
from tests.root import machine, world
from tests.root.api_lab import started

PROGRAM = """
import sys
from libnetwork_py import NetworkController
controller = NetworkController.temporary(host=sys.argv[1])
front = controller.create_network("front", ipv6=True)
box = controller.create_sandbox("mortal")
box.connect(front, ports="8080:80")
box.run(["true"])
adopted = controller.create_sandbox("adopted", netns=sys.argv[2])
adopted.connect(front)
print(box.key, controller._directory, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def theirs() -> object:
    """Somebody's namespace."""
    path = machine.new_namespace("theirs")
    yield path
    machine.drop_namespace(path)


def _held(directories: Path) -> tuple[set[Path], int]:
    """The temporary directories there are, and how many descriptors this process has."""
    return set(directories.iterdir()), len(list(Path("/proc/self/fd").iterdir()))


def test_what_cannot_be_opened_leaves_nothing(host: str, tmp_path: Path) -> None:
    """A controller whose cluster's store nobody knows, temporary or not, leaves neither a directory nor an open file."""
    with NetworkController.temporary(host=host) as first:
        directories = Path(first.info().store.split()[-1]).parent
    before = _held(directories)
    with pytest.raises(NotFound, match="foo"):
        NetworkController.temporary(host=host, cluster="foo://nowhere")
    with pytest.raises(NotFound, match="foo"):
        NetworkController(tmp_path / "state", host=host, cluster="foo://nowhere")
    assert _held(directories) == before


def test_close_takes_everything(host: str, theirs: str) -> None:
    """`close` leaves no link, namespace, rule, setting, file or directory; adopted namespaces stay, without what was made in them."""
    forwarding = [machine.sysctl(each, host) for each in ("ipv4/ip_forward", "ipv6/conf/all/forwarding")]
    controller = NetworkController.temporary(host=host)
    directory = Path(controller.info().store.split()[-1])
    assert directory.is_dir()
    front = controller.create_network("front", ipv6=True)
    box = controller.create_sandbox("closed")
    box.connect(front, ports="8080:80")
    box.run(["true"], timeout=120)
    adopted = controller.create_sandbox("adopted", netns=theirs)
    adopted.connect(front)
    key = Path(box.key)
    controller.close()
    controller.close()
    assert not key.exists()
    assert not (Path("/etc/netns") / key.name).exists()
    assert not directory.exists()
    assert set(machine.links(host)) == {"lo"}
    assert set(machine.links(theirs)) == {"lo"}
    assert not machine.nft(host)
    assert [machine.sysctl(each, host) for each in ("ipv4/ip_forward", "ipv6/conf/all/forwarding")] == forwarding


def test_close_while_processes_run_inside(host: str) -> None:
    """Processes that still run in a sandbox keep no link on the host."""
    controller = NetworkController.temporary(host=host)
    box = controller.create_sandbox("busy")
    box.connect(controller.create_network("front"))
    with box.popen(["sleep", "60"]) as process:
        controller.close()
        assert set(machine.links(host)) == {"lo"}
        process.kill()


def test_a_closed_controller(host: str) -> None:
    """A closed controller refuses, with an error that says so, and nothing comes back."""
    controller = NetworkController.temporary(host=host)
    box = controller.create_sandbox("late")
    controller.close()
    for call in (
        lambda: controller.create_network("x"),
        controller.networks,
        box.endpoints,
        lambda: box.run(["true"]),
        controller.reconcile,
    ):
        with pytest.raises(LibnetworkError, match="closed"):
            call()
    assert set(machine.links(host)) == {"lo"}


def test_an_error_in_the_body_closes_too(host: str) -> None:
    """``with`` closes also when its body fails."""
    with pytest.raises(ZeroDivisionError), NetworkController.temporary(host=host) as controller:
        controller.create_sandbox("failing").connect(controller.create_network("front"))
        _ = 1 // 0
    assert set(machine.links(host)) == {"lo"}


def _next_start(host: str) -> None:
    NetworkController.temporary(host=host).close()


@pytest.mark.parametrize("by", ["start", "prune"])
def test_after_sigkill(host: str, theirs: str, by: str, tmp_path: Path) -> None:
    """What a killed process's temporary controller made is removed by the next start, and by `prune` of a controller that runs."""
    running = NetworkController(tmp_path / "state", host=host) if by == "prune" else None
    with started(PROGRAM, host, theirs) as process:
        assert process.stdout is not None
        key, directory = process.stdout.readline().split()
        assert Path(key).exists()
        process.kill()
    assert Path(key).exists() or not world.ROOT  # an ordinary user's helper sweeps by itself
    if running is None:
        _next_start(host)
    else:
        with running:
            assert running.networks() == []
            with running.plan():
                assert running.prune().controllers == ()
            assert Path(key).exists() or not world.ROOT
            assert directory in running.prune().controllers or not world.ROOT
    machine.wait_until(lambda: not Path(key).exists(), "its sandbox to go")
    assert not (Path("/etc/netns") / Path(key).name).exists()
    machine.wait_until(lambda: not Path(directory).exists(), "its directory to go")
    for place in (host, theirs):
        machine.wait_until(lambda place=place: set(machine.links(place)) == {"lo"}, "its links to go")  # type: ignore[misc]
    machine.wait_until(lambda: not machine.nft(host), "its table to go")


def test_a_living_controller_is_not_swept(host: str) -> None:
    """Another process's temporary controller that lives is left alone by starts and prunes."""
    with NetworkController.temporary(host=host) as mine:
        box = mine.create_sandbox("living")
        box.connect(mine.create_network("front"))
        with started(
            "import sys; from libnetwork_py import NetworkController\nwith NetworkController.temporary(host=sys.argv[1]) as c: c.prune()",
            host,
        ) as other:
            out, err = other.communicate(timeout=120)
            assert other.returncode == 0, out + err
        assert Path(box.key).exists()
        assert not mine.reconcile(repair=False)


def test_its_host_is_gone_first(host: str) -> None:
    """A temporary controller whose host namespace was removed can still be closed, and takes its sandboxes along."""
    place = machine.new_namespace("doomed")
    controller = NetworkController.temporary(host=place)
    box = controller.create_sandbox("orphan")
    box.connect(controller.create_network("front"))
    key = Path(box.key)
    machine.drop_namespace(place)
    controller.close()
    assert not key.exists()


def test_prune_removes_unused_networks(host: str) -> None:
    """`prune` removes networks without endpoints and names them; configurations and networks in use stay."""
    with NetworkController.temporary(host=host) as controller:
        controller.create_network("unused")
        controller.create_network("config", config_only=True, subnets="10.9.0.0/24")
        used = controller.create_network("used")
        used.create_endpoint("e")
        assert controller.prune().networks == ("unused",)
        assert [each.name for each in controller.networks()] == ["config", "used"]
        with pytest.raises(NotFound):
            controller.network("unused")
        assert len([name for name in machine.links(host) if name.startswith("br-")]) == 1
