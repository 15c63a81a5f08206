"""A line chart as SVG text.

It depends on its arguments alone: ``report --check`` compares the files with the results as it does with tables.
Lines are named at their right end, where the eye is, instead of in a legend.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 940, 480
LEFT, RIGHT, TOP, BOTTOM = 78, 310, 92, 52
LABEL_HEIGHT = 15.0
OURS = "#c2410c"
COLOURS = ("#2563eb", "#0f766e", "#7c3aed", "#b45309", "#be185d", "#4d7c0f", "#475569", "#0891b2", "#a16207", "#6b7280")
STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#1f2937}"
    ".title{font-size:17px;font-weight:600}.sub{font-size:12px;fill:#6b7280}.tick{font-size:11px;fill:#6b7280}"
    ".name{font-size:12px}.grid{stroke:#e5e7eb;stroke-width:1}.axis{stroke:#9ca3af;stroke-width:1}"
)

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """From value to place: ticks are (value, text), and the first and last of them are the ends."""

    title: str
    ticks: Sequence[tuple[float, str]]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """0 at the first tick, 1 at the last."""
        low, high = self.ticks[0][0], self.ticks[-1][0]
        if self.logarithmic:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)


@dataclass(frozen=True, slots=True)
class Line:
    """A series; ``strong`` is the one that the plot is about. Without a colour it takes the next one."""

    name: str
    points: Sequence[Point]
    strong: bool = False
    dashed: bool = False
    colour: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """All of a plot."""

    title: str
    subtitle: str
    x: Axis
    y: Axis
    lines: Sequence[Line]

    def svg(self) -> str:
        """The file."""
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(self.title)}">',
            f"<style>{STYLE}</style>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
            f'<text class="title" x="{LEFT - 54}" y="30">{escape(self.title)}</text>',
            f'<text class="sub" x="{LEFT - 54}" y="50">{escape(self.subtitle)}</text>',
            *self._axes(),
            *self._lines(),
        ]
        return "\n".join([*parts, "</svg>", ""])

    def _axes(self) -> list[str]:
        parts = []
        for value, text in self.y.ticks:
            y = self._y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(text)}</text>')
        base = HEIGHT - BOTTOM
        parts.append(f'<line class="axis" x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}"/>')
        for value, text in self.x.ticks:
            x = self._x(value)
            parts.append(f'<text class="tick" x="{x}" y="{base + 18}" text-anchor="middle">{escape(text)}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f'<text class="sub" x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(self.x.title)}</text>'
        )
        parts.append(f'<text class="sub" x="{LEFT - 54}" y="68">{escape(self.y.title)}</text>')
        return parts

    def _lines(self) -> list[str]:
        ends = spread_out([self._y(line.points[-1][1]) for line in self.lines], TOP, HEIGHT - BOTTOM)
        parts = []
        colours = iter(COLOURS * (len(self.lines) // len(COLOURS) + 1))
        for line, label in zip(self.lines, ends, strict=True):
            parts += self._line(line, label, line.colour or (OURS if line.strong else next(colours)))
        return parts

    def _line(self, line: Line, label: float, colour: str) -> list[str]:
        places = [(self._x(x), self._y(y)) for x, y in line.points]
        path = " ".join(f"{x},{y}" for x, y in places)
        width, dash = (3 if line.strong else 1.6), (' stroke-dasharray="5 4"' if line.dashed else "")
        end, column = places[-1], WIDTH - RIGHT
        weight = ' font-weight="600"' if line.strong else ""
        return [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dash}/>',
            *[f'<circle cx="{x}" cy="{y}" r="{width + 1:.1f}" fill="{colour}"/>' for x, y in places],
            f'<line x1="{end[0] + 5}" y1="{end[1]}" x2="{column + 16}" y2="{label:.1f}" stroke="{colour}" '
            'stroke-opacity="0.45"/>',
            f'<text class="name" x="{column + 20}" y="{label + 4:.1f}"{weight} style="fill:{colour}">'
            f"{escape(line.name)}</text>",
        ]

    def _x(self, value: float) -> float:
        return round(LEFT + self.x.share(value) * (WIDTH - RIGHT - LEFT), 1)

    def _y(self, value: float) -> float:
        return round(HEIGHT - BOTTOM - self.y.share(value) * (HEIGHT - BOTTOM - TOP), 1)


def spread_out(places: Sequence[float], top: float, bottom: float) -> list[float]:
    """Places of labels, moved apart so far that none covers another, in the same order."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    found = [0.0] * len(places)
    last = top - LABEL_HEIGHT
    for index in order:
        last = found[index] = max(places[index], last + LABEL_HEIGHT)
    limit = max(bottom, top + LABEL_HEIGHT * (len(places) - 1))
    for index in reversed(order):
        found[index] = min(found[index], limit)
        limit = found[index] - LABEL_HEIGHT
    return found


def decades(values: Sequence[float], text: dict[float, str]) -> list[tuple[float, str]]:
    """Powers of ten around all values, with their texts."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [(10.0**power, text.get(10.0**power, f"{10.0**power:g}")) for power in range(low, max(high, low + 1) + 1)]
