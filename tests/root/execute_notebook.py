"""Execute a notebook and write it with what its cells gave: ``execute_notebook.py SOURCE TARGET``. Run as whoever shall have run it."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import nbformat
from nbclient import NotebookClient

SECONDS = 240
"""That a cell may take."""


def main(source: Path, target: Path) -> None:
    """Execute ``source``; the first cell that fails ends it."""
    warnings.simplefilter("ignore")
    book = nbformat.read(source, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(
        book, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(target.parent)}}
    ).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)  # when each cell ran: another time in every run
        if cell.cell_type == "code":
            cell.outputs = [
                each for each in cell.outputs if each.get("data") != {"text/plain": ""}
            ]  # progress that has ended
    nbformat.write(book, target)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
