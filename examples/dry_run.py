"""See what a program would do to the kernel, as ``ip`` and ``nft`` lines, and do nothing."""

from __future__ import annotations

from libnetwork_py import NetworkController

with NetworkController.temporary() as controller:
    with controller.plan() as plan:
        front = controller.create_network("front", subnets=["10.1.0.0/24"])
        web = controller.create_sandbox("web")
        web.connect(front, ports=["8080:80"])
    print(plan.text)
    print("networks afterwards:", controller.networks())
