"""What an engine works with, chosen by the controller.

May import: the contracts of the rooms below.
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from ..config import ControllerConfig
from ..desired import Table
from ..drivers.api import NetworkDriver
from ..ipam.api import IpamDriver
from ..kernel.api import Kernel
from ..plugins.registry import Registry
from ..ports.reservations import Reservations
from ..store.api import Store
from .names import Summons


@frozen
class Env:
    """One controller's implementations.

    Attributes:
        id: The controller's own id.
        table: Its firewall table.
        files: Where each sandbox has a folder for its files.
        behind: What the folders in ``files`` are links into; ``None``: they are folders.
        resolv_conf: The host's file.
        temporary: Whether all that the controller makes is to go with it.
        summons: Finds and starts the name service's process, if there is to be one.
    """

    id: str
    store: Store
    kernel: Kernel
    drivers: Registry[NetworkDriver]
    ipams: Registry[IpamDriver]
    ports: Reservations
    table: Table
    config: ControllerConfig
    files: Path = Path("/etc/netns")
    behind: Path | None = None
    resolv_conf: Path = Path("/etc/resolv.conf")
    summons: Summons | None = None
    temporary: bool = False
