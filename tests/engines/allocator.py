"""One host's process of the histories: it allocates and releases addresses, and says when, until it is told to stop or dies.

``python -m tests.engines.allocator URL NUMBER SECONDS`` prints a JSON line for each step: ``[monotonic time, "got" | "gave", address]``.
A name is got when its creation has returned, and given before its deletion is asked for: so between the two nobody else may have it.
"""

from __future__ import annotations

import json
import random
import sys
import time

import pytest

from libnetwork_py import NetworkController
from libnetwork_py.endpoint import Endpoint
from libnetwork_py.errors import Unavailable
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
from tests.cluster_lab import install

TTL = 2.0


def say(what: str, address: object) -> None:
    """Print a step."""
    print(json.dumps([time.monotonic(), what, str(address)]), flush=True)


def main(url: str, number: int, seconds: float) -> None:
    """Allocate and release."""
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        config = {"advertise": f"192.0.2.{number}", "lease_ttl": TTL}
        controller = NetworkController.over(MemoryStore(), FakeKernel(), cluster=url, config=config)
        network = controller.network("front")
        held: list[Endpoint] = []
        end, count = time.monotonic() + seconds, 0
        say("ready", "")
        while time.monotonic() < end:
            if held and random.random() < 0.5:
                endpoint = held.pop(random.randrange(len(held)))
                say("gave", endpoint.addresses[0])
                endpoint.delete()
                continue
            try:
                endpoint = network.create_endpoint(f"p{number}-{count}")
            except Unavailable:  # all are taken at the moment
                continue
            count += 1
            say("got", endpoint.addresses[0])
            held.append(endpoint)
        for endpoint in held:
            say("gave", endpoint.addresses[0])
            endpoint.delete()
        controller.close()
        say("done", count)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
