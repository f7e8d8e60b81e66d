"""What a controller is in a notebook: a drawing, a graph, names that complete.

Division of labour: `InNotebook` is a part of `NetworkController`; `lifecycle.survey` looks, `show` draws and is loaded when something is
shown. `bundle` is what `display` draws every object with.

May import: show, lifecycle, scene, desired, render, display, handle, network, sandbox, errors.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from attrs import evolve

from .desired import Change
from .display import Bundle, Displayed, drawn_by
from .errors import InvalidParameter, NotFound
from .handle import Handle
from .lifecycle.engine import Engine
from .lifecycle.networks import Networks
from .lifecycle.reconcile import describe_all
from .lifecycle.sandboxes import Sandboxes
from .lifecycle.survey import survey
from .network import Network
from .render import render
from .sandbox import Sandbox
from .scene import Scene

if TYPE_CHECKING:
    from networkx import Graph

    from .show import Drawing


class InNotebook(Displayed):
    """The part of a controller that shows it."""

    _engine: Engine
    _networks: Networks
    _sandboxes: Sandboxes

    def _scene(self) -> Scene:
        return survey(self._engine, repr(self).strip("<>"))

    def _described(self) -> str:
        """What should exist, as the lines that make it."""
        with self._engine.reading() as state:
            return render(Change(make=describe_all(self._engine, state)))

    def draw(self) -> Drawing:
        """Return a picture of the topology: who hangs on what, addresses, ports, counters. A notebook shows it; ``save`` keeps it.

        It never waits: while another thread keeps the controller busy, the picture is what was last known, and says so.
        """
        from .show import Drawing  # noqa: PLC0415 (loaded when something is drawn)

        return Drawing(self._scene())

    def to_networkx(self) -> Graph[str]:
        """Return the topology as a networkx ``MultiGraph``: networks and sandboxes are nodes, by id; joined endpoints are edges.

        Raises:
            NotSupported: networkx is not installed (the extra ``graph``).
        """
        from .show.graph import graph  # noqa: PLC0415 (loaded when something is drawn)

        return graph(self._scene())

    def __getitem__(self, name: str) -> Network | Sandbox:
        """Return the network or sandbox of exactly this name, which a notebook completes.

        Raises:
            NotFound: there is none. InvalidParameter: both have the name; `network` and `sandbox` tell them apart.
        """
        with self._engine.reading() as state:
            network, sandbox = state.network_named(name), state.sandbox_named(name)
        if network and sandbox:
            raise InvalidParameter(
                f"{name!r} is a network and a sandbox: use network({name!r}) or sandbox({name!r})",
                code="ambiguous_name",
                name=name,
            )
        if network:
            return self._networks.handle(network)
        if sandbox:
            return self._sandboxes.handle(sandbox)
        raise NotFound(f"no network and no sandbox is named {name!r}", code="no_such_name", name=name)

    def _ipython_key_completions_(self) -> list[str]:
        scene = self._scene()
        return sorted({each.name for each in scene.networks} | {each.name for each in scene.sandboxes})


def bundle(thing: object) -> Bundle:
    """Return what an object is shown as; nothing where it cannot be drawn, for showing must not fail."""
    from .show import bundle as drawn  # noqa: PLC0415 (loaded when something is shown)

    with suppress(Exception):
        if isinstance(thing, InNotebook):
            return drawn(thing._scene())  # noqa: SLF001 (a part of the controller)
        if isinstance(thing, Handle):
            return _of_handle(thing)
        return drawn(thing)
    return {}


def _of_handle(handle: Handle[Any]) -> Bundle:
    from .show import bundle as drawn  # noqa: PLC0415 (loaded when something is shown)

    scene = handle._scene()  # noqa: SLF001 (what handles have for this module)
    if not isinstance(scene, Scene):
        return {}
    near = evolve(scene.around(handle.id), title=repr(handle).strip("<>"))
    return {**drawn(near), "text/plain": repr(handle)}


drawn_by(bundle)
