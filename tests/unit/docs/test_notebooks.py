"""The notebooks that the documentation shows have been executed: they are rendered as they are stored, without a kernel."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TREE = Path(__file__).parents[3]
BOOKS = sorted((TREE / "examples" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_outputs_are_stored(path: Path) -> None:
    """Each code cell was executed, in order and without an error, and there is a picture among the outputs."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert kinds & {"image/svg+xml", "image/png"}


def test_each_is_in_the_documentation() -> None:
    """The index leads to every notebook."""
    index = (TREE / "docs" / "index.md").read_text()
    assert BOOKS
    assert [path.stem for path in BOOKS if f"notebooks/{path.stem}" not in index] == []
