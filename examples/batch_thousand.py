"""A thousand sandboxes on one network, made together: validated first, few kernel messages, all or nothing.

Takes the number of sandboxes as its argument; one Linux bridge holds 1023.
"""

from __future__ import annotations

import sys
import time

from libnetwork_py import NetworkController

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 1000

with NetworkController.temporary() as controller:
    front = controller.create_network("front", subnets=["10.1.0.0/16"])
    started = time.perf_counter()
    with controller.batch():
        for number in range(COUNT):
            controller.create_sandbox(f"node{number}").connect(front)
    took = time.perf_counter() - started
    print(f"{COUNT} sandboxes in {took:.2f} s, {1000 * took / COUNT:.2f} ms each")

    first, last = controller.sandbox("node0"), controller.sandbox(f"node{COUNT - 1}")
    first.run(["ping", "-c", "1", str(last.endpoints()[0].addresses[0])], check=True)
    started = time.perf_counter()
print(f"gone in {time.perf_counter() - started:.2f} s")
