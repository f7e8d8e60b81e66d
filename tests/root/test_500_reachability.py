"""The reachability table, probed with real packets through the public API."""

from __future__ import annotations

from pathlib import Path

import pytest

from libnetwork_py import NetworkController
from tests.root.firewall_lab import inside
from tests.root.machine import Outside
from tests.root.places import build
from tests.root.probing import ask, servers
from tests.root.reachability import MODES, cells, listening


def show_bridged_packets(host: str, *, on: bool) -> None:
    """Let the host's packet filter see bridged packets, or not; skip where the kernel cannot show them."""
    settings = [Path(f"/proc/sys/net/bridge/bridge-nf-call-{each}tables") for each in ("ip", "ip6")]
    if settings[0].exists():
        inside(host, lambda: [each.write_text(str(int(on)), encoding="ascii") for each in settings])
    elif on:
        pytest.skip("this kernel has no br_netfilter")


@pytest.mark.parametrize("br_netfilter", [False, True], ids=["", "br_netfilter"])
@pytest.mark.parametrize("icc", [True, False], ids=["icc", "no-icc"])
@pytest.mark.parametrize("mode", MODES)
def test_who_reaches_whom(
    controller: NetworkController, host: str, outside: Outside, mode: str, icc: bool, br_netfilter: bool
) -> None:
    """Every cell of the table for one gateway mode: reached or not, and whose address the server saw."""
    show_bridged_packets(host, on=br_netfilter)
    topology = build(controller, host, outside, mode, icc=icc)
    asked = cells(topology)
    expected = {
        cell.question.name: cell.row.expected(mode, cell.question.family, icc=icc, br_netfilter=br_netfilter)
        for cell in asked
    }
    with servers(listening(topology)) as opened:
        answers = {name for name, whom in expected.items() if whom != "-"}
        seen = ask(opened, [cell.question for cell in asked], expected=answers)
    found = {
        cell.question.name: topology.name(cell.row.client, cell.question.family, seen[cell.question.name])
        for cell in asked
    }
    wrong = {name: (whom, expected[name]) for name, whom in found.items() if whom != expected[name]}
    assert not wrong, "\n".join(f"{name}: {whom}, not {should}" for name, (whom, should) in wrong.items())
