"""Which root tests an ordinary user cannot run, each with its reason."""

from __future__ import annotations


def why_not(nodeid: str) -> str:
    """Return why an ordinary user cannot run a test; empty if one can."""
    return ""
