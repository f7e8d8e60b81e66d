"""Cutting links and mending them: partitions, and cables pulled out.

May import: targets, endpoint, sandbox, condition, errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from attrs import evolve

from ..condition import Condition, apart_from
from ..endpoint import Endpoint
from ..errors import InvalidParameter
from ..sandbox import Sandbox
from .targets import endpoints

Thing: TypeAlias = Sandbox | Endpoint
"""A sandbox stands for all its endpoints."""


def partition(*groups: Iterable[Thing]) -> None:
    """Let the members of different groups not reach each other, in one step; within a group all is as it was.

    What a member sends to an address of another group is lost where it leaves its link, unseen by anybody. Whom no group has is reached
    by all. Partitions add up until `heal`. What comes by a published port has the host's address, and still arrives.

    Raises:
        InvalidParameter: fewer than two groups, an empty one, or one endpoint in two. NotSupported: the kernel lacks the packet filter's
            ingress hook,
            or a driver gives no veth pair.
    """
    members = [endpoints(group) for group in groups]
    flat = [endpoint for group in members for endpoint in group]
    if len(members) < 2 or not all(members):
        raise InvalidParameter(
            "a partition has at least two groups, each with an endpoint in it", code="invalid_partition"
        )
    if len(set(flat)) < len(flat):
        raise InvalidParameter("a partition's groups have no endpoint in common", code="invalid_partition")
    conditions: dict[Endpoint, Condition] = {}
    for number, group in enumerate(members):
        others = [each for other, many in enumerate(members) if other != number for each in many]
        addresses = tuple(address for each in others for address in each.addresses)
        conditions |= {endpoint: apart_from(endpoint.condition, addresses) for endpoint in group}
    Endpoint.impose(conditions)


def heal(*things: Thing) -> None:
    """Take back every partition that these have part in, and plug in their cables; rate, delay and loss stay. What is whole stays so."""
    _change(things, lambda condition: evolve(condition, apart=(), down=False))


def pull(*things: Thing) -> None:
    """Pull the cables: the interfaces lose their carrier, as processes and routing daemons inside can see."""
    _change(things, lambda condition: evolve(condition, down=True))


def plug(*things: Thing) -> None:
    """Plug the cables in again."""
    _change(things, lambda condition: evolve(condition, down=False))


def _change(things: Iterable[Thing], how: Callable[[Condition], Condition]) -> None:
    Endpoint.impose({endpoint: how(endpoint.condition) for endpoint in endpoints(things)})
