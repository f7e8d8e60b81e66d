"""The numbers that a network's subnets have in the cluster (VNI, RFC 7348), of 24 bits.

May import: lifecycle.cluster, network, errors.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from attrs import evolve

from ..errors import Conflict, InvalidParameter, Unavailable
from ..network import NetworkRecord

if TYPE_CHECKING:
    from .cluster import Cluster

FIRST, LAST = 4096, 2**24 - 1
"""What the library chooses from, as the reference does; a caller may ask for any from 1 on."""


def numbered(network: NetworkRecord, cluster: Cluster | None, *, again: bool) -> NetworkRecord:
    """Return a new network's record with a number for each subnet: those asked for, then the lowest free ones.

    Args:
        network: The record, its ``vnis`` those that were asked for.
        cluster: Knows which are taken.
        again: Another host took the same at the same time: choose at random.

    Raises:
        InvalidParameter: more numbers than subnets, one twice or out of bounds. Conflict: another network has one.
        Unavailable: none is left.
    """
    assert cluster is not None, "a network with numbers is the cluster's"
    taken, asked = cluster.mirror.vnis(), network.vnis
    if len(asked) > len(network.subnets) or len(set(asked)) < len(asked) or any(not 0 < each <= LAST for each in asked):
        raise InvalidParameter(
            f"network numbers {', '.join(map(str, asked))}: give one for each subnet, each once, from 1 to {LAST}",
            code="invalid_vni",
        )
    for number in asked:
        if number in taken:
            raise Conflict(
                f"network number {number} is another network's: choose another", code="vni_taken", vni=number
            )
    chosen = list(asked)
    while len(chosen) < len(network.subnets):
        chosen.append(_free(taken | {*chosen}, again=again))
    return evolve(network, vnis=tuple(chosen))


def _free(taken: set[int], *, again: bool) -> int:
    for _ in range(8 if again else 0):
        guess = random.randint(FIRST, LAST)  # noqa: S311 (no secret)
        if guess not in taken:
            return guess
    for number in range(FIRST, LAST + 1):
        if number not in taken:
            return number
    raise Unavailable("every network number of the cluster is taken: delete networks", code="vnis_exhausted")
