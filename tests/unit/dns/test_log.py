"""What the service tells the system's log."""

from __future__ import annotations

from libnetwork_py.dns.log import Log


def test_refusals_are_told_seldom_and_counted() -> None:
    """The first refusal is told at once, further ones at most every two seconds, with how many there were."""
    lines: list[str] = []
    times = [100.0, 100.5, 101.9, 102.0, 103.0, 104.5]
    log = Log(lines.append, iter(times).__next__)
    for _ in times:
        log.refused("/run/netns/box")
    assert [line.split()[0] for line in lines] == ["1", "3", "2"]
    assert all("/run/netns/box" in line for line in lines)
