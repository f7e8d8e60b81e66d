"""A host of a cluster as a process of its own: it opens a controller over a namespace and does what it is told, until it is told to end.

Kept apart from the tests: the process starts anew (``python -m tests.root.host_process``), as on a machine of its own. A line in is a
JSON list, the name of a function below and its arguments; a line out is what it returned, or the error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from libnetwork_py import NetworkController

ROOT = Path(__file__).parents[2]


class HostProcess:
    """A process that plays a host's daemon.

    Args:
        path: The namespace that plays the host.
        state: Its state directory.
        url: Of the cluster.
        config: The controller's.
    """

    def __init__(self, path: str, state: Path, url: str, **config: object) -> None:
        self._arguments = [path, str(state), url, json.dumps(config)]
        self.start()

    def start(self) -> None:
        """Start it, again over the same state."""
        argv = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", "tests.root.host_process", *self._arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        self.answer()

    def do(self, name: str, *arguments: object) -> Any:
        """Have a function of `Daemon` called and return what it returns."""
        self.tell(name, *arguments)
        return self.answer()

    def tell(self, name: str, *arguments: object) -> None:
        """Have a function called, without waiting for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([name, *arguments]) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        """Return what the function last called returned."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the host's process ended: {self._process.poll()}"
        kind, value = json.loads(line)
        assert kind == "ok", value
        return value

    def kill(self) -> None:
        """End it without a word: its lease runs out."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def end(self) -> None:
        """Have it remove what it made, and end, whatever has become of it."""
        try:
            self.close()
        except (AssertionError, OSError, ValueError):
            self.kill()
            self.start()
            self.close()

    def close(self) -> None:
        """Have it remove what it made, and end."""
        if self._process.poll() is None:
            self.do("end")
            self._process.wait(timeout=30)
        self.kill()


class Daemon:
    """What the process does when it is told."""

    def __init__(self, controller: NetworkController) -> None:
        self._controller = controller

    def create_network(self, name: str, options: dict[str, Any]) -> str:
        return self._controller.create_network(name, driver="overlay", **options).id

    def delete_network(self, name: str) -> None:
        self._controller.network(name).delete()

    def connect(self, sandbox: str, network: str, options: dict[str, Any]) -> list[str]:
        made = self._controller.create_sandbox(sandbox)
        return [str(each) for each in made.connect(self._controller.network(network), **options).addresses]

    def delete_sandbox(self, name: str) -> None:
        self._controller.sandbox(name).delete()

    def run(self, sandbox: str, argv: list[str]) -> list[Any]:
        done = self._controller.sandbox(sandbox).run(argv, capture_output=True, text=True)
        return [done.returncode, done.stdout + done.stderr]

    def reaches(self, sandbox: str, address: str, seconds: float = 5) -> bool:
        """Return whether an address answers a ping, or does so before the time is over."""
        end = time.monotonic() + seconds
        while self.run(sandbox, ["ping", "-c1", "-W0.2", address])[0]:
            if time.monotonic() > end:
                return False
        return True

    def sandboxes(self) -> list[str]:
        return [each.name for each in self._controller.sandboxes()]

    def addresses(self) -> list[str]:
        """Return the addresses of this host's endpoints that are joined."""
        found = [each for sandbox in self._controller.sandboxes() for each in sandbox.endpoints()]
        return [str(address) for each in found for address in each.addresses]

    def networks(self) -> list[str]:
        return [each.name for each in self._controller.networks()]

    def endpoints(self) -> dict[str, list[str]]:
        """Return the names of the endpoints of each network of the cluster."""
        networks = self._controller.networks(scope="global")
        return {each.name: [endpoint.name for endpoint in each.endpoints()] for each in networks}

    def namespaces(self) -> list[str]:
        """Return the namespaces of networks on this host."""
        mark = self._controller.info().id[:8]
        return sorted(each.name for each in Path("/run/netns").glob(f"ov-*-{mark}"))

    def reconcile(self) -> str:
        return str(self._controller.reconcile(repair=False))

    def end(self) -> None:
        for sandbox in self._controller.sandboxes():
            sandbox.delete()
        for network in self._controller.networks():
            if network.scope == "local" or not [each for each in network.endpoints() if each.sandbox_id]:
                try:
                    network.delete()
                except Exception as error:  # noqa: BLE001 (another host uses it)
                    print(error, file=sys.stderr)
        self._controller.close()


def main(path: str, state: str, url: str, config: str) -> None:
    """Do what comes in."""
    controller = NetworkController(state, host=path, cluster=url, config=json.loads(config))
    daemon = Daemon(controller)
    print(json.dumps(["ok", None]), flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = ["ok", getattr(daemon, name)(*arguments)]
        except Exception as error:  # noqa: BLE001 (told to the test)
            answer = [type(error).__name__, str(error)]
        print(json.dumps(answer), flush=True)
        if name == "end":
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
