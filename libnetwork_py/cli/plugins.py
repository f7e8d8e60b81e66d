"""``plugin serve``.

May import: serving, plugins, errors.
"""

from __future__ import annotations

import signal
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from ..errors import InvalidParameter
from .arguments import Arguments
from .output import Output

if TYPE_CHECKING:
    from ..serving import Listen


def serve(arguments: Arguments, output: Output) -> int:
    """Offer a driver, an IPAM driver or both by Docker's plug-in protocol, until SIGTERM or Ctrl-C."""
    from ..serving import PluginServer  # noqa: PLC0415 (`--help` needs no server)

    server = PluginServer(
        arguments.name,
        driver=arguments.driver or "",
        ipam=arguments.ipam or "",
        listen=_listen(arguments),
        state_dir=arguments.state_dir,
        host=arguments.host_path,
        cluster=arguments.cluster,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    with server:
        offered = " and ".join(filter(None, (arguments.driver, arguments.ipam and f"IPAM {arguments.ipam}")))
        found = {"name": server.name, "address": server.address, "driver": arguments.driver, "ipam": arguments.ipam}
        output.result(found, f"plug-in {server.name} offers {offered} at {server.address}")
        server.wait()
    return 0


def _listen(arguments: Arguments) -> Listen | None:
    from ..plugins.discovery import TlsFiles  # noqa: PLC0415 (same)
    from ..serving import Listen  # noqa: PLC0415 (same)

    if arguments.listen is None:
        return Listen(path=arguments.socket) if arguments.socket else None
    host, _, port = str(arguments.listen).rpartition(":")
    if not port.isdigit():
        raise InvalidParameter(
            f"--listen: write HOST:PORT, not {arguments.listen!r}", code="usage", value=arguments.listen
        )
    tls = TlsFiles(arguments.tls_ca or "", arguments.tls_cert or "", arguments.tls_key or "")
    return Listen(host=host.strip("[]"), port=int(port), tls=tls)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
