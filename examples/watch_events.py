"""Watch what happens, from another thread."""

from __future__ import annotations

import threading

from libnetwork_py import NetworkController

with NetworkController.temporary() as controller:
    events = controller.events()

    def watch() -> None:
        """Print events until somebody closes them."""
        for event in events:
            print(event.object, event.name, event.kind, flush=True)
            if event.kind == "deleted" and event.object == "network":
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    front = controller.create_network("front")
    web = controller.create_sandbox("web")
    web.connect(front)
    web.delete()
    front.delete()
    watcher.join(timeout=10)
    events.close()
    watcher.join()
