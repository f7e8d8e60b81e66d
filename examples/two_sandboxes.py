"""Two sandboxes on one network reach each other: the shortest useful program."""

from __future__ import annotations

from libnetwork_py import NetworkController

with NetworkController.temporary() as controller:
    front = controller.create_network("front")
    web = controller.create_sandbox("web")
    client = controller.create_sandbox("client")
    endpoint = web.connect(front)
    client.connect(front)
    client.run(["ping", "-c", "1", str(endpoint.addresses[0])], check=True)
