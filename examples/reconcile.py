"""Somebody changed the kernel behind our back: find out what differs, and mend it."""

from __future__ import annotations

from libnetwork_py import NetworkController

with NetworkController.temporary() as controller:
    front = controller.create_network("front")
    web = controller.create_sandbox("web")
    web.connect(front)
    print("gateway:", web.gateway(), "routes:", len(web.routes()))

    web.run(["ip", "route", "delete", "default"], check=True)
    print("somebody deleted the default route; routes:", len(web.routes()))

    print(controller.reconcile(repair=False))
    controller.reconcile()
    print("repaired; routes:", len(web.routes()))
