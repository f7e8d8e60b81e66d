"""Three servers of each engine that trust nobody: encrypted connections, certificates, credentials, and servers that die."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import quote

import pytest
from attrs import frozen

from libnetwork_py.errors import Forbidden, Unavailable
from libnetwork_py.lifecycle.joining import GROUP
from libnetwork_py.plugins.registry import Registry
from libnetwork_py.store.cluster import ClusterBackend, ClusterStore, ClusterUrl
from tests.cluster_lab import Host, documents, hosts, install, until, walk
from tests.engines import servers
from tests.engines.servers import Secrets, Server

TTL = 8.0


@frozen
class Ensemble:
    """The servers of an engine, and who leads them."""

    scheme: str
    members: list[Server]
    secrets: Secrets
    leads: Callable[[Server], bool]
    credentials: str

    def url(
        self, prefix: str, credentials: str | None = None, *, files: str = "ca,cert,key", timeout: float = 20
    ) -> str:
        """The URL of a cluster in it; by default with all that it asks for."""
        given = {"ca": self.secrets.cert, "cert": self.secrets.cert, "key": self.secrets.key}
        query = "".join(f"&{name}={given[name]}" for name in files.split(",") if name)
        who = self.credentials if credentials is None else credentials
        where = ",".join(each.address for each in self.members)
        return f"{self.scheme}+tls://{who}{where}/{prefix}?timeout={timeout}{query}"

    def leader(self) -> Server:
        """The member that leads."""
        return next(each for each in self.members if self.leads(each))


@contextmanager
def etcd(secrets: Secrets) -> Iterator[Ensemble]:
    """One user with every right, and nobody else."""
    with servers.etcd(3, secrets=secrets) as members:
        first = members[0]
        first.ask("/v3/auth/user/add", {"name": "root", "password": secrets.password})
        first.ask("/v3/auth/user/grant", {"user": "root", "role": "root"})
        first.ask("/v3/auth/enable", {})

        def leads(member: Server) -> bool:
            answer = member.ask("/v3/auth/authenticate", {"name": "root", "password": secrets.password})
            member.headers = {"Authorization": answer["token"]}
            said = member.ask("/v3/maintenance/status", {})
            return bool(said["leader"] == said["header"]["member_id"])

        yield Ensemble("etcd", members, secrets, leads, f"root:{quote(secrets.password, safe='')}@")


@contextmanager
def consul(secrets: Secrets) -> Iterator[Ensemble]:
    """One token with every right, and no right without it."""
    with servers.consul(3, secrets=secrets) as members:

        def leads(member: Server) -> bool:
            own = (member.directory / "config.json").read_text()
            return (
                member.get("/v1/status/leader").decode().strip('"').rpartition(":")[2] in own.partition('"server": ')[2]
            )

        yield Ensemble("consul", members, secrets, leads, f":{secrets.token}@")


@contextmanager
def zookeeper(secrets: Secrets) -> Iterator[Ensemble]:
    """Every node is its maker's."""
    with servers.zookeeper(3, secrets=secrets) as members:
        credentials = f"{secrets.user}:{quote(secrets.password, safe='')}@"
        yield Ensemble("zookeeper", members, secrets, lambda each: b"Mode: leader" in each.said(b"srvr"), credentials)


ENGINES = {"etcd": etcd, "consul": consul, "zookeeper": zookeeper}


@pytest.fixture(scope="module", params=ENGINES)
def ensemble(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    """Three servers of each engine in turn."""
    secrets = Secrets.make(tmp_path_factory.mktemp("secrets"))
    with ENGINES[request.param](secrets) as started:
        yield started


@pytest.fixture(autouse=True)
def mesh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the driver."""
    install(monkeypatch)


def opened(url: str) -> ClusterStore:
    """Open the store of a URL."""
    parsed = ClusterUrl.parse(url)
    return Registry(GROUP, "cluster store", ClusterBackend).get(parsed.scheme).open(parsed)  # type: ignore[type-abstract]


def test_a_networks_life(ensemble: Ensemble) -> None:
    """With certificate and credential a cluster lives as on an engine that asks for neither."""
    walk(ensemble.url("life"), 2.0)


@pytest.mark.parametrize("who", ["", "wrong"])
def test_without_the_right_credential(ensemble: Ensemble, who: str) -> None:
    """Without a credential, or with a wrong one, opening a controller is `Forbidden`, which says what to do; nothing goes on asking."""
    with hosts(1, url=ensemble.url(f"owned{who}")) as (host,):
        host.controller.create_network("front", "mesh")
    credentials = {"": "", "wrong": "labs:wrong@" if ensemble.scheme != "consul" else ":wrong@"}[who]
    if (ensemble.scheme, who) == ("etcd", "wrong"):
        credentials = "root:wrong@"
    before = set(threading.enumerate())
    with pytest.raises(Forbidden) as caught, hosts(1, url=ensemble.url(f"owned{who}", credentials)):
        pass
    until(lambda: not set(threading.enumerate()) - before, 20)
    assert caught.value.code == "cluster_refused"
    assert "URL" in str(caught.value)


@pytest.mark.parametrize("files", ["ca", "cert,key"])
def test_without_the_right_certificates(ensemble: Ensemble, files: str) -> None:
    """A server takes no client without a certificate, and a client no server whose authority it was not told: nothing is sent."""
    store = opened(ensemble.url("life", files=files, timeout=1.5))
    with pytest.raises(Unavailable) as caught:
        store.items()
    store.close()
    assert caught.value.code == "cluster_unreachable"


def test_the_leader_is_killed(ensemble: Ensemble) -> None:
    """Two hosts create endpoints through the death of the leader: none twice, none lost, no lease lost; the dead one comes back."""
    with ExitStack() as stack:
        found = [Host(number, ensemble.url("death"), TTL) for number in (1, 2)]
        for host in found:
            stack.callback(host.controller.close)
        found[0].controller.create_network("front", "mesh")
        got: list[str] = []
        problems: list[BaseException] = []
        threads = [threading.Thread(target=_create, args=[host, 15, got, problems]) for host in found]
        for thread in threads:
            thread.start()
        until(lambda: len(got) > 4 or problems, 30)
        leader = ensemble.leader()
        leader.kill()
        for thread in threads:
            thread.join()
        assert problems == []
        assert len(got) == len(set(got)) == 30
        until(lambda: all(len(host.controller.network("front").endpoints()) == 30 for host in found), 30)
        assert len([key for key in documents(found[0]) if key.startswith("address/")]) == 30
        assert [host.cluster._membership.registrations for host in found] == [1, 1]
        leader.start()
        found[1].controller.network("front").create_endpoint("after")
        until(lambda: len(found[0].controller.network("front").endpoints()) == 31, 30)


def _create(host: Host, count: int, got: list[str], problems: list[BaseException]) -> None:
    try:
        network = host.controller.network("front")
        for number in range(count):
            got.extend(map(str, network.create_endpoint(f"e{host.number}-{number}").addresses))
    except BaseException as error:  # noqa: BLE001 (shown by the test)
        problems.append(error)
