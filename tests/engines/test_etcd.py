from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from libnetwork_py.errors import Forbidden, Unavailable
from libnetwork_py.store.cluster import ClusterStore, ClusterUrl
from libnetwork_py.store.etcd import Etcd
from libnetwork_py.testing.cluster_suite import ClusterContract
from tests.cluster_lab import hosts, install, walk
from tests.engines import servers


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Server]:
    """One etcd for all tests here."""
    with servers.etcd() as (server,):
        yield server


class TestEtcd(ClusterContract):
    ttl = 2.0
    latest = 6.0

    @pytest.fixture
    def connect(self, server: servers.Server) -> Callable[[], ClusterStore]:
        """Return a function that returns one more user of the same documents."""
        url = ClusterUrl.parse(f"etcd://{server.address}/{secrets.token_hex(4)}")
        return lambda: Etcd().open(url)


def test_a_networks_life(server: servers.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network is created, used, refused, left by a host that dies and deleted on two hosts of a cluster."""
    install(monkeypatch)
    walk(f"etcd://{server.address}/{secrets.token_hex(4)}", 2.0)


def test_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user and a password in the URL are used; without them, or with wrong ones, opening is `Forbidden` and says what to do."""
    install(monkeypatch)
    with servers.etcd() as (own,):
        own.ask("/v3/auth/user/add", {"name": "root", "password": "s3cret"})
        own.ask("/v3/auth/user/grant", {"user": "root", "role": "root"})
        own.ask("/v3/auth/enable", {})
        for who in ("", "root:wrong@"):
            with pytest.raises(Forbidden) as caught, hosts(1, url=f"etcd://{who}{own.address}"):
                pass
            assert caught.value.code == "cluster_refused"
        walk(f"etcd://root:s3cret@{own.address}", 2.0)


def test_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``+tls`` both sides show certificates: the server's is checked against ``ca``, and etcd takes no host without ``cert``."""
    install(monkeypatch)
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make certificates with")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *subject]
    subprocess.run([*make, "-keyout", key, "-out", cert], check=True, capture_output=True)
    with servers.etcd(
        1, f"--cert-file={cert}", f"--key-file={key}", f"--trusted-ca-file={cert}", "--client-cert-auth"
    ) as (own,):
        walk(f"etcd+tls://{own.address}?ca={cert}&cert={cert}&key={key}", 2.0)
        with pytest.raises(Unavailable):
            Etcd().open(ClusterUrl.parse(f"etcd+tls://{own.address}?ca={cert}&timeout=1")).items()
        with pytest.raises(Unavailable):
            Etcd().open(ClusterUrl.parse(f"etcd+tls://{own.address}?cert={cert}&key={key}&timeout=1")).items()
