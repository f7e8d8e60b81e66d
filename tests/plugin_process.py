"""``libnetwork-py plugin serve`` in a process of its own, which can be killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


class Server:
    """Offers the bridge driver and the default IPAM.

    Args:
        socket: Where it listens.
        state: Its state directory.
        host: The namespace that plays the host.
    """

    def __init__(self, socket: Path, state: Path, host: str) -> None:
        self._argv = [sys.executable, "-m", "libnetwork_py", "plugin", "serve", "--driver", "bridge", "--ipam", "default",
                      "--name", socket.stem, "--socket", str(socket), "--state-dir", str(state), "--host", host]  # fmt: skip
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and return when it listens."""
        self._process = subprocess.Popen(self._argv, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert "offers bridge and IPAM default" in self._process.stdout.readline()

    def stop(self, *, hard: bool = False) -> None:
        """End it: SIGTERM, or at once."""
        if self._process is not None:
            (self._process.kill if hard else self._process.terminate)()
            status = self._process.wait(30)
            assert hard or status == 0
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None
