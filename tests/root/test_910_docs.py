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
    "docs/experiments.md",
    "docs/names.md",
)
TESTS = ("docs/testing.md",)
"""Their blocks are tests themselves."""
ELSEWHERE = ("docs/cluster.md",)
"""Their blocks are for several hosts with servers at addresses of their own: `test_548_overlay_etcd` does the same with real ones."""

SCENES = {
    "docs/experiments.md": """
from libnetwork_py import NetworkController

controller = NetworkController.temporary()
front = controller.create_network("front")
client, server, more = (controller.create_sandbox(name) for name in ("client", "server", "more"))
a, b, c = (each.connect(front) for each in (client, server, more))
endpoint = a
""",
    "docs/names.md": """
from libnetwork_py import NetworkController

controller = NetworkController.temporary()
front = controller.create_network("front")
web, client = (controller.create_sandbox(name) for name in ("web", "client"))
client.connect(front)
""",
}
"""What a page's blocks take for granted."""
RUN = """
from libnetwork_py.errors import NotSupported

for block in {blocks!r}:
    try:
        exec(block, globals())
    except NotSupported as error:
        if "sch_netem" not in str(error):  # many kernels lack it, and the page says so
            raise
controller.close()
"""
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    """Return the Python blocks of a page."""
    return BLOCK.findall(page.read_text())


@pytest.mark.parametrize("name", PAGES)
def test_code_blocks_run(name: str, host: str, tmp_path: Path) -> None:
    """The Python blocks of a page, one after the other in one process, raise nothing."""
    script = tmp_path / "page.py"
    found = blocks(ROOT / name)
    script.write_text(SCENES[name] + RUN.format(blocks=found) if name in SCENES else "\n".join(found))
    run_in(host if world.ROOT else "", [sys.executable, script], cwd=tmp_path)


@pytest.mark.parametrize("name", TESTS)
def test_tests_pass(name: str, host: str, tmp_path: Path) -> None:
    """The Python blocks of a page about testing are tests that pass, or are skipped where the kernel lacks what they name."""
    script = tmp_path / "test_page.py"
    script.write_text("\n".join(blocks(ROOT / name)))
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, script]
    assert re.search(
        "^[1-9].* (passed|skipped)", run_in(host if world.ROOT else "", argv, cwd=tmp_path).stdout, re.MULTILINE
    )


def test_every_page_with_code_is_run() -> None:
    """No page has a Python block that these tests do not run."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert {str(page.relative_to(ROOT)) for page in pages if "_build" not in page.parts and blocks(page)} == {
        *PAGES,
        *TESTS,
        *ELSEWHERE,
    }
