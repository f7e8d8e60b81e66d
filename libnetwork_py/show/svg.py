"""A layout as SVG: attributes alone, so that it looks alike wherever it is put.

May import: layout, shapes, wording, scene.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..scene import Scene
from .layout import lay_out
from .shapes import BAR_HEIGHT, LINE, PAD, Bar, Box, Layout, Wire
from .wording import safe

COLOURS = ("#2f6db5", "#b5562f", "#2f8f5b", "#8a4fa8", "#a8872a", "#2a97a8", "#b53f72", "#5c6b7a")
"""Of networks, in the order of their making; then again from the first."""
_SANS = "font-family=\"system-ui,'Segoe UI',Helvetica,Arial,'DejaVu Sans',sans-serif\""
_MONO = "font-family=\"ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace\""
_INK, _QUIET, _PORT, _ALARM = "#1c2733", "#66727f", "#1b6b44", "#c0392b"
_FILLS = {"sandbox": "#ffffff", "router": "#fff8e6", "endpoint": "#fafbfc", "rest": "#f1f4f7"}
_STYLES = {"address": _INK, "quiet": _QUIET, "port": _PORT, "condition": "#9a5b00", "alarm": _ALARM}


def svg(scene: Scene) -> str:
    """Return the drawing of a scene, one ``<svg>`` element."""
    layout = lay_out(scene)
    note = 18 if scene.note else 0
    width, height = round(max(layout.width, 240)), round(layout.height + note)
    box = f'viewBox="0 0 {width} {height}" style="max-width:100%;height:auto"'
    role = f'role="img" aria-label="{safe(scene.title)}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" {box} {role}>',
        f"<title>{safe(scene.title)}</title>",
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" fill="#f7f9fb" stroke="#d5dce3"/>',
        *_outside(layout),
        *(_wire(each) for each in layout.wires),
        *(part for bar in layout.bars for part in _bar(bar)),
        *(part for box in layout.boxes for part in _box(box)),
        *(part for wire in layout.wires for part in _label(wire)),
    ]
    if not layout.boxes and not layout.bars:
        parts.append(_text(PAD, 34, "no networks, no sandboxes", _QUIET, 12))
    if scene.note:
        parts.append(_text(PAD, height - 8, scene.note, _ALARM, 11))
    return "\n".join([*parts, "</svg>"])


def _outside(layout: Layout) -> Iterable[str]:
    if layout.outside >= 0:
        yield (
            f'<rect x="{PAD}" y="{layout.outside}" width="{layout.width - 2 * PAD:.1f}" height="24" rx="5" '
            'fill="#e4e9ee" stroke="#c3ccd5"/>'
        )
        yield _text(PAD + 10, layout.outside + 16, "host and outside", _QUIET, 12, bold=True)


def _bar(bar: Bar) -> Iterator[str]:
    colour = COLOURS[bar.colour % len(COLOURS)]
    yield (
        f"<g><title>{safe(f'network {bar.record.name}: {bar.subtitle}')}</title>"
        f'<rect x="{bar.x:.1f}" y="{bar.y:.1f}" width="{bar.width:.1f}" height="{BAR_HEIGHT}" rx="6" fill="{colour}"/>'
    )
    left = bar.x + PAD + (14 if bar.has_way_out else 0)
    yield _text(left, bar.y + 16, bar.record.name, "#ffffff", 13, bold=True)
    yield _text(left, bar.y + 31, bar.subtitle, "#f0f4f8", 11, mono=True)
    yield "</g>"


def _box(box: Box) -> Iterator[str]:
    dashed = ' stroke-dasharray="4 3"' if box.kind in {"endpoint", "rest"} else ""
    yield (
        f'<g><title>{safe(box.tip or box.title)}</title><rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" '
        f'height="{box.height:.1f}" rx="6" fill="{_FILLS[box.kind]}" stroke="#9fabb7"{dashed}/>'
    )
    yield _text(box.x + PAD, box.y + 19, box.title, _INK, 13, bold=True)
    if box.kind == "router":
        yield _text(box.x + box.width - PAD, box.y + 19, "router", "#9a6b00", 11, end=True)
    for number, (style, text) in enumerate(box.lines):
        yield _text(box.x + PAD, box.y + 37 + number * LINE, text, _STYLES[style], 11, mono=True)
    yield "</g>"


def _wire(wire: Wire) -> str:
    (x, y), (to_x, to_y) = wire.start, wire.end
    colour = (
        _ALARM if wire.state == "down" else "#9fabb7" if wire.state == "free" else COLOURS[wire.colour % len(COLOURS)]
    )
    dashes = {"free": ' stroke-dasharray="4 3"', "down": ' stroke-dasharray="2 4"'}.get(wire.state, "")
    path = f"M{x:.1f} {y:.1f} L{to_x:.1f} {to_y:.1f}"
    if wire.bend:
        low = max(y, to_y) + wire.bend
        path = f"M{x:.1f} {y:.1f} C{x:.1f} {low:.1f} {to_x:.1f} {low:.1f} {to_x:.1f} {to_y:.1f}"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}><title>{safe(wire.tip)}</title></path>'


def _label(wire: Wire) -> Iterator[str]:
    """A cable's name, on a patch of the background that keeps it readable."""
    if wire.label:
        x = (wire.start[0] + wire.end[0]) / 2
        y = max(wire.start[1], wire.end[1]) + wire.bend * 0.75 if wire.bend else (wire.start[1] + wire.end[1]) / 2
        half = len(wire.label) * 3.4 + 3
        yield f'<rect x="{x - half:.1f}" y="{y - 8:.1f}" width="{2 * half:.1f}" height="15" rx="3" fill="#f7f9fb"/>'
        yield _text(x, y + 4, wire.label, _QUIET, 11, middle=True)


def _text(
    x: float, y: float, text: str, colour: str, pixels: int, *,
    bold: bool = False, mono: bool = False, end: bool = False, middle: bool = False,
) -> str:  # fmt: skip
    anchor = ' text-anchor="end"' if end else ' text-anchor="middle"' if middle else ""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{pixels}"{weight}{anchor} '
        f'xml:space="preserve" {_MONO if mono else _SANS}>{safe(text)}</text>'
    )
