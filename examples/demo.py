"""What ``make demo`` runs: two sandboxes on a bridge, an outside world, a published port; built, used, listed, gone.

Sandbox ``lab`` stands in for the machine, whose own network stays as it is. A second controller plays the street in there: a wire
with a host and an outside on it. The third controller, on that host, is the one a user would have.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

from libnetwork_py import NetworkController, Sandbox


def serve(listener: socket.socket) -> None:
    with suppress(OSError):  # until somebody shuts the listener down
        while True:
            connection, peer = listener.accept()
            with connection:
                connection.sendall(f"hello {peer[0]}, this is web".encode())


def ask(sandbox: Sandbox, address: object, port: int, how: str) -> None:
    with sandbox.call(socket.create_connection, (str(address), port), 5) as connection:
        print(f"{sandbox.name} -> {f'{address}:{port}':18}{connection.recv(100).decode()!r}, {how}")


def names() -> set[str]:
    return {name for _, name in socket.if_nameindex()} | {str(path) for path in Path("/run/netns").glob("*")}


def main() -> None:
    with (
        NetworkController.temporary() as machine,
        NetworkController.temporary(host=machine.create_sandbox("lab")) as street,
    ):
        wire = street.create_network("wire", subnets=["192.0.2.0/24"])
        host, outside = street.create_sandbox("host"), street.create_sandbox("outside")
        host_address, outside_address = host.connect(wire).addresses[0], outside.connect(wire).addresses[0]
        with NetworkController.temporary(host=host) as controller:
            front = controller.create_network("front")
            web, client = controller.create_sandbox("web"), controller.create_sandbox("client")
            endpoints = {web: web.connect(front, ports=["8080:80"]), client: client.connect(front)}
            listener = web.call(socket.create_server, ("", 80))
            threading.Thread(target=serve, args=(listener,), daemon=True).start()

            print(f"{'SANDBOX':10}{'NETWORK':10}{'INTERFACE':12}{'ADDRESS':16}{'GATEWAY':16}PUBLISHED")
            for sandbox, end in endpoints.items():
                row = (
                    f"{sandbox.name:10}{front.name:10}{end.interface:12}{end.addresses[0]!s:16}{sandbox.gateway()!s:16}"
                )
                print(row, *end.ports, sep="")
            print(f"\nthe host is {host_address}; the outside, {outside_address}, has no route to {front.subnets[0]}\n")
            ask(client, endpoints[web].addresses[0], 80, "directly")
            ask(outside, host_address, 8080, "through the published port")
            client.run(["ping", "-c", "1", "-W", "5", "web"], check=True, capture_output=True)
            print(f"client -> {'web':18}answers a ping by its name")
            client.run(["ping", "-c", "1", "-W", "5", str(outside_address)], check=True, capture_output=True)
            print(f"client -> {outside_address!s:18}answers a ping, through masquerade")
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


if __name__ == "__main__":
    before = names()
    main()
    left = names() - before
    print("\nall gone again" if not left else f"\nstill there: {', '.join(sorted(left))}")
    raise SystemExit(bool(left))
