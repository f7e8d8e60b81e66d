"""What the documentation's pages claim about the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import libnetwork_py
from libnetwork_py import errors
from libnetwork_py.drivers.api import NetworkDriver
from libnetwork_py.plugins.registry import Registry

DOCS = Path(__file__).parents[3] / "docs"
PACKAGE = Path(libnetwork_py.__file__).parent
SOURCES = "\n".join(path.read_text() for path in sorted(PACKAGE.rglob("*.py")))
ROW = re.compile(r"^\| .+ \| `(?P<category>\w+)`[^|]* \| (?P<codes>`[^|]*`) \|$", re.MULTILINE)


def rows() -> list[tuple[str, str]]:
    """Return category and code of every line of the bad-input table."""
    page = (DOCS / "bad-input.md").read_text()
    return [(row["category"], code) for row in ROW.finditer(page) for code in re.findall(r"`(\w+)`", row["codes"])]


def test_the_bad_input_table_is_read() -> None:
    """The table has the cases that it is for."""
    assert len(rows()) > 25


@pytest.mark.parametrize(("category", "code"), rows())
def test_a_code_of_the_bad_input_table_is_raised_somewhere(category: str, code: str) -> None:
    """Every code in the table is one that the package raises, in a category that exists."""
    assert category in errors.__all__
    prefix, _, kind = code.rpartition("_")
    made = {"unknown": 'code=f"unknown_{', "no_such": 'code=f"no_such_{'}.get(prefix, "\0")
    assert f'"{code}"' in SOURCES or (made in SOURCES and kind in {"driver", "network", "sandbox", "endpoint"})


def test_every_driver_has_a_page_with_its_options() -> None:
    """Each installed driver of this package has a page whose option table comes from its code, and no other has one."""
    drivers = Registry("libnetwork_py.drivers", "driver", NetworkDriver)  # type: ignore[type-abstract]
    ours = {each.name for each in drivers.info() if each.distribution.replace("-", "_") == "libnetwork_py"}
    pages = {path.stem: path.read_text() for path in (DOCS / "drivers").glob("*.md") if path.stem != "index"}
    assert set(pages) == ours
    for name, text in pages.items():
        assert f"{{driver-options}} {name}\n" in text


def test_every_public_name_is_in_the_reference() -> None:
    """Each public name of the package is documented in the API reference."""
    text = "\n".join(path.read_text() for path in (DOCS / "reference").glob("*.md"))
    missing = [
        name
        for name in libnetwork_py.__all__
        if name not in errors.__all__ and not name.startswith("_") and not re.search(rf"\.{name}$", text, re.MULTILINE)
    ]
    assert missing == []
    assert "automodule:: libnetwork_py.errors" in text


def test_every_decision_has_a_page() -> None:
    """The index of decisions lists every page, and their numbers run from 1 without a gap."""
    pages = sorted(path.stem for path in (DOCS / "adr").glob("[0-9]*.md"))
    index = (DOCS / "adr" / "index.md").read_text()
    assert [int(page[:4]) for page in pages] == list(range(1, len(pages) + 1))
    assert [page for page in pages if page not in index] == []
