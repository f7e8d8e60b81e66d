"""Adopt the network namespace of a running process, as a container runtime does, and give it back."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from libnetwork_py import NetworkController


def namespace_of(pid: int | str) -> str:
    """Return the identity of a process's network namespace."""
    return str(Path(f"/proc/{pid}/ns/net").readlink())


guest = subprocess.Popen(["unshare", "--net", "sleep", "60"])
try:
    while namespace_of(guest.pid) == namespace_of("self"):
        time.sleep(0.01)
    with NetworkController.temporary() as controller:
        front = controller.create_network("front")
        sandbox = controller.create_sandbox("guest", netns=guest.pid)
        sandbox.connect(front)
        for interface in sandbox.interfaces():
            print(interface.name, *interface.addresses)
    print("the guest still runs:", guest.poll() is None)
finally:
    guest.terminate()
    guest.wait()
