"""The code blocks of the documentation and the README, run as they stand."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.root import world
from tests.root.machine import run_in

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/index.md",
    "docs/tutorial.md",
    "docs/without-root.md",
    "docs/drivers/bridge.md",
    "docs/drivers/host.md",
    "docs/write-a-driver.md",
    "docs/drivers/overlay.md",
    "docs/others.md",
)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    """Return the Python blocks of a page."""
    return BLOCK.findall(page.read_text())


@pytest.mark.parametrize("name", PAGES)
def test_code_blocks_run(name: str, host: str, tmp_path: Path) -> None:
    """The Python blocks of a page, one after the other in one process, raise nothing."""
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(ROOT / name)))
    run_in(host if world.ROOT else "", [sys.executable, script])


def test_every_page_with_code_is_run() -> None:
    """No page has a Python block that these tests do not run."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert {str(page.relative_to(ROOT)) for page in pages if "_build" not in page.parts and blocks(page)} == set(PAGES)
