"""A plug-in server: a socket that only its owner may use, or TCP with TLS, and the state behind it.

May import: serving, controller, composition, store, plugins, config, errors.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attrs import frozen

from ..config import PLUGIN_SOCKETS
from ..controller import NetworkController
from ..errors import Conflict, InvalidParameter, NotSupported, Unavailable
from ..plugins.discovery import TlsFiles
from ..sandbox import Sandbox
from ..store.directory import default_directory, open_directory
from ..store.sqlite import SqliteStore
from .app import Application, Call
from .given import GivenIpam
from .ipam import IpamService
from .network import IPAM, NetworkService

START_SECONDS = 10.0


@frozen
class Listen:
    """Where to listen: ``path`` of a Unix socket, or ``host`` and ``port`` with ``tls``, which TCP needs.

    The directory of a socket is made for its owner alone where it is not there, and the socket is.
    """

    path: str = ""
    host: str = ""
    port: int = 0
    tls: TlsFiles | None = None


class PluginServer:
    """Offers a driver and an IPAM driver as one plug-in; a context manager.

    Its state directory is its own. What is in it survives the server: a later one goes on where it was.

    Args:
        name: The plug-in's name, which its default socket has.
        driver: Name of a network driver; empty: none is offered.
        ipam: Name of an IPAM driver; empty: none.
        listen: Where; by default ``/run/docker/plugins/NAME.sock``.
        state_dir: Directory of its records; by default one of the plug-in's name below the user's own.
        host: The namespace that plays the host, in which Docker is: see `NetworkController`.
        cluster: URL of a cluster's store, which a driver of global scope needs: likewise.
        config: The controller's configuration.

    Raises:
        NotSupported: uvicorn is not installed. InvalidParameter: neither a driver nor an IPAM, or TCP without TLS.
        Conflict: another server listens there. Also what `NetworkController` raises.
    """

    def __init__(
        self,
        name: str = "libnetwork-py",
        *,
        driver: str = "",
        ipam: str = "",
        listen: Listen | None = None,
        state_dir: str | os.PathLike[str] | None = None,
        host: Sandbox | str | os.PathLike[str] | None = None,
        cluster: str | None = None,
        config: Mapping[str, object] | None = None,
    ) -> None:
        if not driver and not ipam:
            raise InvalidParameter(
                "a plug-in offers a driver, an IPAM driver or both: name one", code="nothing_to_serve"
            )
        self.name = name
        self.listen = listen or Listen(path=str(PLUGIN_SOCKETS[0] / f"{name}.sock"))
        directory = Path(state_dir) if state_dir is not None else default_directory() / "plugins" / name
        with ExitStack() as stack:
            self._subsystems: dict[str, Mapping[str, Call]] = {}
            ipams = {**dict(config.get("ipams", {})), IPAM: GivenIpam()} if config else {IPAM: GivenIpam()}  # type: ignore[call-overload]
            settings = {**(config or {}), "ipams": ipams}
            controller = NetworkController(directory / "networks", host=host, cluster=cluster, config=settings)
            stack.callback(controller.close)
            if driver:
                controller.drivers.get(driver)
                self._subsystems["NetworkDriver"] = NetworkService(controller, driver).calls()
            if ipam:
                store = SqliteStore(open_directory(directory / "ipam"))
                stack.callback(store.close)
                self._subsystems["IpamDriver"] = IpamService(controller.ipams.get(ipam), store).calls()
            self._http = _Http(Application(self._subsystems), self.listen)
            self._stack = stack.pop_all()

    @property
    def address(self) -> str:
        """Where it listens, as a URL."""
        listen = self.listen
        return f"unix://{listen.path}" if listen.path else f"https://{listen.host}:{listen.port}"

    def start(self) -> Self:
        """Listen, and serve on a thread of its own.

        Raises:
            Unavailable: it does not come up.
        """
        self._http.start()
        return self

    def wait(self) -> None:
        """Return when the server has stopped; Ctrl-C stops it."""
        try:
            while not self._http.wait(1.0):
                pass
        except KeyboardInterrupt:
            self.stop()

    def stop(self) -> None:
        """Answer what is being asked, listen no more, and give back files. What was made stays."""
        self._http.stop()
        self._stack.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class _Http:
    """uvicorn on a thread, over a socket of ours."""

    def __init__(self, application: Application, listen: Listen) -> None:
        try:
            import uvicorn  # noqa: PLC0415 (an extra)
        except ImportError as error:
            raise NotSupported(
                "serving drivers needs uvicorn: pip install 'libnetwork_py[serve]'", code="no_uvicorn"
            ) from error
        self._listen = listen
        self._context = _tls(listen)
        config = uvicorn.Config(
            application, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=30, ws="none", http="h11",
            loop="asyncio",
        )  # fmt: skip
        if self._context is not None:
            config.load()
            config.ssl = self._context
        self._server = uvicorn.Server(config)
        self._ended: threading.Event | None = None
        self._socket: socket.socket | None = None
        logging.getLogger("uvicorn").setLevel(logging.WARNING)

    def start(self) -> None:
        self._socket = _bound(self._listen)
        self._ended = threading.Event()
        arguments = (self._socket, self._ended)
        threading.Thread(target=self._run, args=arguments, name="plug-in server", daemon=True).start()
        for _ in range(int(START_SECONDS / 0.01)):
            if self._server.started or self._ended.wait(0.01):
                break
        if not self._server.started:
            self.stop()
            raise Unavailable("the plug-in server does not come up", code="plugin_server")

    def _run(self, bound: socket.socket, ended: threading.Event) -> None:
        try:
            self._server.run([bound])
        finally:
            ended.set()

    def wait(self, seconds: float) -> bool:
        """Return whether it has ended, after ``seconds`` at most.

        It is an event that is waited for: a `threading.Thread.join` that Ctrl-C interrupts takes the thread for ended (Python 3.11).
        """
        return self._ended is None or self._ended.wait(seconds)

    def stop(self) -> None:
        self._server.should_exit = True
        if self._ended is not None:
            self._ended.wait()
            self._ended = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            if self._listen.path:
                with suppress(FileNotFoundError):
                    Path(self._listen.path).unlink()


def _bound(listen: Listen) -> socket.socket:
    if not listen.path:
        return socket.create_server((listen.host, listen.port))
    path = Path(listen.path)
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o700, parents=True)
    _clear(path)
    bound = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        bound.bind(listen.path)
    finally:
        os.umask(before)
    bound.listen(128)
    return bound


def _clear(path: Path) -> None:
    """Remove the socket of a server that is gone.

    Raises:
        Conflict: one listens there, or it is no socket.
    """
    if not os.path.lexists(path):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            if path.is_socket():
                path.unlink()
                return
        except OSError:
            pass
    raise Conflict(
        f"{path} is in use: another server listens there, or it is no socket", code="socket_taken", path=str(path)
    )


def _tls(listen: Listen) -> ssl.SSLContext | None:
    if listen.path:
        return None
    if listen.tls is None or not listen.tls.certificate:
        raise InvalidParameter(
            f"a plug-in has the privileges of its server: {listen.host}:{listen.port} needs TLS, a certificate and its key",
            code="tls_missing",
        )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=listen.tls.ca or None)
    try:
        context.load_cert_chain(listen.tls.certificate, listen.tls.key or None)
    except OSError as error:
        raise InvalidParameter(f"{listen.tls.certificate}: {error}", code="tls_files") from error
    if listen.tls.ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


__all__: list[Any] = ["Listen", "PluginServer"]
