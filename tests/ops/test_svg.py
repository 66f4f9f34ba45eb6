"""Charts: well-formed, all points inside, round ticks that cover the data."""

import xml.etree.ElementTree as ET
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ops.svg import HEIGHT, WIDTH, line_chart, scatter_chart, ticks

numbers = st.floats(-1e12, 1e12, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-9)


@given(numbers, numbers)
def test_ticks_cover_the_range_with_equal_steps(left: float, right: float) -> None:
    low, high = sorted((left, right))
    if high - low < 1e-6 * max(abs(low), abs(high), 1e-6):
        return
    found = ticks(low, high)
    step = found[1] - found[0]
    slack = 1e-6 * step
    assert found[0] <= low + slack
    assert found[-1] >= high - slack
    assert 2 <= len(found) <= 12
    assert all(abs((b - a) - step) <= slack + 1e-9 * abs(b) for a, b in pairwise(found))


@given(st.dictionaries(st.text(min_size=1), st.lists(st.tuples(numbers, numbers), max_size=5), max_size=4))
def test_lines_are_well_formed_and_inside(series: dict[str, list[tuple[float, float]]]) -> None:
    series = {"".join(c for c in name if c.isprintable()): points for name, points in series.items()}
    svg = ET.fromstring(line_chart(series, title="a < b & c", x_label="x", y_label="y"))
    lines = svg.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == sum(bool(points) for points in series.values())
    for line in lines:
        for pair in line.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT


def test_every_named_point_is_drawn_with_its_name() -> None:
    text = scatter_chart({"teacher": (2e6, 1.5), "nan": (float("nan"), 1)}, title="t", x_label="x", y_label="y")
    svg = ET.fromstring(text)
    assert len(svg.findall("{http://www.w3.org/2000/svg}circle")) == 1
    assert "teacher" in text
    assert "2M" in text
