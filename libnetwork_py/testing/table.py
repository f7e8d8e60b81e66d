"""A table of what was checked and how it went, at the end of a test run: ``pytest -p libnetwork_py.testing.table``.

Rows are the checks of the contracts, columns the classes that were held against them.

May import: pytest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import pytest

MARKS = {"passed": "yes", "failed": "NO", "error": "NO", "skipped": "-"}

_CONTRACTS: dict[str, str] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note which tests are a contract's, and of whom."""
    for item in items:
        owner = getattr(item, "cls", None)
        bases = [base.__name__ for base in getattr(owner, "__mro__", ())[1:] if base.__name__.endswith("Contract")]
        if (
            owner is not None
            and bases
            and hasattr(next(b for b in owner.__mro__[1:] if b.__name__ == bases[0]), item.name.partition("[")[0])
        ):
            _CONTRACTS[item.nodeid] = bases[0]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write a table per contract."""
    outcomes: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for outcome, mark in MARKS.items():
        for report in terminalreporter.getreports(outcome):
            contract = _CONTRACTS.get(report.nodeid)
            if contract:
                _, owner, test = report.nodeid.split("::")[-3:]
                check = test.partition("[")[0].removeprefix("test_").replace("_", " ")
                held = outcomes[contract][check]
                held[owner] = "NO" if "NO" in {mark, held.get(owner)} else mark
    for contract, checks in sorted(outcomes.items()):
        terminalreporter.section(contract)
        for line in lines(checks):
            terminalreporter.line(line)


def lines(checks: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the lines of a table: a check a row, a class a column."""
    owners = sorted({owner for held in checks.values() for owner in held})
    first = max(map(len, checks))
    widths = [max(len(owner), 3) for owner in owners]
    head = " ".join([" " * first, *(owner.ljust(width) for owner, width in zip(owners, widths, strict=True))])
    rows = [
        " ".join(
            [
                check.ljust(first),
                *(held.get(owner, "").ljust(width) for owner, width in zip(owners, widths, strict=True)),
            ]
        )
        for check, held in checks.items()
    ]
    return [each.rstrip() for each in (head, *rows)]
