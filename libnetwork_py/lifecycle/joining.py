"""Opens a cluster for a controller: the back end of a URL, this host's address in the underlay, its membership.

May import: lifecycle, kernel.api, plugins, store.cluster, config, desired, types, errors.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress

from ..config import ControllerConfig
from ..desired import HOST
from ..errors import Internal, InvalidParameter, LibnetworkError, NotSupported
from ..kernel.api import Kernel
from ..plugins.registry import Registry
from ..store.cluster import ClusterBackend, ClusterStore, ClusterUrl
from ..types import IPAddress, parse_address
from .cluster import Cluster
from .endpoints import Endpoints
from .engine import Engine
from .membership import Membership
from .networks import Networks

GROUP = "libnetwork_py.stores"


def join(url: ClusterUrl, engine: Engine, endpoints: Endpoints, networks: Networks, host: str) -> Cluster:
    """Return the cluster of a URL, joined; if its store does not answer, it is joined when it does.

    Args:
        url: Where the store is.
        engine: The controller's.
        endpoints: Its use cases of endpoints.
        networks: Its use cases of networks.
        host: Path of the namespace that plays the host, from which the store is reached; empty for the caller's own, from which it is
            reached without root too.

    Raises:
        NotFound: there is no such back end. NotSupported: its client is not installed. InvalidParameter: the URL's files are none.
    """
    env = engine.env

    def inside() -> AbstractContextManager[None]:
        # without root nobody can be inside: the store is reached from where the caller is
        return env.kernel.entered(HOST) if host and env.kernel.privilege == "root" else nullcontext()

    with inside():
        store = _opened(url, env.config)
    with ExitStack() as undo:  # a store that refuses this host would go on asking for ever
        undo.callback(_close, store, inside)
        vtep = env.config.advertise or _source(url, env.kernel) or engine.describer.vtep
        membership = Membership(store, env.id, os.uname().nodename, vtep, env.config.lease_ttl, inside=inside)
        cluster = engine.cluster = Cluster(engine, endpoints, networks, membership, env.config.lease_ttl)
        undo.callback(cluster.close)
        cluster.start(url.timeout)
        undo.pop_all()
    return cluster


def _close(store: ClusterStore, inside: Callable[[], AbstractContextManager[None]]) -> None:
    with inside():
        store.close()


def _opened(url: ClusterUrl, config: ControllerConfig) -> ClusterStore:
    _check_files(url)
    backends = Registry(GROUP, "cluster store", ClusterBackend, config.blocked_plugins)  # type: ignore[type-abstract]
    try:
        backend = backends.get(url.scheme)
    except Internal as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise NotSupported(
                f"{url.scheme} needs {error.__cause__.name}, which is not installed: pip install 'libnetwork_py[{url.scheme}]'",
                code="missing_extra", name=url.scheme,
            ) from error  # fmt: skip
        raise
    return backend.open(url)


def _check_files(url: ClusterUrl) -> None:
    """Check that the files of a URL are what they should be, before an engine's client stumbles over them.

    Raises:
        InvalidParameter: ``invalid_cluster``: one is missing, is no certificate or key, or the two do not fit.
    """
    for name, path in (("ca", url.ca), ("cert", url.cert)):
        if not path:
            continue
        try:
            context = ssl.create_default_context(cafile=url.ca or None)
            if name == "cert":
                context.load_cert_chain(url.cert, url.key or None)
        except OSError as error:  # ssl.SSLError is one
            raise InvalidParameter(
                f"the cluster's {name}={path} cannot be used: {error.strerror or error}; give a PEM file, a certificate with its key",
                code="invalid_cluster", path=path,
            ) from error  # fmt: skip


def _source(url: ClusterUrl, kernel: Kernel) -> IPAddress | None:
    """Return the address from which the host reaches the store; ``None`` where that is no address of a network."""
    for name, port in url.endpoints:
        with suppress(OSError, LibnetworkError):
            family, _, _, _, target = socket.getaddrinfo(name, port or 1, type=socket.SOCK_DGRAM)[0]
            with kernel.socket(HOST, family, socket.SOCK_DGRAM) as probe:
                probe.connect(target)  # sends nothing: the kernel looks the route up
                found = parse_address(str(probe.getsockname()[0]).partition("%")[0])
                return None if found.is_loopback else found
    return None
