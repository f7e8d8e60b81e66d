from __future__ import annotations

import pytest

from libnetwork_py.errors import InvalidParameter
from libnetwork_py.store.cluster import ClusterUrl


def test_several_endpoints() -> None:
    """A URL names several endpoints, IPv6 ones in brackets, and a port only where it is not the engine's own."""
    url = ClusterUrl.parse("etcd://10.0.0.1:2379,host.example,[fd00::1]:99")
    assert url.scheme == "etcd"
    assert url.at(2379) == (("10.0.0.1", 2379), ("host.example", 2379), ("fd00::1", 99))
    assert (url.prefix, url.tls, url.username, url.timeout) == ("libnetwork_py", False, "", 5.0)
    assert url.where == "etcd://10.0.0.1:2379,host.example,[fd00::1]:99"


def test_security_and_options() -> None:
    """Credentials are percent-decoded, ``+tls`` encrypts, the path is the prefix of all keys, and options are paths and seconds."""
    url = ClusterUrl.parse("consul+tls://me:s%40crét@h:8501/labs/one?ca=/etc/ca.pem&cert=c.pem&key=k.pem&timeout=1.5")
    assert (url.username, url.password, url.tls, url.prefix) == ("me", "s@crét", True, "labs/one")
    assert (url.ca, url.cert, url.key, url.timeout) == ("/etc/ca.pem", "c.pem", "k.pem", 1.5)


def test_credentials_are_not_shown() -> None:
    """Neither what is shown of a URL nor the error of a bad one has the password in it."""
    url = ClusterUrl.parse("etcd://me:secret@h")
    assert "secret" not in repr(url) + url.where
    with pytest.raises(InvalidParameter) as caught:
        ClusterUrl.parse("etcd://me:secret@h:port")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "", "etcd", "etcd://", "//h:1", "etcd:///x", "etcd://h:99999", "etcd://h:port", "etcd://a,,b", "etcd://[::1", "etcd+ssl://h",
        "etcd://h?colour=red", "etcd://h?timeout=0", "etcd://h?timeout=soon", "etcd://h#part", 5,
    ],
)  # fmt: skip
def test_bad_urls(text: str) -> None:
    """A URL that is none says how one is written."""
    with pytest.raises(InvalidParameter, match="write etcd://") as caught:
        ClusterUrl.parse(text)
    assert caught.value.code == "invalid_cluster"
