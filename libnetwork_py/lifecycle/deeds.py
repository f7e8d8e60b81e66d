"""What drivers do themselves during an operation: their arrivals, their departures, and the way back.

Division of labour: `drivers.acting` says what is called when; `Deeds` finds out from the records before and after an operation which
calls that means, makes them, and takes them back; the engine says when the time has come. Drivers that only describe are never called.

May import: lifecycle, drivers.acting, network, endpoint, types, errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

from attrs import evolve

from ..drivers.acting import ActingDriver, Joined
from ..endpoint import EndpointRecord
from ..errors import Internal, LibnetworkError, Unavailable
from ..network import NetworkRecord
from ..sandbox import Candidate
from ..types import FAMILIES, Family, PortBinding
from .describe import Describer
from .env import Env
from .interfaces import interface_name
from .interrupts import allowed
from .journal import Touched
from .state import Record, State
from .work import Work

Call: TypeAlias = Callable[[], object]
T = TypeVar("T")


class Deeds:
    """The acting drivers' part of one operation, or of one recovery.

    Args:
        env: Where the drivers are.
        state: The records as they are now.
        describer: Knows which endpoint is a sandbox's way out.
        touched: What the operation changes.
    """

    def __init__(self, env: Env, state: State, describer: Describer, touched: Sequence[Touched]) -> None:
        self._env, self._state, self._describer = env, state, describer
        self._touched = touched
        self._undo: list[tuple[str, Call]] = []
        records = (each for pair in touched for each in pair if isinstance(each, NetworkRecord))
        self._networks = {each.id: each for each in records}
        """Those that the operation deletes are in the state no more."""

    def needed(self, work: Work) -> bool:
        """Whether any driver has to act: that of a record that changes, or of an endpoint whose sandbox may go another way out."""
        inside = (each for sandbox_id in work.scopes("sandbox") for each in self._state.in_sandbox(sandbox_id))
        return any(self._actor(after or before) for before, after in self._touched) or any(map(self._actor, inside))

    # Arrivals

    def arrive(self, work: Work) -> None:
        """Call what comes, networks first; the answers complete the records.

        Raises:
            LibnetworkError: from a driver; `undo` takes back what was done.
        """
        for before, after in self._touched:
            if isinstance(after, NetworkRecord) and before is None:
                self._create_network(after)
        for before, after in self._touched:
            if isinstance(after, EndpointRecord):
                assert before is None or isinstance(before, EndpointRecord)
                self._endpoint(before, after, work)

    def _create_network(self, network: NetworkRecord) -> None:
        driver = self._actor(network)
        if driver:
            self._do(
                network,
                f"delete network {network.name}",
                lambda: driver.create_network(network),
                lambda: driver.delete_network(network),
            )

    def _endpoint(self, before: EndpointRecord | None, after: EndpointRecord, work: Work) -> None:
        driver = self._actor(after)
        if driver is None:
            return
        network = self._network(after)
        if before is None:
            after = self._create_endpoint(driver, network, after, work)
        moves = before is not None and before.sandbox_id != after.sandbox_id
        if (
            before is not None and before.sandbox_id and after.sandbox_id and moves
        ):  # out of one sandbox and into another
            self._leave_first(driver, network, before)
        if after.sandbox_id and (before is None or moves):
            self._join(driver, network, after, work)

    def _create_endpoint(
        self, driver: ActingDriver, network: NetworkRecord, endpoint: EndpointRecord, work: Work
    ) -> EndpointRecord:
        done = self._do(
            network,
            f"delete endpoint {endpoint.name}",
            lambda: driver.create_endpoint(network, endpoint),
            lambda: driver.delete_endpoint(network, endpoint),
        )
        if not isinstance(done, EndpointRecord) or _without_addresses(done) != _without_addresses(endpoint):  # type: ignore[redundant-expr]  # a stranger's
            raise self._broken(
                network, f"returned {done!r} for an endpoint, of which only MAC and IP addresses may be new"
            )
        if done != endpoint:
            work.put(done)
        return done

    def _join(self, driver: ActingDriver, network: NetworkRecord, endpoint: EndpointRecord, work: Work) -> None:
        sandbox = self._state.sandboxes[endpoint.sandbox_id or ""]
        joined = self._do(
            network,
            f"leave {endpoint.name}",
            lambda: driver.join(network, endpoint, sandbox),
            lambda: driver.leave(network, endpoint),
        )
        if not isinstance(joined, Joined):  # a stranger's
            raise self._broken(network, f"returned {joined!r} for a join, not a Joined")
        name = endpoint.ifname
        if joined.prefix is not None and joined.prefix != driver.interface_prefix(network):
            name = interface_name(self._state, self._env.kernel, endpoint, sandbox, joined.prefix)
        work.put(evolve(endpoint, ifname=name, decided=joined.decided))

    def _leave_first(self, driver: ActingDriver, network: NetworkRecord, before: EndpointRecord) -> None:
        sandbox = self._state.sandboxes.get(before.sandbox_id or "")
        if before.external:
            self._do(
                network,
                f"connect {before.name} to the outside",
                lambda: driver.revoke_external(network, before),
                lambda: driver.program_external(network, before, _families(before.external)),
            )
        if sandbox is not None:
            self._do(
                network,
                f"join {before.name}",
                lambda: driver.leave(network, before),
                lambda: driver.join(network, before, sandbox),
            )

    # The way out

    def connect(self, work: Work) -> None:
        """Tell endpoints that they are their sandbox's way out, now that they are there, or no longer, or with other ports."""
        before = {each.id: each for each, _ in self._touched if isinstance(each, EndpointRecord)}
        for sandbox_id in work.scopes("sandbox"):
            winners = self._describer.gateways(sandbox_id)
            for endpoint in self._state.in_sandbox(sandbox_id):
                driver = self._actor(endpoint)
                if driver:
                    role = "".join(str(family) for family in FAMILIES if _wins(endpoint, winners.get(family)))
                    self._program(driver, before.get(endpoint.id, endpoint), endpoint, role, work)

    def _program(
        self, driver: ActingDriver, before: EndpointRecord, endpoint: EndpointRecord, role: str, work: Work
    ) -> None:
        stays = before.sandbox_id == endpoint.sandbox_id
        was = before.external if stays else ""
        if role == was and (_ports(before) == _ports(endpoint) or not role):
            return
        network = self._network(endpoint)
        if was:
            self._do(
                network,
                f"connect {before.name} to the outside",
                lambda: driver.revoke_external(network, before),
                lambda: driver.program_external(network, before, _families(was)),
            )
        if role:
            self._do(
                network,
                f"disconnect {endpoint.name} from the outside",
                lambda: driver.program_external(network, endpoint, _families(role)),
                lambda: driver.revoke_external(network, endpoint),
            )
        work.put(evolve(endpoint, external=role))

    # The way back

    def _do(self, network: NetworkRecord, back: str, call: Callable[[], T], undo: Call) -> T:
        """Make a call, which may be interrupted. One that was refused is done with; how far any other failure came nobody knows."""
        self._undo.append((back, undo))
        try:
            with allowed():
                return call()
        except (Unavailable, Internal):
            raise
        except LibnetworkError:
            self._undo.pop()
            raise
        except Exception as error:
            raise self._broken(network, f"raised {type(error).__name__}: {error}") from error

    def _broken(self, network: NetworkRecord, what: str) -> Internal:
        origin = self._env.drivers.origin(network.driver)
        return Internal(
            f"driver {network.driver!r} of {origin} {what}",
            code="plugin_broken",
            name=network.driver,
            distribution=origin,
        )

    def undo(self, error: BaseException) -> None:
        """Take back every call, last first, and note in ``error`` how that went."""
        problems = [
            problem for what, call in reversed(self._undo) for problem in _try(f"failed to roll back: {what}", call)
        ]
        if self._undo:
            error.add_note("; ".join(problems) or "rolled back")
        self._undo.clear()

    # Departures

    def depart(self, *, thorough: bool = False) -> list[str]:
        """Call what goes, endpoints first, and return what could not be done.

        Args:
            thorough: Revoke ways out that nobody noted, too.
        """
        gone = list(reversed(self._touched))
        calls = [each for pair in gone for each in self._endpoint_goes(*pair, thorough=thorough)]
        calls += [each for pair in gone for each in self._network_goes(*pair)]
        if not calls:
            return []
        with allowed():
            return [problem for what, call in calls for problem in _try(what, call)]

    def _endpoint_goes(
        self, before: Record | None, after: Record | None, *, thorough: bool
    ) -> Iterator[tuple[str, Call]]:
        driver = self._actor(before) if isinstance(before, EndpointRecord) else None
        if driver is None or not isinstance(before, EndpointRecord):
            return
        network = self._network(before)
        if before.sandbox_id and (after is None or not getattr(after, "sandbox_id", None)):
            if before.external or thorough:
                yield f"disconnect {before.name} from the outside", partial(driver.revoke_external, network, before)
            yield f"leave {before.name}", partial(driver.leave, network, before)
        if after is None:
            yield f"delete endpoint {before.name}", partial(driver.delete_endpoint, network, before)

    def _network_goes(self, before: Record | None, after: Record | None) -> Iterator[tuple[str, Call]]:
        driver = self._actor(before) if isinstance(before, NetworkRecord) and after is None else None
        if driver is not None and isinstance(before, NetworkRecord):
            yield f"delete network {before.name}", partial(driver.delete_network, before)

    # Who acts

    def _actor(self, record: Record | None) -> ActingDriver | None:
        """The driver of a network or endpoint, if it acts."""
        if isinstance(record, EndpointRecord):
            if record.host:  # another host's
                return None
            record = self._networks.get(record.network_id) or self._state.networks.get(record.network_id)
        if not isinstance(record, NetworkRecord) or record.config_only:
            return None
        driver = self._env.drivers.recall(record.driver)
        return driver if isinstance(driver, ActingDriver) else None

    def _network(self, endpoint: EndpointRecord) -> NetworkRecord:
        return self._networks.get(endpoint.network_id) or self._state.networks[endpoint.network_id]


def departing(touched: Sequence[Touched]) -> list[Touched]:
    """Return the part of an operation's changes that are departures: what its journal must remember until they are called."""
    return [(before, after) for before, after in touched if _departs(before, after)]


def _departs(before: Record | None, after: Record | None) -> bool:
    if isinstance(before, EndpointRecord) and before.sandbox_id and isinstance(after, EndpointRecord):
        return after.sandbox_id is None
    return isinstance(before, EndpointRecord | NetworkRecord) and after is None


def _ports(endpoint: EndpointRecord) -> tuple[PortBinding, ...]:
    return endpoint.bindings or endpoint.ports


def _without_addresses(endpoint: EndpointRecord) -> EndpointRecord:
    return evolve(endpoint, mac=None, addresses=())


def _try(what: str, call: Call) -> list[str]:
    try:
        call()
    except Exception as error:  # noqa: BLE001 (whatever a stranger's driver raises)
        return [f"{what}: {error}"]
    return []


def _wins(endpoint: EndpointRecord, winner: Candidate | None) -> bool:
    return winner is not None and winner.endpoint_id == endpoint.id


def _families(role: str) -> tuple[Family, ...]:
    return tuple(family for family in FAMILIES if str(family) in role)
