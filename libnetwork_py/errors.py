"""What can go wrong, by whose fault it is.

Division of labour: a *category* (a class) says who is to blame and so what the caller should do about it; a *code* (a string)
names the exact case and never changes between releases; *data* (attributes) carries the values a program needs. The message is
for people: it says what was wrong and what to do.

May import: nothing of this package.
"""

from __future__ import annotations

from typing import Any, ClassVar


class LibnetworkError(Exception):
    """Base of every error that this library raises on purpose.

    Attributes:
        code: Stable name of the case, for programs (``"name_taken"``).
        data: The values the message was made of; each is an attribute of the error too.
    """

    default_code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1
    """Exit status of the command line when it ends with this category."""

    def __init__(self, message: str, *, code: str | None = None, **data: object) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.data = data

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["data"][name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), str(self), self.code, self.data)


def _rebuild(kind: type[LibnetworkError], message: str, code: str, data: dict[str, object]) -> LibnetworkError:
    return kind(message, code=code, **data)


class NotFound(LibnetworkError):
    """Raised when a named object, driver or namespace does not exist."""

    default_code = "not_found"
    exit_status = 3


class Conflict(LibnetworkError):
    """Raised when the request collides with something that exists: a name, an address, a port, a state."""

    default_code = "conflict"
    exit_status = 4


class Forbidden(LibnetworkError):
    """Raised when the request is never allowed here, or the caller lacks the privilege for it."""

    default_code = "forbidden"
    exit_status = 5


class InvalidParameter(LibnetworkError, ValueError):
    """Raised when an argument is malformed, out of range, unknown or contradicts another."""

    default_code = "invalid_parameter"
    exit_status = 2


class Unavailable(LibnetworkError):
    """Raised when something needed is exhausted, locked, unreachable or was damaged; a retry may help."""

    default_code = "unavailable"
    exit_status = 6


class NotSupported(LibnetworkError):
    """Raised when this kernel, driver or version cannot do what was asked; names the missing feature."""

    default_code = "not_supported"
    exit_status = 7


class Internal(LibnetworkError):
    """Raised when the library or a driver broke its own rules; please report it."""

    default_code = "internal"
    exit_status = 8


__all__ = [
    "Conflict",
    "Forbidden",
    "Internal",
    "InvalidParameter",
    "LibnetworkError",
    "NotFound",
    "NotSupported",
    "Unavailable",
]
