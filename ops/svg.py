"""Small charts as SVG text, without a plotting library: lines over steps, points with names."""

import math
from collections.abc import Mapping, Sequence
from html import escape

COLORS = ("#4f43dd", "#d9730d", "#0f7b6c", "#b0325b", "#7a6400", "#37352f")
WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 28, 44

Point = tuple[float, float]


def line_chart(series: Mapping[str, Sequence[Point]], *, title: str, x_label: str, y_label: str) -> str:
    """A chart of named lines. Series without points are left out; with none at all the chart says so."""
    return _chart(series, title=title, x_label=x_label, y_label=y_label, joined=True)


def scatter_chart(
    points: Mapping[str, Point], *, title: str, x_label: str, y_label: str, cloud: Sequence[Point] = ()
) -> str:
    """A chart of named points, each with its label beside it, over a cloud of points without names."""
    series = {name: [point] for name, point in points.items()}
    return _chart(series, title=title, x_label=x_label, y_label=y_label, joined=False, cloud=cloud)


def _chart(
    series: Mapping[str, Sequence[Point]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    joined: bool,
    cloud: Sequence[Point] = (),
) -> str:
    cloud = [point for point in cloud if all(map(math.isfinite, point))]
    kept = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in series.items()}
    kept = {name: points for name, points in kept.items() if points}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 18, title, anchor="middle", weight="bold"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label, anchor="middle"),
        f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
    ]
    if not kept:
        parts.append(_text(WIDTH / 2, HEIGHT / 2, "no points", anchor="middle"))
        return "".join([*parts, "</svg>"])
    shown = [point for points in (*kept.values(), cloud) for point in points]
    xs = ticks(*_bounds([x for x, _ in shown], joined))
    ys = ticks(*_bounds([y for _, y in shown], joined))

    def place(point: Point) -> Point:
        x = LEFT + (point[0] - xs[0]) / (xs[-1] - xs[0]) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (point[1] - ys[0]) / (ys[-1] - ys[0]) * (HEIGHT - TOP - BOTTOM)
        return x, y

    for tick in xs:
        x, _ = place((tick, ys[0]))
        parts.append(_text(x, HEIGHT - BOTTOM + 16, _number(tick), anchor="middle"))
    for tick in ys:
        _, y = place((xs[0], tick))
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, y + 4, _number(tick), anchor="end"))
    for x, y in map(place, cloud):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="#bbb"/>')
    for index, (name, points) in enumerate(kept.items()):
        color = COLORS[index % len(COLORS)]
        placed = [place(point) for point in points]
        if joined:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.6"/>')
            if len(kept) > 1:
                parts.append(_text(WIDTH - RIGHT - 4, TOP + 14 + 15 * index, name, anchor="end", color=color))
        else:
            x, y = placed[0]
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{color}"/>')
            right = x > WIDTH * 0.72
            parts.append(_text(x + (-8 if right else 8), y - 6, name, anchor="end" if right else "start", color=color))
    return "".join([*parts, "</svg>"])


def _bounds(values: Sequence[float], joined: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    margin = 0.0 if joined else 0.08 * (high - low)
    if low == high:
        margin = abs(low) * 0.1 or 1.0
    return low - margin, high + margin


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover [low, high], about `count` of them."""
    raw = (high - low) / max(count - 1, 1) or 1.0
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def _number(value: float) -> str:
    for limit, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.4g}{suffix}"
    return f"{value:.4g}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", color: str = "#222") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{color}">'
        f"{escape(text)}</text>"
    )
