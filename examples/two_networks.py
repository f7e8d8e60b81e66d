"""A sandbox on two networks: which one is the way out, and how leaving one moves it."""

from __future__ import annotations

from libnetwork_py import NetworkController

with NetworkController.temporary() as controller:
    front = controller.create_network("front", subnets=["10.1.0.0/24"])
    back = controller.create_network("back", subnets=["10.2.0.0/24"])
    app = controller.create_sandbox("app")
    app.connect(front)
    app.connect(back, priority=10)
    for interface in app.interfaces():
        print(interface.name, *interface.addresses)
    print("gateway on both networks:", app.gateway())
    app.disconnect(back)
    print("gateway after leaving back:", app.gateway())
