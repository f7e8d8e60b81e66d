"""Sandboxes find each other by name: asked with dig, getent, curl and Python, never with our own code."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dns.message
import dns.rrset
import pytest

from libnetwork_py import Network, NetworkController, Sandbox
from libnetwork_py.dns.service import PLACES
from libnetwork_py.errors import Unavailable
from libnetwork_py.kernel import children
from tests.root import machine, world
from tests.root.api_lab import failing_disk, of, serving
from tests.root.machine import run_in, wait_until
from tests.root.names_lab import Asker, dig, failing, kill, processes, status, upstream


@pytest.fixture
def front(controller: NetworkController) -> Network:
    """A network of both families."""
    return controller.create_network("front", subnets=["10.7.0.0/24", "fd00:7::/64"])


@pytest.fixture
def web(controller: NetworkController, front: Network) -> Sandbox:
    """A sandbox with names."""
    box = controller.create_sandbox("web")
    box.connect(front, aliases=["www"], expose=["80/tcp"])
    return box


@pytest.fixture
def client(controller: NetworkController, front: Network, web: Sandbox) -> Sandbox:
    """A sandbox that asks."""
    hosts = {"printer": "192.0.2.9", "gate": "host-gateway"}
    box = controller.create_sandbox("client", extra_hosts=hosts, aliases={"site": "web"})
    box.connect(front)
    return box


def _directory(controller: NetworkController) -> Path:
    return Path(controller.info().store.split()[-1])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("web A", ["10.7.0.2"]),
        ("WEB.front A", ["10.7.0.2"]),
        ("www A", ["10.7.0.2"]),
        ("site A", ["10.7.0.2"]),
        ("web AAAA", ["fd00:7::2"]),
        ("web A +tcp", ["10.7.0.2"]),
        ("web A +noedns", ["10.7.0.2"]),
        ("web MX", []),
        ("-x 10.7.0.2", ["web.front."]),
        ("-x fd00:7::3", ["client.front."]),
        ("_http._tcp.web SRV", ["0 0 80 web.front."]),
        ("printer A", ["192.0.2.9"]),
        ("gate A", ["10.7.0.1"]),
        ("host.docker.internal A", ["10.7.0.1"]),
    ],
)
def test_dig(client: Sandbox, arguments: str, expected: list[str]) -> None:
    """Every type of record is answered, by UDP and by TCP."""
    assert dig(client, *arguments.split()) == expected


def test_unchanged_clients(client: Sandbox, web: Sandbox) -> None:
    """getent, curl and Python find a sandbox by name and reach it."""
    assert client.run(["getent", "ahostsv4", "web"], capture_output=True, text=True).stdout.split()[0] == "10.7.0.2"
    code = "import socket; print(sorted({each[4][0] for each in socket.getaddrinfo('web', 80)}))"
    found = client.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found == "['10.7.0.2', 'fd00:7::2']\n"
    with serving(of(web), 80):
        assert (
            client.run(["curl", "-s", "--max-time", "5", "telnet://web:80"], stdin=subprocess.DEVNULL).returncode == 0
        )
    assert client.run(["ping", "-c", "1", "-W", "5", "web"], capture_output=True).returncode == 0


def test_ip_netns_exec(client: Sandbox, web: Sandbox) -> None:
    """`ip netns exec` finds a sandbox by name."""
    netns = ["ip", "netns", "exec", Path(client.key).name]
    assert machine.run(*netns, "getent", "ahostsv4", "web").stdout.split()[0] == "10.7.0.2"


def test_the_caller_is_answered_without_a_packet(client: Sandbox) -> None:
    """`resolve` says what the service says."""
    assert [str(each) for each in client.resolve("web")] == ["10.7.0.2", "fd00:7::2"]
    assert client.resolve("10.7.0.2") == ["web.front"]
    assert client.resolve("nobody") == []


def test_port_53_is_free(client: Sandbox) -> None:
    """A program may serve DNS itself on port 53 of every address at once, and the name service still answers on its own."""
    with (
        client.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        client.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp,
    ):
        for each in (udp, tcp):
            each.bind(("0.0.0.0", 53))
        tcp.listen()
        assert dig(client, "web", "A") == dig(client, "web", "A", "+tcp") == ["10.7.0.2"]
        with client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.sendto(b"to all", ("127.0.0.1", 53))
            udp.settimeout(5)
            assert udp.recv(16) == b"to all"


def test_no_connection_is_tracked(client: Sandbox) -> None:
    """Questions leave no entry in the sandbox's table of connections, and a user's rules are left as they are."""
    run_in(client.key, ["nft", "add", "table", "inet", "mine"])
    dig(client, "web", "A")
    assert "inet mine" in run_in(client.key, ["nft", "list", "tables"]).stdout
    assert Path("/proc/sys/net/netfilter/nf_conntrack_count").exists()
    assert run_in(client.key, ["cat", "/proc/sys/net/netfilter/nf_conntrack_count"]).stdout == "0\n"


def test_a_stateful_firewall_inside(client: Sandbox) -> None:
    """Rules that let in nothing but answers see questions to port 53 and answers from there."""
    chain = "type filter hook input priority 0; policy drop; ct state established accept; iif lo udp dport 53 accept;"
    rules = f"table inet mine {{\nchain incoming {{ {chain} }}\n}}\n"
    run_in(client.key, ["nft", "-f", "-"], input=rules)
    assert dig(client, "web", "A") == ["10.7.0.2"]


def test_names_come_and_go_at_once(controller: NetworkController, front: Network, client: Sandbox) -> None:
    """A name is there when `connect` returns and gone when `disconnect` does; no question is lost meanwhile."""
    late = controller.create_sandbox("late")
    asker = Asker(client)
    with asker.asking():
        for _ in range(6):
            endpoint = late.connect(front, aliases=["pool"])
            address = endpoint.addresses[0]
            assert dig(client, "late", "A") == [str(address)]
            endpoint.update(aliases=["other"])
            assert dig(client, "pool", "A") == []
            late.disconnect(front)
            assert status(client, "late", "A") == "SERVFAIL"
    assert asker.asked > 50
    assert (asker.lost, asker.refused, asker.codes) == (0, 0, {0})


def test_no_answer_is_stale_beside_a_flood(controller: NetworkController, front: Network, client: Sandbox) -> None:
    """Who joins a sandbox and asks for it at once is told of it, and of its end, while others keep the service busy."""
    ended = threading.Event()
    with (
        client.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooding,
        client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking,
    ):
        for each in (flooding, asking):
            each.connect(("127.0.0.11", 53))
            each.settimeout(10)

        question = dns.message.make_query("client", "A").to_wire()

        def flood() -> None:
            while not ended.is_set():
                for _ in range(50):
                    flooding.send(question)
                for _ in range(50):
                    flooding.recv(512)

        def ask() -> list[str]:
            asking.send(dns.message.make_query("late", "A").to_wire())
            return [str(each) for found in dns.message.from_wire(asking.recv(512)).answer for each in found]

        flooder = threading.Thread(target=flood)
        flooder.start()
        try:
            for _ in range(100):
                late = controller.create_sandbox("late")
                address = late.connect(front).addresses[0]
                assert ask() == [str(address)]
                late.delete()
                assert ask() == []
        finally:
            ended.set()
            flooder.join()


def test_files_follow(controller: NetworkController, front: Network, client: Sandbox) -> None:
    """Both files are there, for root's `ip netns exec` too, as soon as a sandbox is joined, and change with its endpoints."""
    back = controller.create_network("back", subnets="10.8.0.0/24")
    folder = _folder(controller, client)
    assert folder.is_symlink() == world.ROOT, "to a folder in memory"
    assert "10.7.0.3\tclient\n" in (folder / "hosts").read_text()
    assert (folder / "resolv.conf").read_text().startswith("nameserver 127.0.0.11\noptions ndots:0\n")
    client.connect(back)
    assert "10.8.0.2\tclient\n" in (folder / "hosts").read_text()
    client.disconnect(back)
    assert "10.8.0.2" not in (folder / "hosts").read_text()
    client.disconnect(front)
    assert "127.0.0.11" not in (folder / "resolv.conf").read_text()
    (folder / "hosts").write_text("127.0.0.1 mine\n")
    client.connect(front)
    assert (folder / "hosts").read_text() == "127.0.0.1 mine\n"
    assert (folder / "resolv.conf").read_text().startswith("nameserver 127.0.0.11\n")


def _folder(controller: NetworkController, box: Sandbox) -> Path:
    return (Path("/etc/netns") if world.ROOT else _directory(controller) / "netns") / Path(box.key).name


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("used", [False, True], ids=["never used", "used before"])
def test_files_of_a_join_that_failed(controller: NetworkController, front: Network, used: bool) -> None:
    """A sandbox whose first join fails has the files that it had before, or none; the next join writes them."""
    box = controller.create_sandbox("late")
    folder = _folder(controller, box)
    if used:
        box.run(["true"], check=True)
    before = {each.name: each.read_text() for each in folder.glob("*")}
    assert len(before) == 2 * used
    with failing_disk(), pytest.raises(Unavailable):
        box.connect(front)
    assert {each.name: each.read_text() for each in folder.glob("*")} == before
    assert folder.exists() == used
    address = box.connect(front).addresses[0]
    assert f"{address}\tlate\n" in (folder / "hosts").read_text()


@pytest.mark.parametrize("count", [2, 30])
def test_files_of_a_batch_that_failed(controller: NetworkController, front: Network, count: int) -> None:
    """Sandboxes of a batch that fails leave no files; those of the next one have theirs."""

    def make() -> list[Sandbox]:
        with controller.batch():
            boxes = [controller.create_sandbox(f"many{number}") for number in range(count)]
            for box in boxes:
                box.connect(front)
        return boxes

    folder = _folder(controller, controller.create_sandbox("one")).parent
    with failing_disk(), pytest.raises(Unavailable):
        make()
    assert list(folder.glob("many*")) == []
    for box in make():
        address = box.endpoints()[0].addresses[0]
        assert f"{address}\t{box.name}\n" in (_folder(controller, box) / "hosts").read_text()


def _are_others(directory: Path, before: list[int]) -> bool:
    now = processes(directory)
    return len(now) == 2 and now != before


def _are_two_others(directory: Path, before: list[int]) -> bool:
    return len({*processes(directory)} - {*before}) == 2


@pytest.mark.parametrize("which", [0, 1], ids=["the keeper", "the one that answers"])
def test_either_process_may_die(controller: NetworkController, front: Network, client: Sandbox, which: int) -> None:
    """When one of the service's processes is killed there are two again and no question finds a closed port.

    None is lost either, but for the one that the killed process had in hand.
    """
    directory = _directory(controller)
    asker = Asker(client)
    with asker.asking():
        for number in range(3):
            time.sleep(0.3)
            wait_until(lambda: len(processes(directory)) == 2, "two processes")
            before = processes(directory)
            kill(before[which])
            wait_until(partial(_are_others, directory, before), "two processes")
            box = controller.create_sandbox(f"more{number}")
            box.connect(front)
            assert dig(client, box.name, "A") == [str(box.endpoints()[0].addresses[0])]
    assert (asker.refused, asker.codes) == (0, {0})
    assert asker.lost <= 3 * which


def test_what_a_dead_process_was_told(controller: NetworkController, front: Network, client: Sandbox) -> None:
    """What the service was told and died without having heard is in the first answer after its death."""
    service = processes(_directory(controller))[-1]
    os.kill(service, signal.SIGSTOP)
    late = controller.create_sandbox("late")
    address = late.connect(front).addresses[0]
    os.kill(service, signal.SIGKILL)
    assert dig(client, "late", "A") == [str(address)]


def test_both_processes_die(controller: NetworkController, client: Sandbox) -> None:
    """When both are killed, the controller starts the service again within a second, with all names."""
    directory = _directory(controller)
    wait_until(lambda: len(processes(directory)) == 2, "two processes")
    os.kill(processes(directory)[0], signal.SIGSTOP)
    for each in processes(directory):
        kill(each)
    wait_until(lambda: len(processes(directory)) == 2, "the service")
    wait_until(lambda: status(client, "web", "A") == "NOERROR", "the service")
    assert dig(client, "web", "A") == ["10.7.0.2"]


def test_both_processes_die_again_and_again(
    controller: NetworkController, client: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are started five times at once, and then after a while, though nobody does anything meanwhile."""
    monkeypatch.setattr(children, "_PERIOD", 4.0)
    directory = _directory(controller)
    killed: list[int] = []
    for _ in range(8):
        wait_until(partial(_are_two_others, directory, killed), "two processes")
        both = processes(directory)
        os.kill(both[0], signal.SIGSTOP)  # else it may start another one
        for each in both:
            kill(each)
        killed.extend(both)
    wait_until(lambda: status(client, "web", "A") == "NOERROR", "the service")
    assert dig(client, "web", "A") == ["10.7.0.2"]


@pytest.mark.parametrize("which", [0, 1], ids=["the keeper", "the one that answers"])
def test_either_process_may_hang(controller: NetworkController, client: Sandbox, which: int) -> None:
    """When one of the service's processes is stopped it is replaced; a question that was asked meanwhile is answered."""
    directory = _directory(controller)
    assert dig(client, "web", "A") == ["10.7.0.2"]
    before = processes(directory)
    os.kill(before[which], signal.SIGSTOP)
    assert dig(client, "web", "A", "+time=20") == ["10.7.0.2"]
    wait_until(lambda: len(processes(directory)) == 2 and before[which] not in processes(directory), "another one")
    late = controller.create_sandbox("late").connect(controller.network("front"))
    assert dig(client, "late", "A") == [str(late.addresses[0])]


def test_both_processes_hang(controller: NetworkController, client: Sandbox) -> None:
    """When both are stopped they are replaced, with what an operation said meanwhile, and `close` leaves none."""
    directory = _directory(controller)
    assert dig(client, "web", "A") == ["10.7.0.2"]
    before = processes(directory)
    for each in before:
        os.kill(each, signal.SIGSTOP)
    late = controller.create_sandbox("late").connect(controller.network("front"))
    assert str(late.addresses[0]) in dig(client, "late", "A", "+time=2", "+tries=10")
    wait_until(lambda: len(processes(directory)) == 2 and not set(before) & set(processes(directory)), "two others")
    for each in processes(directory):
        os.kill(each, signal.SIGSTOP)
    controller.close()
    wait_until(lambda: not processes(directory), "the end of the service")


@pytest.fixture
def state(host: str, tmp_path: Path) -> Iterator[Path]:
    """A state directory; what its controller made is removed afterwards."""
    directory = tmp_path / "state"
    yield directory
    with NetworkController(directory, host=host) as controller:
        for box in controller.sandboxes():
            box.delete()
        for network in controller.networks():
            network.delete(force=True)
    wait_until(lambda: not processes(directory), "the end of the service")


def test_many_sandboxes_are_found_again(host: str, state: Path) -> None:
    """A service that serves more sandboxes than one message names tells the next controller of all of them."""
    with NetworkController(state, host=host) as first:
        front = first.create_network("front", subnets="10.7.0.0/24")
        with first.batch():
            for number in range(PLACES + 5):
                first.create_sandbox(f"box{number}").connect(front)
        last = first.sandbox(f"box{PLACES + 4}").key
    before = processes(state)
    with NetworkController(state, host=host) as second:
        assert not [each for each in second.info().warnings if "name service" in each]
        assert dig(last, "box0", "A") == [str(second.sandbox("box0").endpoints()[0].addresses[0])]
        assert processes(state) == before


def test_names_go_on_without_a_controller(host: str, state: Path) -> None:
    """After `close` names are still answered; the next controller finds the same processes and no question is lost."""
    with NetworkController(state, host=host) as first:
        front = first.create_network("front", subnets="10.7.0.0/24")
        for name in ("web", "client"):
            first.create_sandbox(name).connect(front)
        client = first.sandbox("client").key
    wait_until(lambda: len(processes(state)) == 2, "two processes")
    assert dig(client, "web", "A") == ["10.7.0.2"]
    for which in (1, 0):
        kill(processes(state)[which])
        wait_until(lambda: len(processes(state)) == 2, "two processes")
        assert dig(client, "web", "A") == ["10.7.0.2"]
    before = processes(state)
    with NetworkController(state, host=host) as second:
        second.create_sandbox("third").connect(second.network("front"))
        assert processes(state) == before
        assert dig(second.sandbox("client"), "third", "A") == ["10.7.0.4"]
        for each in before:
            kill(each)
    wait_until(lambda: not set(processes(state)) & set(before), "new processes")
    with NetworkController(state, host=host) as third:
        assert dig(third.sandbox("client"), "third", "A") == ["10.7.0.4"]


def test_two_processes_share_the_service(host: str, state: Path) -> None:
    """What another process joins or deletes is known at once, by way of one service."""
    program = (
        "import sys; from libnetwork_py import NetworkController as C; c = C(sys.argv[1], host=sys.argv[2]);"
        "c.create_sandbox('web').connect(c.network('front'))"
    )
    with NetworkController(state, host=host) as controller:
        front = controller.create_network("front", subnets="10.7.0.0/24")
        client = controller.create_sandbox("client")
        client.connect(front)
        subprocess.run([sys.executable, "-c", program, str(state), host], check=True)
        assert dig(client, "web", "A") == ["10.7.0.3"]
        assert [str(each) for each in client.resolve("web")] == ["10.7.0.3"]
        controller.sandbox("web").delete()
        assert status(client, "web", "A") == "SERVFAIL"
        assert len(processes(state)) == 2


def test_a_namespace_that_was_taken_away(controller: NetworkController, client: Sandbox, web: Sandbox) -> None:
    """After `ip netns del` and `reconcile` the sandbox is whole again, names and all."""
    machine.drop_namespace(client.key)
    assert controller.reconcile().repaired
    assert not controller.reconcile(repair=False)
    assert dig(client, "web", "A") == ["10.7.0.2"]


def test_nothing_is_left_of_a_dead_program(host: str) -> None:
    """The service of a temporary controller ends with its process, however that ended."""
    program = (
        "import sys; from libnetwork_py import NetworkController as C; c = C.temporary(host=sys.argv[1]); n = c.create_network('front');"
        "c.create_sandbox('mortal').connect(n); print(c._directory, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, host], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        directory = Path(process.stdout.readline().strip())
        wait_until(lambda: len(processes(directory)) == 2, "two processes")
        process.kill()
    wait_until(lambda: not processes(directory), "the service")
    with NetworkController.temporary(host=host) as controller:
        controller.prune()
    # without root the dead one's helper may be sweeping meanwhile
    wait_until(lambda: not directory.exists(), "its directory to go")


# Other people's names


@pytest.fixture
def asking(controller: NetworkController, front: Network) -> Sandbox:
    """A sandbox with servers of its own: one that is silent about itself and one that knows names."""
    box = controller.create_sandbox("asking", dns=["127.0.0.5", "127.0.0.6"])
    box.connect(front)
    return box


def test_others_are_asked_in_order(asking: Sandbox) -> None:
    """A server that is not there or fails is followed by the next; NXDOMAIN is final; answers are kept for as long as they say."""
    with upstream(asking.call, "127.0.0.6") as second:
        assert dig(asking, "one.example", "A") == ["192.0.2.80"]
        assert dig(asking, "one.example", "A") == ["192.0.2.80"]
        assert dig(asking, "zero.example", "A") == dig(asking, "zero.example", "A") == ["192.0.2.80"]
        assert dig(asking, "two.example", "A", "+tcp") == ["192.0.2.80"]
        assert second.asked == ["one.example.", "zero.example.", "zero.example.", "two.example."]
        with upstream(asking.call, "127.0.0.5", failing) as first:
            assert dig(asking, "three.example", "A") == ["192.0.2.80"]
            assert status(asking, "nowhere.test", "A") == status(asking, "nowhere.test", "A") == "NXDOMAIN"
            assert first.asked == ["three.example.", "nowhere.test."]
        assert second.asked[4:] == ["three.example.", "nowhere.test."]
    assert status(asking, "four.example", "A") == "SERVFAIL"


def test_answers_to_other_questions_are_passed_over(asking: Sandbox) -> None:
    """An answer with another number or about another name is not taken; the right one, later, is."""

    def forged(response: dns.message.Message) -> None:
        response.answer.append(dns.rrset.from_text(response.question[0].name, 60, "IN", "A", "192.0.2.66"))

    with upstream(asking.call, "127.0.0.5", forged) as server:
        original = server.reply

        def reply(packet: bytes) -> bytes:
            client = server.client
            wrong_number = original(bytes((packet[0] ^ 1,)) + packet[1:])
            server.udp.sendto(wrong_number, client)
            other = dns.message.make_query("other.example", "A", id=int.from_bytes(packet[:2], "big")).to_wire()
            server.udp.sendto(original(other), client)
            right = dns.message.make_response(dns.message.from_wire(packet))
            right.answer.append(dns.rrset.from_text(right.question[0].name, 60, "IN", "A", "192.0.2.1"))
            return right.to_wire()

        server.reply = reply  # type: ignore[method-assign]
        assert dig(asking, "target.example", "A") == ["192.0.2.1"]


def test_servers_of_the_host(controller: NetworkController, front: Network, host: str) -> None:
    """Servers found on the host are asked from there, but not for a sandbox that is on internal networks alone."""
    folder = Path("/etc/netns", Path(host).name)
    folder.mkdir(parents=True)
    try:
        (folder / "resolv.conf").write_text("nameserver 127.0.0.7\n")
        with NetworkController.temporary(host=host) as second:
            outer, inner = second.create_network("outer"), second.create_network("inner", internal=True)
            box = second.create_sandbox("box")
            box.connect(inner)
            playing = second.create_sandbox("playing", netns="host")
            with upstream(playing.call, "127.0.0.7") as server:
                assert status(box, "one.example", "A") == "SERVFAIL"
                box.connect(outer)
                assert dig(box, "one.example", "A") == ["192.0.2.80"]
                box.disconnect(outer)
                assert status(box, "one.example", "A") == "SERVFAIL"
                assert server.asked == ["one.example."]
    finally:
        (folder / "resolv.conf").unlink()
        folder.rmdir()


def test_single_words_are_each_sandboxs_own_affair(
    controller: NetworkController, front: Network, asking: Sandbox
) -> None:
    """What a sandbox with `ndots` is told of a name without dots is not told to one that sees the same names without it."""
    other = controller.create_sandbox("other", dns=["127.0.0.5"], dns_options=["ndots:1"])
    other.connect(front)
    with upstream(asking.call, "127.0.0.5"):
        assert status(other, "word", "A", "+nocookie") == "NOERROR"
        assert status(asking, "word", "A", "+nocookie") == "NXDOMAIN"
