"""Drivers offered to Docker, or to anything that speaks its plug-in protocol.

    with PluginServer("libnetwork-py", driver="bridge", ipam="default") as server:
        server.wait()

Division of labour: `network` answers the calls of a network driver with a controller's networks and endpoints, `ipam` those of an IPAM
driver; `given` is the IPAM of networks whose addresses Docker chose; `app` is between bytes and calls; `server` owns sockets, threads and
state. HTTP is uvicorn's (the extra ``serve``).

May import: everything but cli and testing.
"""

from .server import Listen, PluginServer

__all__ = ["Listen", "PluginServer"]
