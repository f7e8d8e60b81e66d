"""Inside a running event loop, as in a coroutine or a notebook cell: call it as it is, or through a thread."""

from __future__ import annotations

import asyncio

from libnetwork_py import NetworkController


async def main() -> None:
    """Make two sandboxes and let both ping at once."""
    with NetworkController.temporary() as controller:
        front = controller.create_network("front")
        sandboxes = [controller.create_sandbox(name) for name in ("one", "two")]
        addresses = [sandbox.connect(front).addresses[0] for sandbox in sandboxes]
        pings = (
            asyncio.to_thread(sandbox.run, ["ping", "-c", "1", str(address)], check=True, capture_output=True)
            for sandbox, address in zip(sandboxes, reversed(addresses), strict=True)
        )
        print("pinged", len(await asyncio.gather(*pings)), "ways")


asyncio.run(main())
