"""Option texts into values: one reader for every driver.

May import: drivers.api, labels, types, errors.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from ..errors import InvalidParameter
from ..types import IPAddress, check_interface_name, parse_address
from .api import Option

TRUE, FALSE = {"1", "t", "true"}, {"0", "f", "false"}
"""Go's ``strconv.ParseBool``, which the reference reads booleans with, folded to lower case."""


class Options:
    """The options of one network or endpoint, read by key; a missing one has its default.

    Raises:
        InvalidParameter: from the constructor: an unknown key (a near miss is suggested) or a value of the wrong type.
    """

    def __init__(self, driver: str, known: Sequence[Option], given: Mapping[str, str], where: str = "network") -> None:
        self._known = {option.key: option for option in known if option.where == where}
        self._given = given
        for key, value in given.items():
            if key not in self._known:
                raise _unknown(driver, key, value, self._known)
            self._check(self._known[key], value)

    def text(self, key: str) -> str:
        """Return the text of an option."""
        return self._given.get(key, self._known[key].default)

    def boolean(self, key: str) -> bool:
        """Return whether an option is on."""
        return self.text(key).lower() in TRUE

    def integer(self, key: str) -> int:
        """Return the number of an option, 0 where it is empty."""
        return int(self.text(key) or 0)

    def address(self, key: str) -> IPAddress | None:
        """Return the address of an option, ``None`` where it is empty."""
        text = self.text(key)
        return parse_address(text, key) if text else None

    def _check(self, option: Option, value: str) -> None:
        why = _fault(option, value)
        if why:
            raise InvalidParameter(
                f"failed to parse {option.key} value: {value!r} ({why})",
                code="invalid_option",
                option=option.key,
                value=value,
            )


def _fault(option: Option, value: str) -> str:
    if value == option.default:
        return ""
    if option.choices and value not in option.choices:
        return f"use {', '.join(map(repr, option.choices))}"
    if option.type == "boolean" and value.lower() not in TRUE | FALSE:
        return "use true or false"
    if option.type == "integer" and not (value.isascii() and value.isdigit()):
        return "use a number that is not negative"
    try:
        if option.type == "address":
            parse_address(value)
        elif option.type == "interface":
            check_interface_name(value)
    except InvalidParameter as error:
        return str(error)
    return ""


def _unknown(driver: str, key: str, value: str, known: Iterable[str]) -> InvalidParameter:
    names = {name.rpartition(".")[2]: name for name in known} | {name: name for name in known}
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.6)
    hint = f"did you mean {names[near[0]]!r}?" if near else f"it knows: {', '.join(sorted(known)) or 'none'}"
    return InvalidParameter(
        f"driver {driver!r} has no option {key!r}: {hint}",
        code="unknown_option",
        option=key,
        value=value,
        suggestion=names[near[0]] if near else None,
    )
