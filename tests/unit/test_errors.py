from __future__ import annotations

import copy
import pickle

import pytest

from libnetwork_py import errors
from libnetwork_py.errors import Conflict, Internal, InvalidParameter, LibnetworkError, NotFound

CATEGORIES = [
    kind for name, kind in sorted(vars(errors).items()) if name in errors.__all__ and name != "LibnetworkError"
]


def test_an_error_carries_its_data() -> None:
    """What the message was made of is there as attributes, beside the stable code."""
    error = Conflict("name web is taken", code="name_taken", name="web", holder=7)
    assert (str(error), error.code, error.name, error.holder) == ("name web is taken", "name_taken", "web", 7)
    assert error.data == {"name": "web", "holder": 7}


def test_an_error_has_a_code_always() -> None:
    """Without a code of its own an error has its category's."""
    assert [kind("x").code for kind in CATEGORIES] == [
        "conflict",
        "forbidden",
        "internal",
        "invalid_parameter",
        "not_found",
        "not_supported",
        "unavailable",
    ]


def test_unknown_data_is_a_plain_attribute_error() -> None:
    """Asking for data that is not there says so, and `hasattr` works."""
    with pytest.raises(AttributeError, match="'NotFound' object has no attribute 'name'"):
        _ = NotFound("x").name
    assert not hasattr(NotFound("x"), "name")


def test_the_command_line_tells_categories_apart() -> None:
    """Every category has an exit status of its own, and none that of success or of any other failure."""
    statuses = [kind.exit_status for kind in CATEGORIES]
    assert len(set(statuses)) == len(CATEGORIES)
    assert not {0, LibnetworkError.exit_status} & set(statuses)


def test_a_bad_argument_is_a_value_error_too() -> None:
    """Callers who know nothing of this library catch a bad argument as they always do."""
    with pytest.raises(ValueError, match="bad"):
        raise InvalidParameter("bad")


@pytest.mark.parametrize("kind", CATEGORIES)
def test_an_error_survives_a_pickle(kind: type[LibnetworkError]) -> None:
    """Between processes an error keeps category, message, code and data."""
    error = kind("it broke", code="broken", part="wheel")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 (our own bytes)
        assert (type(twin), str(twin), twin.code, twin.part) == (kind, "it broke", "broken", "wheel")


def test_notes_and_causes_work() -> None:
    """The parts of Python's own exceptions are not taken for missing data."""
    error = Internal("x")
    error.add_note("while joining")
    assert error.__notes__ == ["while joining"]
    assert error.__cause__ is None
