"""Docker's Container Network Model as a Python library.

A `NetworkController` makes `Network`, `Sandbox` and `Endpoint` objects and has drivers say what should exist for them in the
kernel. Start with `NetworkController.temporary`.

Division of labour: `controller` is the front door; `network`, `endpoint` and `sandbox` are what users hold; `lifecycle` has the use
cases; `drivers` decide; `kernel` makes it so. Names are loaded when they are first used: importing this package loads neither a
driver nor pyroute2.

May import: errors, types; the rest lazily.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import ControllerConfig
    from .controller import NetworkController
    from .endpoint import Endpoint
    from .errors import (
        Conflict,
        Forbidden,
        Internal,
        InvalidParameter,
        LibnetworkError,
        NotFound,
        NotSupported,
        Unavailable,
    )
    from .network import Network
    from .routes import StaticRoute
    from .sandbox import Sandbox
    from .types import MacAddress, PortBinding

__version__ = "0.1.0"

_HOMES = {
    "ControllerConfig": "config",
    "NetworkController": "controller",
    "Network": "network",
    "Endpoint": "endpoint",
    "Sandbox": "sandbox",
    "MacAddress": "types",
    "PortBinding": "types",
    "StaticRoute": "routes",
    "LibnetworkError": "errors",
    "NotFound": "errors",
    "Conflict": "errors",
    "Forbidden": "errors",
    "InvalidParameter": "errors",
    "Unavailable": "errors",
    "NotSupported": "errors",
    "Internal": "errors",
}

__all__ = [
    "Conflict",
    "ControllerConfig",
    "Endpoint",
    "Forbidden",
    "Internal",
    "InvalidParameter",
    "LibnetworkError",
    "MacAddress",
    "Network",
    "NetworkController",
    "NotFound",
    "NotSupported",
    "PortBinding",
    "Sandbox",
    "StaticRoute",
    "Unavailable",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
