"""What the kernel layer's tests share: a kernel over a host of its own, and the words of a sandbox on a bridge."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from libnetwork_py.desired import HOST, Address, Bridge, Change, Description, Namespace, Route, Sysctl, Veth, Word
from libnetwork_py.kernel.linux import LinuxKernel
from libnetwork_py.kernel.opener import Opener, RootOpener
from libnetwork_py.kernel.user import UserOpener
from libnetwork_py.types import MacAddress
from tests.root import machine, world

BRIDGE = Bridge(HOST, "br0", MacAddress("02:42:0a:09:ff:01"), mtu=1400, group=77)
GATEWAY = Address(HOST, "br0", IPv4Interface("10.9.0.1/16"))
NETWORK: Description = (BRIDGE, GATEWAY)

_numbers = itertools.count(1)


def path(name: str = "sandbox") -> str:
    """A path for a namespace that nobody else has."""
    return f"{world.NAMES}/t{os.getpid()}k{next(_numbers)}-{name}"


def sandbox(number: int, where: str, *, isolated: bool = False, hairpin: bool = False) -> Description:
    """A namespace on `BRIDGE`, without IPv6, with an address and a default route."""
    mac = MacAddress(b"\x02\x42\x0a\x09" + (number + 1).to_bytes(2, "big"))
    address = IPv4Address("10.9.1.0") + number
    return (
        Namespace(where),
        Sysctl(where, "ipv6.conf.all.disable_ipv6", "1"),
        Sysctl(where, "ipv6.conf.default.disable_ipv6", "1"),
        Veth(HOST, f"veth{number}", where, "eth0", mac, "br0", 1400, 77, hairpin=hairpin, isolated=isolated),
        Address(where, "eth0", IPv4Interface((address, 16))),
        Route(where, IPv4Network("0.0.0.0/0"), "eth0", GATEWAY.address.ip),
    )


def making(*words: Word) -> Change:
    """A change that makes words."""
    return Change(make=words, why="test")


def removing(*words: Word) -> Change:
    """A change that removes words."""
    return Change(remove=words, why="test")


@contextmanager
def kernel(host: str) -> Iterator[LinuxKernel]:
    """A kernel over a namespace that plays the host."""
    opened = LinuxKernel(host)
    try:
        with world.seen_through(opened.reach):
            yield opened
    finally:
        opened.close()


@contextmanager
def opener(host: str = "") -> Iterator[Opener]:
    """An opener with whatever privilege the caller has, over a host; by default the machine that the tests have."""
    some = RootOpener(host or None) if world.ROOT else UserOpener(host or f"/proc/{world.PID}/ns/net")
    try:
        yield some
    finally:
        some.close()


@contextmanager
def names(*paths: str) -> Iterator[None]:
    """Take namespaces away afterwards, whatever happened to them."""
    try:
        yield
    finally:
        for each in paths:
            machine.drop_namespace(each)
