"""Points of charts, and numbers as pages show them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.admin.charts import HEIGHT, WIDTH, bars, spark
from notify.templatetags import figures


def points(text: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (point.split(",") for point in text.split())]


def test_a_gap_breaks_the_line_and_one_value_is_a_line_too() -> None:
    drawn = spark([4, 2, None, 1])
    assert drawn.most == 4
    first, second = map(points, drawn.lines)
    assert first == [(0, 1), (12.5, 1), (37.5, 12), (50, 12)]
    assert second == [(75, 17.5), (87.5, 17.5), (100, 17.5)]
    assert points(drawn.areas[1]) == [(75, 24), *second, (100, 24)]


@pytest.mark.parametrize("values", [[], [None, None]])
def test_nothing_is_drawn_of_nothing(values: list[None]) -> None:
    assert spark(values) == spark([])
    assert (spark(values).lines, spark(values).most) == ((), 0)


@given(st.lists(st.none() | st.floats(0, 1e12), max_size=50))
def test_all_points_are_in_the_box(values: list[float | None]) -> None:
    drawn = spark(values)
    for text in (*drawn.lines, *drawn.areas):
        for x, y in points(text):
            assert 0 <= x <= WIDTH
            assert 0 <= y <= HEIGHT


def test_bars_stand_on_the_ground_and_can_be_seen() -> None:
    drawn = bars([0, 1, 50, 100], full=10)
    assert [bar.height for bar in drawn] == [0, 1, 12, 24]
    assert all(bar.y + bar.height == HEIGHT for bar in drawn)
    assert [bar.x for bar in drawn] == [0, 25, 50, 75]
    assert bars([1], full=24)[0].height == 1
    assert bars([]) == []


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (figures.count(1_234_567), "1,234,567"),
        (figures.count(None), "–"),  # noqa: RUF001 - the dash that pages show
        (figures.rate(0), "0"),
        (figures.rate(3.14), "3.1"),
        (figures.rate(1_234.5), "1,234"),
        (figures.percent(0), "0"),
        (figures.percent(0.0004), "<0.1"),
        (figures.percent(0.034), "3.4"),
        (figures.percent(0.86), "86"),
        (figures.bar(0.0004), "0.0%"),
        (figures.bar(0.5), "50.0%"),
        (figures.seconds(-0.1), "0.0 s"),
        (figures.seconds(3.21), "3.2 s"),
        (figures.seconds(119), "119 s"),
        (figures.seconds(120), "2 min"),
        (figures.seconds(7_200), "2 h"),
        (figures.seconds(900_000), "10 d"),
        (figures.seconds(None), "–"),  # noqa: RUF001 - the dash that pages show
        (figures.size(20_480), "20 KiB"),
        (figures.size(3 << 20), "3.0 MiB"),
    ],
)
def test_figures(shown: str, text: str) -> None:
    assert shown == text
