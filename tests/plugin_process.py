"""``libnetwork-py plugin serve`` in a process of its own, which can be killed; certificates for it."""

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
        tls: Certificate and key: it listens on ``127.0.0.1:7443`` of the host instead, and trusts nobody else's.
    """

    def __init__(self, socket: Path, state: Path, host: str, *, tls: tuple[str, str] | None = None) -> None:
        self._argv = [sys.executable, "-m", "libnetwork_py", "plugin", "serve", "--driver", "bridge", "--ipam", "default",
                      "--name", socket.stem, "--state-dir", str(state), "--host", host]  # fmt: skip
        if tls is None:
            self._argv += ["--socket", str(socket)]
        else:
            certificate, key = tls
            self._argv = ["nsenter", f"--net={host}", *self._argv, "--listen", "127.0.0.1:7443"]
            self._argv += ["--tls-cert", certificate, "--tls-key", key, "--tls-ca", certificate]
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


def certificate(where: Path, name: str) -> tuple[str, str]:
    """Make a certificate for 127.0.0.1 that signs itself, and return the paths of it and of its key."""
    made, key = where / f"{name}.pem", where / f"{name}.key"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(made), "-keyout", str(key)]  # fmt: skip
    subprocess.run(argv, check=True, capture_output=True)
    return str(made), str(key)
