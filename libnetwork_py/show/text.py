"""A topology as lines of plain text.

May import: wording, scene.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..endpoint import EndpointRecord
from ..scene import Scene, is_router
from . import wording


def outline(scene: Scene) -> str:
    """Return the networks with what hangs on them, then the sandboxes that hang on none."""
    return "\n".join([scene.title, *_lines(scene), *([f"({scene.note})"] if scene.note else [])])


def _lines(scene: Scene) -> Iterator[str]:
    names = {each.id: f"{each.name}{' (router)' if is_router(each) else ''}" for each in scene.sandboxes}
    for network in scene.networks:
        yield f"  network {network.name}  {wording.network(network)}"
        for endpoint in scene.endpoints:
            if endpoint.network_id == network.id:
                yield f"    {_endpoint(endpoint, names, scene)}"
    busy = {each.sandbox_id for each in scene.endpoints}
    yield from (f"  sandbox {names[each.id]}  on no network" for each in scene.sandboxes if each.id not in busy)


def _endpoint(endpoint: EndpointRecord, names: dict[str, str], scene: Scene) -> str:
    where = names.get(endpoint.sandbox_id or "", f"endpoint {endpoint.name}, not joined")
    counters = scene.counters.get(endpoint.id)
    condition = f"[{endpoint.condition}]" if endpoint.condition else ""
    parts = [where, endpoint.ifname, condition, *(str(each) for each in endpoint.addresses), *wording.ports(endpoint)]
    return "  ".join(filter(None, [*parts, wording.traffic(counters) if counters else ""]))
