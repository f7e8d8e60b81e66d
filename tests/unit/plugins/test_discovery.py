"""Where plug-ins are found, by which file, and that TLS is spoken where it says so."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest

from libnetwork_py import InvalidParameter, NotFound, Unavailable
from libnetwork_py.plugins.client import Plugin
from libnetwork_py.plugins.discovery import Discovery, TlsFiles
from libnetwork_py.serving.app import Application
from libnetwork_py.serving.server import Listen, _Http
from tests.plugin_process import certificate


@pytest.fixture
def places(tmp_path: Path) -> Discovery:
    """A directory of sockets and two of specifications."""
    for name in ("run", "etc", "lib"):
        (tmp_path / name).mkdir()
    return Discovery([tmp_path / "run"], [tmp_path / "etc", tmp_path / "lib"])


def _socket(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def test_sockets_win(places: Discovery) -> None:
    """A socket goes before a specification, flat before nested, and the first directory before the second."""
    run, (etc, lib) = places.sockets[0], places.specs
    (lib / "x.spec").write_text("tcp://127.0.0.1:1\n")
    assert str(places.find("x")) == "http://127.0.0.1:1"
    (etc / "x").mkdir()
    (etc / "x" / "x.json").write_text(json.dumps({"Name": "x", "Addr": "https://127.0.0.1:2"}))
    assert str(places.find("x")) == "https://127.0.0.1:2"
    (etc / "x.spec").write_text("unix:///run/x.sock")
    assert places.find("x").path == "/run/x.sock"
    _socket(run / "x" / "x.sock")
    assert places.find("x").path == str(run / "x" / "x.sock")
    _socket(run / "x.sock")
    assert places.find("x").path == str(run / "x.sock")
    assert places.names() == ["x"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x"])
def test_names_are_names_of_files(places: Discovery, name: str) -> None:
    """A name that leads elsewhere is refused, and none of a plug-in's."""
    assert not places.has(name)
    with pytest.raises(InvalidParameter, match="invalid plug-in name"):
        places.find(name)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("x.spec", "127.0.0.1:80", "unknown protocol"),
        ("x.spec", "ftp://example.org", "unknown protocol"),
        ("x.spec", "", "unknown protocol"),
        ("x.spec", "tcp://[::1:80", "unknown protocol"),
        ("x.json", "{", "describes no plug-in"),
        ("x.json", "[]", "describes no plug-in"),
        ("x.json", '{"Name": "x"}', "describes no plug-in"),
        ("x.json", '{"Addr": 7}', "describes no plug-in"),
        ("x.json", 20000 * "[", "describes no plug-in"),
        ("x.json", 70000 * " " + '{"Addr": "tcp://127.0.0.1:1"}', "describes no plug-in"),
    ],
)
def test_bad_specifications(places: Discovery, file: str, text: str, says: str) -> None:
    """A file that says nothing useful is an error that names it."""
    (places.specs[0] / file).write_text(text)
    assert places.has("x")
    with pytest.raises(InvalidParameter, match=says) as caught:
        places.find("x")
    assert file in str(caught.value)


def test_none(places: Discovery) -> None:
    """A name that no file has is not found; the message says where was looked."""
    with pytest.raises(NotFound, match="etc"):
        places.find("x")


@pytest.mark.parametrize("name", ["\ud800", 300 * "x", "x\0"])
def test_names_that_no_file_can_have(places: Discovery, name: str) -> None:
    """A name that is none for a file is no plug-in's, and nobody stumbles over it."""
    assert not places.has(name)


def test_directories_that_cannot_be_read() -> None:
    """A directory that cannot be looked into has no plug-ins, for other drivers' sake."""
    beyond = Path("/") / (300 * "x")
    places = Discovery([beyond], [beyond])
    assert (places.names(), places.has("x")) == ([], False)


@pytest.mark.parametrize("missing", ["CAFile", "CertFile", "KeyFile"])
def test_tls_files_that_are_none(places: Discovery, tmp_path: Path, missing: str) -> None:
    """TLS files that are not there are an error at once, which names the specification; nobody waits for them to come."""
    (tmp_path / "empty.pem").write_text("")
    files = {"CertFile": str(tmp_path / "empty.pem"), missing: str(tmp_path / "none.pem")}
    (places.specs[0] / "x.json").write_text(json.dumps({"Addr": "tcp://127.0.0.1:1", "TLSConfig": files}))
    with pytest.raises(InvalidParameter, match=r"x\.json names TLS files") as caught:
        Plugin("x", places, 600).activate()
    assert caught.value.code == "tls_files"


def test_tls(places: Discovery, tmp_path: Path) -> None:
    """A server on TCP is verified by the CA that the file names, wants the client's certificate, and is refused by another CA."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl to make certificates")
    mine, other = (certificate(tmp_path, name) for name in ("mine", "other"))
    tls = TlsFiles(ca=mine[0], certificate=mine[0], key=mine[1])
    port = _free_port()
    http = _Http(Application({"NetworkDriver": {}}), Listen(host="127.0.0.1", port=port, tls=tls))
    http.start()
    try:
        config = {"CAFile": mine[0], "CertFile": mine[0], "KeyFile": mine[1]}
        for name, given in (("x", config), ("bad", config | {"CAFile": other[0]}), ("nobody", {"CAFile": mine[0]})):
            spec = {"Name": name, "Addr": f"tcp://127.0.0.1:{port}", "TLSConfig": given}
            (places.specs[0] / f"{name}.json").write_text(json.dumps(spec))
        assert Plugin("x", places, 5).activate() == {"NetworkDriver"}
        with pytest.raises(Unavailable, match="certificate is not valid"):
            Plugin("bad", places, 5).activate()
        with pytest.raises(Unavailable, match="'nobody'"):
            Plugin("nobody", places, 0.5).activate()
    finally:
        http.stop()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])
