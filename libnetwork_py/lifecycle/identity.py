"""Whose a state directory is: the controller's id and its host, in a document of their own.

May import: store.api, config, errors.
"""

from __future__ import annotations

import json
import re
import secrets
import time

from attrs import asdict, frozen

from ..config import ControllerConfig, Privilege
from ..errors import Conflict
from ..store.api import Store, Write

_KEY = "controller"
_USER = "user:"


@frozen
class Identity:
    """What a state directory says of its controller.

    Attributes:
        id: The controller's id.
        host: Path of the host's namespace, empty for the machine's own. Without root it begins with ``user:``; nothing more means the
            namespace that the helper process made.
        created: Seconds since the epoch.
    """

    id: str
    host: str
    created: float

    @property
    def died_with_it(self) -> bool:
        """Whether everything that a temporary controller made is gone when its process is."""
        return self.host == _USER

    @property
    def privilege(self) -> Privilege:
        """Whose privilege it used."""
        return "user" if self.host.startswith(_USER) else "root"

    @property
    def path(self) -> str:
        """The host's namespace; empty for the machine's own, or the helper process's."""
        return self.host.removeprefix(_USER)


def known_host(path: str, privilege: str) -> str:
    """Return how a state directory knows its host."""
    return path if privilege == "root" else f"{_USER}{path}"


def identify(store: Store, host: str, config: ControllerConfig) -> Identity:
    """Return what the store says of its controller; say it in a new one.

    Raises:
        Conflict: it belongs to another host.
    """
    with store.exclusive(config.lock_timeout):
        found = identity_in(store)
        if found is None:
            found = Identity(secrets.token_hex(32), host, time.time())
            store.commit([Write(_KEY, json.dumps(asdict(found)).encode(), expected=0)])
        elif _lasting(found.host) != _lasting(host):
            raise Conflict(
                f"this state directory belongs to the host {_shown(found.host)}, not {_shown(host)}: use another directory, or that host",
                code="other_host", host=found.host,
            )  # fmt: skip
        return found


def identity_in(store: Store) -> Identity | None:
    """Return what the store says of its controller, if it says anything."""
    for item in store.items(_KEY):
        return Identity(**json.loads(item.document))
    return None


def _lasting(host: str) -> str:
    """What of a host's path stays: a user's namespace has a name in the ``/run`` of a process, which is another one each time."""
    return re.sub(f"^{_USER}/proc/[0-9]+/root", _USER, host)


def _shown(host: str) -> str:
    named = host.removeprefix(_USER)
    return named or ("of a user without root" if host else "of the machine")
