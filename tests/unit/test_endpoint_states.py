from __future__ import annotations

import inspect
from typing import get_args

from libnetwork_py import Network
from libnetwork_py.endpoint import TRANSITIONS, EndpointRecord, State, Verb
from libnetwork_py.network import EndpointOptions

STATES: tuple[State, ...] = get_args(State)
VERBS: tuple[Verb, ...] = get_args(Verb)


def allowed(state: State) -> set[Verb]:
    """The verbs that a state allows."""
    return {verb for (when, verb) in TRANSITIONS if when == state}


def test_an_endpoint_joins_at_most_one_sandbox() -> None:
    """Only an endpoint that is not joined may join."""
    assert [state for state in STATES if "join" in allowed(state)] == ["created"]


def test_only_a_joined_endpoint_leaves() -> None:
    """Leaving undoes joining and nothing else."""
    assert [(state, TRANSITIONS[state, "leave"]) for state in STATES if "leave" in allowed(state)] == [
        ("joined", "created")
    ]


def test_a_joined_endpoint_is_not_deleted() -> None:
    """Deletion goes through `created`."""
    assert [state for state in STATES if "delete" in allowed(state)] == ["created"]


def test_deleted_is_the_end() -> None:
    """A deleted endpoint allows nothing."""
    assert allowed("deleted") == set()


def test_ports_and_names_change_in_every_living_state() -> None:
    """Publishing, unpublishing and updating are allowed while there is an endpoint, and leave its state alone."""
    for state in ("created", "joined"):
        for verb in ("publish", "unpublish", "update"):
            assert TRANSITIONS[state, verb] == state


def test_the_table_is_closed() -> None:
    """Every state can be reached from the first, every verb is allowed somewhere, and no other name stands in the table."""
    reached: set[State] = {"created"}
    for _ in STATES:
        reached |= {after for (before, _), after in TRANSITIONS.items() if before in reached}
    assert reached == set(STATES)
    assert {verb for _, verb in TRANSITIONS} == set(VERBS)
    assert {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(STATES)


def test_a_record_knows_its_state() -> None:
    """The state of a record follows from its sandbox alone."""
    assert EndpointRecord("e", "web", "n").state == "created"
    assert EndpointRecord("e", "web", "n", sandbox_id="s").state == "joined"


def test_what_connect_hands_on() -> None:
    """`Sandbox.connect` is typed with exactly the keywords of `Network.create_endpoint`, and their types."""
    taken = inspect.signature(Network.create_endpoint).parameters
    assert {name: each.annotation for name, each in taken.items() if name != "self"} == {
        name: each.__forward_arg__ for name, each in EndpointOptions.__annotations__.items()
    }
