"""Operations at random, many in one batch and on few names, so that they meet: what each is does not matter, what is left does.

Run as a program, this module is a process that goes on like that on a state directory until it is killed.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from libnetwork_py import LibnetworkError, NetworkController, labels

T = TypeVar("T")

NETWORKS = ("red", "green", "blue")
BOXES = ("a", "b", "c", "d")
SUBNETS = ((), (), "10.40.0.0/28", ("10.41.0.0/24", "fd00:41::/64"))
PORTS = ("8080:80", "8081:80/udp", "[::]:8080:80", "0.0.0.0:8080:80", "127.0.0.1:8080:81", "8080-8082:80-82", "80")
OPTIONS: tuple[dict[str, Any], ...] = (
    {labels.DRIVER_MTU: 1400},
    {labels.DRIVER_MTU: 0},
    {labels.BRIDGE_ENABLE_ICC: False},
    {labels.BRIDGE_ENABLE_ICC: True},
    {labels.BRIDGE_ENABLE_IP_MASQUERADE: False},
)


class Wild:
    """Does something at random.

    Args:
        controller: To whom.
        tag: Sandboxes' names begin with it.
        seed: Of the numbers by which it chooses.
    """

    def __init__(self, controller: NetworkController, tag: str, seed: int) -> None:
        self.controller, self._tag = controller, tag
        self.random = random.Random(seed)
        self._operations: Sequence[Callable[[], object]] = (
            *[self._create_network, self._create_sandbox, self._connect, self._connect, self._publish] * 2,
            lambda: self._network().delete(force=self._often()),
            lambda: self._sandbox().delete(),
            lambda: self._sandbox().rename(self._name()),
            lambda: self._sandbox().disconnect(self._network()),
            lambda: self._sandbox().add_host("other", "192.0.2.1"),
            lambda: self._endpoint().join(self._sandbox(), priority=self._one_of((0, 1))),
            lambda: self._endpoint().leave(),
            lambda: self._endpoint().leave(),
            lambda: self._endpoint().delete(force=self._often()),
            self._unpublish,
            lambda: self._endpoint().shape(**self._one_of(({"rate": "10mbit"}, {}))),
            lambda: self._endpoint().update(
                aliases=[self._one_of(BOXES)],
                routes=self._one_of(([], ["10.98.0.0/16"])),
                sysctls={"net.ipv4.conf.IFNAME.log_martians": self._one_of((0, 1))},
            ),
            lambda: self._network().update(options=self._one_of(OPTIONS), routes=self._one_of(([], ["10.99.0.0/16"]))),
            lambda: self._network().create_endpoint(ports=[self._one_of(PORTS)]),
        )

    def go_on(self) -> None:
        """Do one thing, or several in a batch or a plan; what is refused is refused."""
        chance = self.random.random()
        with suppress(LibnetworkError):
            if chance < 0.3:
                self._one_of(self._operations)()
            else:
                with self.controller.batch() if chance < 0.9 else self.controller.plan():
                    self.steps()

    def steps(self) -> None:
        """Do several things, each of which may be refused by itself."""
        for _ in range(self.random.randrange(1, 9)):
            with suppress(LibnetworkError):
                self._one_of(self._operations)()

    def _create_network(self) -> object:
        ipv6, internal = self._often(), not self._often()
        name, subnets = self._one_of(NETWORKS), self._one_of(SUBNETS)
        options = {} if self._often() else {labels.BRIDGE_NAME: "bridge0"}
        return self.controller.create_network(name, subnets=subnets, ipv6=ipv6, internal=internal, options=options)

    def _create_sandbox(self) -> object:
        return self.controller.create_sandbox(self._name())

    def _connect(self) -> object:
        ports = [self._one_of(PORTS) for _ in range(self.random.randrange(3))]
        return self._sandbox().connect(self._network(), ports=ports, priority=self._one_of((0, 1)))

    def _publish(self) -> object:
        return self._endpoint().publish(self._one_of(PORTS))

    def _unpublish(self) -> None:
        endpoint = self._endpoint()
        endpoint.unpublish(self._one_of(endpoint.ports or (self._one_of(PORTS),)))

    def _often(self) -> bool:
        return self.random.random() < 0.7

    def _one_of(self, some: Sequence[T]) -> T:
        return self.random.choice(some)

    def _name(self) -> str:
        return f"{self._tag}-{self._one_of(BOXES)}"

    def _network(self) -> Any:
        return self.controller.network(self._one_of(NETWORKS))

    def _sandbox(self) -> Any:
        return self.controller.sandbox(self._name())

    def _endpoint(self) -> Any:
        return self._one_of(self._network().endpoints() or (self._network().create_endpoint(),))


def main(path: str, host: str, tag: str, seed: str) -> None:
    """Go on until somebody kills this process; now and then as another controller."""
    number = int(seed)
    while True:
        with NetworkController(path, host=host) as controller:
            wild = Wild(controller, tag, number)
            for _ in range(50):
                wild.go_on()
        number += 1000


if __name__ == "__main__":
    main(*sys.argv[1:])
