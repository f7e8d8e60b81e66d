"""Publish a port of a sandbox on the host, on a free host port, and take it back while it runs."""

from __future__ import annotations

import socket

from libnetwork_py import NetworkController

with NetworkController.temporary() as controller:
    front = controller.create_network("front")
    web = controller.create_sandbox("web")
    endpoint = web.connect(front, ports=["80"])
    binding = endpoint.ports[0]
    print("published:", binding)

    host = controller.create_sandbox("host", netns="host")
    with (
        web.call(socket.create_server, ("", 80)) as listener,
        host.call(socket.create_connection, (str(front.gateways[0]), binding.host_port), 5) as caller,
    ):
        connection, peer = listener.accept()
        with connection:
            print("the host reached web from", peer[0])
            connection.sendall(b"hello")
            print("and was told:", caller.recv(100).decode())

    endpoint.unpublish(binding)
    print("published now:", *endpoint.ports or ["nothing"])
