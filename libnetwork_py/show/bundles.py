"""What an object is shown as: a table and a drawing, and always plain text.

May import: drawing, table, text, wording, scene, lifecycle's values, network, endpoint, sandbox.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from functools import singledispatch

from ..endpoint import EndpointRecord
from ..lifecycle.events import Event, Events
from ..lifecycle.explaining import Explanation
from ..lifecycle.information import Info
from ..lifecycle.plan import Plan
from ..lifecycle.reconcile import Report
from ..scene import Scene, is_router
from . import wording
from .svg import svg
from .table import Table, lines, table
from .text import outline


@singledispatch
def bundle(_: object) -> Mapping[str, str]:
    """Return MIME type → content for an object's value; nothing for what is not known."""
    return {}


@bundle.register
def _scene(scene: Scene) -> Mapping[str, str]:
    picture = svg(scene)
    tables = "".join(each.html for each in tables_of(scene))
    return {
        "text/plain": outline(scene),
        "text/html": f"<div>{picture}<details><summary>{wording.safe(scene.title)}: as tables</summary>{tables}</details></div>",
        "image/svg+xml": picture,
    }


@bundle.register
def _plan(plan: Plan) -> Mapping[str, str]:
    going, coming = len(plan.change.remove), len(plan.change.make)
    caption = f"plan: {coming} to make, {going} to remove" if plan else "plan: nothing to do, or not ended yet"
    return {"text/plain": plan.text or caption, "text/html": lines(caption, plan.text)}


@bundle.register
def _report(report: Report) -> Mapping[str, str]:
    if not report:
        return _both(Table(f"as described: {report.checked} objects checked", ("finding",), ()))
    caption = f"{len(report.findings)} findings among {report.checked} objects"
    rows = (
        (each.kind, each.what, each.how, "yes" if each.repaired else each.error or "no") for each in report.findings
    )
    return _both(table(caption, ("finding", "object", "how", "repaired"), rows))


@bundle.register
def _events(events: Events) -> Mapping[str, str]:
    waiting = events.peek()
    return _both(_events_table(f"events: {len(waiting)} not read yet", waiting))


@bundle.register
def _event(event: Event) -> Mapping[str, str]:
    return _both(_events_table(f"event {event.number}", [event]))


@bundle.register
def _info(info: Info) -> Mapping[str, str]:
    features = ", ".join(name for name, works in sorted(info.features.items()) if works)
    lacking = ", ".join(name for name, works in sorted(info.features.items()) if not works)
    rows = [
        ("versions", ", ".join(f"{name} {version}" for name, version in info.versions.items())),
        ("drivers", ", ".join(each.name for each in info.drivers)),
        ("store", info.store),
        ("firewall", info.firewall),
        ("privilege", info.privilege),
        ("works here", textwrap.fill(features, 100)),
        ("does not", textwrap.fill(lacking, 100)),
        *(("warning", textwrap.fill(each, 100)) for each in info.warnings),
    ]
    caption = f"{info.networks} networks, {info.sandboxes} sandboxes, {info.endpoints} endpoints"
    return _both(table(caption, ("what", "is"), rows))


@bundle.register
def _explanation(explanation: Explanation) -> Mapping[str, str]:
    ways = (("there", explanation.steps), ("back", explanation.answer))
    rows = (("" if each.fine else "✗", way, each.where, each.what) for way, steps in ways for each in steps)
    shown = table(explanation.title, ("", "way", "where", "what"), rows)
    return {"text/plain": str(explanation), "text/html": shown.html}


def _events_table(caption: str, events: Iterable[Event]) -> Table:
    rows = (
        (each.number, wording.moment(each.time), each.kind, each.object, each.name, each.detail[:200])
        for each in events
    )
    return table(caption, ("number", "UTC", "what", "object", "name", "detail"), rows)


def _both(shown: Table) -> Mapping[str, str]:
    return {"text/plain": shown.text, "text/html": shown.html}


def tables_of(scene: Scene) -> Iterator[Table]:
    """Return the tables of networks, sandboxes and endpoints."""
    yield table(
        f"{len(scene.networks)} networks", ("name", "driver", "subnets", "gateways", "endpoints", "id"),
        (
            (
                each.name, each.driver, _listed(item.subnet for item in each.subnets),
                _listed(item.gateway for item in each.subnets if item.gateway),
                sum(end.network_id == each.id for end in scene.endpoints), each.id[:12],
            )
            for each in scene.networks
        ),
    )  # fmt: skip
    yield table(
        f"{len(scene.sandboxes)} sandboxes", ("name", "namespace", "forwards", "endpoints", "id"),
        (
            (
                each.name, each.key or "the host's", "yes" if is_router(each) else "",
                sum(end.sandbox_id == each.id for end in scene.endpoints), each.id[:12],
            )
            for each in scene.sandboxes
        ),
    )  # fmt: skip
    headings = (
        "name",
        "state",
        "network",
        "sandbox",
        "interface",
        "addresses",
        "MAC",
        "ports",
        "condition",
        "received",
        "sent",
        "dropped",
    )
    names = {each.id: each.name for each in scene.networks} | {each.id: each.name for each in scene.sandboxes}
    rows = (_endpoint_row(each, names, scene) for each in scene.endpoints)
    yield table(f"{len(scene.endpoints)} endpoints", headings, rows)


def _endpoint_row(endpoint: EndpointRecord, names: Mapping[str, str], scene: Scene) -> tuple[str, ...]:
    counters = scene.counters.get(endpoint.id)
    counted = (
        (
            wording.size(counters.rx_bytes),
            wording.size(counters.tx_bytes),
            str(counters.rx_dropped + counters.tx_dropped),
        )
        if counters
        else ("", "", "")
    )
    return (
        endpoint.name, endpoint.state, names.get(endpoint.network_id, ""), names.get(endpoint.sandbox_id or "", ""),
        endpoint.ifname, _listed(endpoint.addresses), str(endpoint.mac or ""), "\n".join(wording.ports(endpoint)),
        str(endpoint.condition or ""), *counted,
    )  # fmt: skip


def _listed(values: Iterable[object]) -> str:
    return "\n".join(map(str, values))
