"""Results as text and as JSON."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType

import pytest

from libnetwork_py.cli.output import Output, outline, plain, table
from libnetwork_py.errors import Conflict, Unavailable
from libnetwork_py.types import PortBinding


def test_columns_are_as_wide_as_their_longest_cell() -> None:
    """A table's columns start at the same place in every line, and no line ends in blanks."""
    assert (
        table(("ID", "NAME", "X"), [("1", "longer", ""), ("22", "b", 3)])
        == "ID   NAME     X\n1    longer\n22   b        3"
    )


def test_a_table_without_rows_is_its_headings() -> None:
    """An empty list still has headings, as Docker's has."""
    assert table(("ID", "NAME"), []) == "ID   NAME"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (IPv4Address("10.0.0.1"), "10.0.0.1"),
        (MappingProxyType({"a": (1, True)}), {"a": [1, True]}),
        ({("host", "table"): None}, {"host table": None}),
        (frozenset({"b", "a"}), ["a", "b"]),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00+00:00"),
    ],
)
def test_values_become_words_of_json(value: object, expected: object) -> None:
    """Addresses are text, mappings are objects, sets are sorted lists."""
    assert plain(value) == expected


def test_attrs_values_become_objects() -> None:
    """A frozen value is an object of its fields."""
    assert plain(PortBinding.parse("[::1]:8080:80/udp")) == {
        "container_port": 80,
        "protocol": "udp",
        "host_ip": "::1",
        "host_port": 8080,
        "host_port_end": 8080,
        "container_port_end": 80,
    }


def test_an_outline_indents_what_is_inside() -> None:
    """Nested values are lines below their name; empty ones say none."""
    lines = outline({"a": {"b": True, "c": []}, "d": ["x", {"e": 1}], "f": None})
    assert lines == ["a:", "  b: yes", "  c: none", "d:", "  - x", "  -", "    e: 1", "f: none"]


def test_an_error_for_people_has_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    """An error is one line on standard error that ends with the code; the status is the category's."""
    status = Output(as_json=False).error(Conflict("it is taken", code="name_taken", name="x"))
    shown = capsys.readouterr()
    assert (status, shown.out, shown.err) == (4, "", "libnetwork-py: it is taken [name_taken]\n")


def test_a_result_that_cannot_be_written() -> None:
    """Onto a full disk there is an error with its category's status and no traceback; where nobody reads any more, nothing is said."""
    program = """
import sys
from libnetwork_py import NetworkController
from libnetwork_py.cli import main
from libnetwork_py.store.memory import MemoryStore
from libnetwork_py.testing import FakeKernel
sys.exit(main(["network", "ls"], opener=lambda _: NetworkController.over(MemoryStore(), FakeKernel())))
"""
    argv = [sys.executable, "-c", program]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        Unavailable.exit_status, "libnetwork-py: cannot write the result: No space left on device [output_failed]\n",
    )  # fmt: skip
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
