"""The command line over a controller on the fake kernel."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from libnetwork_py import NetworkController, __version__
from libnetwork_py.cli import main
from libnetwork_py.cli.arguments import Arguments
from libnetwork_py.errors import Conflict, InvalidParameter, NotFound
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel

Run = Callable[..., tuple[int, str, str]]


class KeptOpen:
    """Lends a controller to several commands: leaving its ``with`` does not close it."""

    def __init__(self, controller: NetworkController) -> None:
        self._controller = controller

    def __enter__(self) -> NetworkController:
        return self._controller

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return


@pytest.fixture
def controller() -> Iterator[NetworkController]:
    """A controller in memory."""
    with NetworkController.over(MemoryStore(), FakeKernel()) as made:
        yield made


@pytest.fixture
def run(controller: NetworkController, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line; return its status, standard output and standard error."""

    def opener(_arguments: Arguments) -> Any:
        return KeptOpen(controller)

    def call(*argv: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(argv, opener=opener)
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return call


def test_create_prints_the_id_and_ls_shows_the_network(run: Run, controller: NetworkController) -> None:
    """``network create`` prints the whole id, ``network ls`` twelve digits of it in a table."""
    status, out, _ = run("network", "create", "--subnet", "10.1.0.0/24", "front")
    network = controller.network("front")
    assert (status, out) == (0, f"{network.id}\n")
    status, out, _ = run("network", "ls")
    assert status == 0
    assert out.splitlines()[0].split() == ["NETWORK", "ID", "NAME", "DRIVER", "SCOPE", "SUBNETS"]
    assert out.splitlines()[1].split() == [network.id[:12], "front", "bridge", "local", "10.1.0.0/24"]


def test_every_option_of_create_reaches_the_network(run: Run, controller: NetworkController) -> None:
    """Docker's options of ``network create`` mean here what they mean there."""
    status, _, err = run(
        *(
            "network",
            "create",
            "-d",
            "bridge",
            "--subnet",
            "10.1.0.0/16",
            "--gateway",
            "10.1.0.9",
            "--ip-range",
            "10.1.5.0/24",
        ),
        *("--aux-address", "router=10.1.5.5", "--ipv6", "--subnet", "fd00:1::/64", "--internal", "--attachable"),
        *("-o", "com.docker.network.driver.mtu=1400", "--opt", "com.docker.network.bridge.enable_icc=false"),
        *("--label", "team=a", "--label", "bare", "--ipam-driver", "default", "full"),
    )
    assert (status, err) == (0, "")
    network = controller.network("full")
    assert [str(subnet) for subnet in network.subnets] == ["10.1.0.0/16", "fd00:1::/64"]
    assert str(network.gateways[0]) == "10.1.0.9"
    assert network.internal
    assert network.ipv6
    assert dict(network.labels) == {"team": "a", "bare": ""}
    assert network.options["com.docker.network.driver.mtu"] == "1400"
    assert network.create_endpoint().addresses[0].compressed.startswith("10.1.5.")


@pytest.mark.parametrize(
    ("words", "ipv6"), [(["--ipv6"], True), (["--ipv6=true"], True), (["--ipv6=false"], False), ([], False)]
)
def test_a_switch_takes_true_and_false_as_docker_does(
    run: Run, controller: NetworkController, words: list[str], ipv6: bool
) -> None:
    """``--ipv6``, ``--ipv6=true`` and ``--ipv6=false`` are understood, and the name after a bare switch stays the name."""
    assert run("network", "create", *words, "front")[0] == 0
    assert controller.network("front").ipv6 is ipv6


def test_ls_filters_by_field_and_label(run: Run) -> None:
    """``-f`` keeps what meets every filter; ``-q`` prints ids only."""
    run("network", "create", "--label", "team=a", "--label", "blue", "one")
    run("network", "create", "--label", "team=a", "--internal", "two")
    names = [
        each["name"] for each in json.loads(run("network", "ls", "--json", "-f", "label=team=a", "-f", "label=blue")[1])
    ]
    assert names == ["one"]
    names = [each["name"] for each in json.loads(run("network", "ls", "--json", "-f", "internal=true")[1])]
    assert names == ["two"]
    assert len(run("network", "ls", "-q", "--no-trunc", "-f", "name=two")[1].strip()) == 64


def test_connect_exposes_every_endpoint_option(run: Run, controller: NetworkController) -> None:
    """``network connect`` creates an endpoint with what was asked and joins it."""
    run("network", "create", "--subnet", "10.1.0.0/24", "front")
    run("sandbox", "create", "web")
    status, out, err = run(
        *(
            "network",
            "connect",
            "--ip",
            "10.1.0.7",
            "--mac-address",
            "02:42:0a:00:00:07",
            "--alias",
            "www",
            "--gw-priority",
            "5",
        ),
        *("-p", "8080:80", "-p", "127.0.0.1:5353:53/udp", "--expose", "9000", "--interface", "front0", "front", "web"),
    )
    assert (status, err) == (0, "")
    endpoint = controller.endpoint(out.strip())
    assert [str(address) for address in endpoint.addresses] == ["10.1.0.7"]
    assert endpoint.mac == "02:42:0a:00:00:07"
    assert list(map(str, endpoint.ports)) == ["8080:80/tcp", "127.0.0.1:5353:53/udp"]
    assert (endpoint.interface, endpoint.aliases, endpoint.name) == ("front0", ("www",), "web")
    cells = run("sandbox", "ls")[1].splitlines()[1].split()
    assert cells[1:2] + cells[3:] == ["web", "front", "10.1.0.7", "8080:80/tcp,", "127.0.0.1:5353:53/udp"]


def test_disconnect_deletes_the_endpoint(run: Run, controller: NetworkController) -> None:
    """``network disconnect`` undoes ``network connect``."""
    run("network", "create", "front")
    run("sandbox", "create", "web")
    run("network", "connect", "front", "web")
    assert run("network", "disconnect", "front", "web") == (0, "", "")
    assert controller.network("front").endpoints() == []


def test_rm_goes_on_past_an_error_and_reports_the_first(run: Run, controller: NetworkController) -> None:
    """``network rm`` removes what it can; the exit status is that of the first error."""
    run("network", "create", "one")
    run("network", "create", "two")
    run("sandbox", "create", "web")
    run("network", "connect", "one", "web")
    status, out, err = run("network", "rm", "none", "one", "two")
    assert status == NotFound.exit_status
    assert out.split() == ["two"]
    assert [line.partition(":")[0] for line in err.splitlines()] == ["libnetwork-py"] * 2
    assert run("network", "rm", "one")[0] == Conflict.exit_status
    assert run("network", "rm", "--force", "none")[0] == 0
    assert run("network", "rm", "--disconnect", "one")[0] == 0
    assert controller.networks() == []


def test_inspect_has_dockers_shape(run: Run) -> None:
    """``network inspect`` prints a list of objects with Docker's keys, and errors for names that are none."""
    run("network", "create", "--subnet", "10.1.0.0/24", "front")
    status, out, err = run("network", "inspect", "front", "none")
    (shown,) = json.loads(out)
    assert (shown["Name"], shown["Driver"], shown["IPAM"]["Config"][0]["Subnet"]) == ("front", "bridge", "10.1.0.0/24")
    assert status == NotFound.exit_status
    assert "'none'" in err


def test_prune_asks_first(run: Run, controller: NetworkController, monkeypatch: pytest.MonkeyPatch) -> None:
    """``network prune`` removes unused networks after a yes, or with ``-f``; anything else is a no."""
    run("network", "create", "front")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert run("network", "prune")[0] == 0
    assert len(controller.networks()) == 1
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "network front" in run("network", "prune")[1].splitlines()  # and what dead controllers of this machine left
    run("network", "create", "front")
    assert json.loads(run("network", "prune", "-f", "--json")[1])["networks"] == ["front"]


def test_sandbox_options_reach_the_sandbox(run: Run, controller: NetworkController) -> None:
    """``sandbox create`` hands on what it was given."""
    status, out, err = run(
        *("sandbox", "create", "--hostname", "www", "--dns", "192.0.2.53", "--dns-search", "example.org"),
        *("--add-host", "db:10.9.9.9", "--add-host", "v6=fd00::1", "--label", "a=b", "web"),
    )
    assert (status, err) == (0, "")
    sandbox = controller.sandbox(out.strip())
    assert dict(sandbox.labels) == {"a": "b"}
    assert "10.9.9.9" in sandbox.hosts
    assert "fd00::1" in sandbox.hosts
    assert run("sandbox", "rm", "web") == (0, "web\n", "")


def test_plan_prints_lines_and_makes_nothing(run: Run, controller: NetworkController, tmp_path: Path) -> None:
    """``plan FILE`` runs the script in a dry run: its text is printed, and there are no networks afterwards."""
    script = tmp_path / "topology.py"
    script.write_text(
        'front = controller.create_network("front", subnets=["10.1.0.0/24"])\n'
        'controller.create_sandbox("web").connect(front, ports=["8080:80"])\n'
    )
    status, out, _ = run("plan", str(script))
    assert status == 0
    assert "10.1.0.1/24" in out
    assert "8080" in out
    assert controller.networks() == controller.sandboxes() == []
    assert json.loads(run("plan", "--json", str(script))[1])["plan"][0] in out


def test_plan_of_a_missing_file_is_not_found(run: Run) -> None:
    """A script that cannot be read is `NotFound` and names the file."""
    status, _, err = run("plan", "/nonexistent/topology.py")
    assert status == NotFound.exit_status
    assert "/nonexistent/topology.py" in err


def test_reconcile_says_that_all_is_as_described(run: Run) -> None:
    """``reconcile`` on an untouched kernel finds nothing and ends with 0."""
    run("network", "create", "front")
    status, out, _ = run("reconcile", "--dry-run")
    assert (status, out.partition(":")[0]) == (0, "as described")
    assert json.loads(run("reconcile", "--json")[1])["findings"] == []


def test_info_names_drivers_and_features(run: Run) -> None:
    """``info`` prints the same for people and for programs."""
    told = json.loads(run("info", "--json")[1])
    assert {"bridge", "host", "null"} <= {each["name"] for each in told["drivers"]}
    assert "drivers:" in run("info")[1].splitlines()


def test_events_are_one_a_line(run: Run) -> None:
    """``events`` prints what happened since an event, one line each, and ends after ``-n`` of them."""
    run("network", "create", "front")
    run("sandbox", "create", "web")
    told = [json.loads(line) for line in run("events", "--since", "0", "-n", "2", "--json")[1].splitlines()]
    assert [(each["kind"], each["object"], each["name"]) for each in told] == [
        ("created", "network", "front"),
        ("created", "sandbox", "web"),
    ]
    assert run("events", "--since", "0", "-n", "1")[1].split()[1:3] == ["network", "created"]


@pytest.mark.parametrize(
    ("argv", "category", "code"),
    [
        (["network", "rm", "none"], "NotFound", "no_such_network"),
        (["network", "create", "-d", "brigde", "x"], "NotFound", "unknown_driver"),
        (["network", "create", "--subnet", "10.0.0.0", "x"], "InvalidParameter", "invalid_subnet"),
        (["network", "create", "--label", "=x", "x"], "InvalidParameter", "usage"),
        (["network", "create", "--ipv6=maybe", "x"], "InvalidParameter", "usage"),
        (["network", "ls", "-f", "driver"], "InvalidParameter", "usage"),
        (["network", "ls", "-f", "colour=red"], "InvalidParameter", "unknown_filter"),
        (["sandbox", "exec", "none", "true"], "NotFound", "no_such_sandbox"),
        (["nonsense"], "InvalidParameter", "usage"),
        (["network"], "InvalidParameter", "usage"),
    ],
)
def test_errors_are_typed_for_programs_and_people(run: Run, argv: list[str], category: str, code: str) -> None:
    """An error's exit status is its category's; with ``--json`` it is an object on standard error, else one line."""
    status, out, err = run(*argv)
    assert out == ""
    assert err.startswith("libnetwork-py: ")
    assert err.endswith(f"[{code}]\n")
    json_status, _, json_err = run("--json", *argv)
    told = json.loads(json_err)["error"]
    assert (told["category"], told["code"], json_status) == (category, code, status)
    assert status == {"NotFound": 3, "InvalidParameter": 2}[category]


def test_several_errors_of_one_teardown_are_all_told(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception group of the library's errors is printed error by error; a defect among them is not hidden."""

    def fail(*errors: Exception) -> Callable[[Arguments], Any]:
        def opener(_arguments: Arguments) -> Any:
            raise ExceptionGroup("teardown", errors)

        return opener

    assert main(["info"], opener=fail(NotFound("first"), ExceptionGroup("inner", [Conflict("second")]))) == 3
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["first", "second"]
    with pytest.raises(ExceptionGroup):
        main(["info"], opener=fail(NotFound("first"), TypeError("a defect")))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` says the package's own and opens nothing."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"], opener=lambda _: pytest.fail("a controller was opened"))
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"libnetwork-py {__version__}\n"


def test_help_needs_no_controller(capsys: pytest.CaptureFixture[str]) -> None:
    """``--help`` ends with 0 for every command and opens nothing."""
    for argv in (["--help"], ["network", "create", "--help"], ["sandbox", "exec", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(argv, opener=lambda _: pytest.fail("a controller was opened"))
        assert ended.value.code == 0
        assert "usage: libnetwork-py" in capsys.readouterr().out


def test_routes_are_given_on_the_command_line(run: Run, controller: NetworkController) -> None:
    """``--route`` gives routes to a network and to an endpoint; a bad one is an error of usage."""
    run("network", "create", "--subnet", "10.1.0.0/24", "--route", "10.8.0.0/16", "front")
    run("sandbox", "create", "web")
    given = ("--route", "10.9.0.0/16 via 10.1.0.5 metric 100", "--route", "10.7.0.0/16 via 10.1.0.5")
    status, out, err = run("network", "connect", *given, "front", "web")
    assert (status, err) == (0, "")
    assert [str(each) for each in controller.network("front").routes] == ["10.8.0.0/16"]
    assert [str(each) for each in controller.endpoint(out.strip()).routes] == list(given[1::2])
    assert run("network", "create", "--route", "default via 10.1.0.5", "back")[0] == InvalidParameter.exit_status


def test_a_plugin_server_gets_every_option(run: Run, tmp_path: Path) -> None:
    """`plugin serve` hands the cluster and the host on: a bare name of a host is one of ``ip netns``."""
    places = ("--state-dir", str(tmp_path / "state"), "--socket", str(tmp_path / "s"))
    common = ("plugin", "serve", "--driver", "bridge", *places)
    status, _, said = run(*common, "--cluster", "ftp://nowhere")
    assert (status, "ftp" in said) == (NotFound.exit_status, True)
    status, _, said = run(*common, "--host", "no-such-host")
    assert (status != 0, "/run/netns/no-such-host" in said) == (True, True)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (b"create(", "line 1"),
        (b"x = 1\n  y = 2\n", "line 2"),
        (b"\xff\xfe", "UTF-8"),
        (b"a\0b", "script.py"),
        (b"\n\nnothing.here()\n", "line 3: NameError"),
        (b"def f():\n    1 / 0\nf()\n", "line 2: ZeroDivisionError"),
        (b'controller.create_network("a b")', "invalid network name"),
    ],
)
def test_a_script_that_is_none(
    run: Run, controller: NetworkController, tmp_path: Path, script: bytes, says: str
) -> None:
    """`plan` of a script that is no Python, or that fails, says in which line and why, and nothing is done."""
    path = tmp_path / "script.py"
    path.write_bytes(script)
    status, out, said = run("plan", str(path))
    assert (status, out, controller.networks()) == (InvalidParameter.exit_status, "", [])
    assert says in said
    assert "Traceback" not in said
