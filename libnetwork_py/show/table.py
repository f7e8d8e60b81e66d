"""Tables in HTML: a caption, headings, rows. Styles are attributes; a notebook's own theme shows through.

May import: wording.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from .wording import safe

_CELL = "text-align:left;vertical-align:top;padding:2px 10px;white-space:pre-wrap"
ROWS_MAX = 200
"""Rows that are written out; how many more there are is said."""


@frozen
class Table:
    """Rows of text under headings."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def html(self) -> str:
        """The table as one ``<table>`` element."""
        head = "".join(f'<th scope="col" style="{_CELL}">{safe(each)}</th>' for each in self.headings)
        body = "".join(f"<tr>{_cells(row)}</tr>" for row in self.rows[:ROWS_MAX])
        more = len(self.rows) - ROWS_MAX
        rest = f'<tr><td colspan="{len(self.headings)}" style="{_CELL}">… {more} more</td></tr>' if more > 0 else ""
        caption = f'<caption style="text-align:left;font-weight:600;padding:4px 0">{safe(self.caption)}</caption>'
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}{rest}</tbody></table>"

    @property
    def text(self) -> str:
        """The table in columns of plain text."""
        lines = [self.headings, *self.rows[:ROWS_MAX]]
        widths = [max(len(line[column]) for line in lines) for column in range(len(self.headings))]
        shown = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
        ]
        more = len(self.rows) - ROWS_MAX
        return "\n".join([self.caption, *shown, *([f"… {more} more"] if more > 0 else [])])


def _cells(row: Iterable[str]) -> str:
    return "".join(f'<td style="{_CELL}">{safe(each)}</td>' for each in row)


def table(caption: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table of whatever has a ``str``."""
    return Table(caption, tuple(headings), tuple(tuple(map(str, row)) for row in rows))


def lines(caption: str, text: str) -> str:
    """Return preformatted text under a caption."""
    return (
        f'<div style="font-weight:600;padding:4px 0">{safe(caption)}</div>'
        f'<pre style="margin:0;max-height:30em;overflow:auto;font-size:12px;line-height:1.35">{safe(text)}</pre>'
    )
