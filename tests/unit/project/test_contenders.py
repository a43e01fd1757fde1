"""The pure parts of `make bench BENCH=contenders`: shapes, comparison, rates, plot and page."""

import json
from collections import Counter
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from tests.qa.benchmarks.contenders import plot, report
from tests.qa.benchmarks.contenders.cell import WATCHED, Cell, Extent
from tests.qa.benchmarks.contenders.comparison import Comparison, Message, Row, compare, replay
from tests.qa.benchmarks.contenders.consumers import rows
from tests.qa.benchmarks.contenders.measure import Drained, Killed, Sample, rate
from tests.qa.benchmarks.contenders.open_loop import CaughtUp, Lags, caught_up
from tests.qa.benchmarks.contenders.results import Results, spread
from tests.qa.benchmarks.contenders.shapes import CHILDREN, SHAPES, Shape, aims
from tests.qa.benchmarks.prepared import APPS, RECORDS, message, partition
from tests.qa.benchmarks.svg import round_up
from tests.running import PARTITIONS

BY_NAME = {shape.name: shape for shape in SHAPES}


def prepared(shape: Shape, updates: int = 600, seed: int = 5) -> list[Message]:
    """The messages of a shape, as a topic would have them."""
    offsets: Counter[int] = Counter()
    messages = []
    for number, aim in enumerate(aims(shape, updates, seed=seed)):
        at = partition(aim.target)
        value = message(aim.target, number, parent=aim.parent, notes=shape.notes)
        messages.append(Message(at, offsets[at], value))
        offsets[at] += 1
    return messages


def merged_rows(messages: list[Message], batch: int) -> dict[tuple[str, str], Row]:
    """What the contenders' statement makes of the messages, in batches."""
    found: dict[tuple[str, str], dict[str, object]] = {}
    for number in range(PARTITIONS):
        values = [each.value for each in messages if each.partition == number]
        for first in range(0, len(values), batch):
            for key, new in rows.merge(values[first : first + batch]).items():
                row = found.setdefault(
                    key,
                    {
                        "tags": {},
                        "session_count": 0,
                        "mirrored_updates": 0,
                        "created_at": new.first_at,
                    },
                )
                row["tags"] = {**row["tags"], **new.tags}  # type: ignore[dict-item]
                row["session_count"] += new.sessions  # type: ignore[operator]
                row["mirrored_updates"] += new.mirrored  # type: ignore[operator]
                row["updated_at"] = new.last_at
    return dict(found)


@pytest.mark.parametrize(
    "shape", [each for each in SHAPES if not each.filled], ids=lambda shape: shape.name
)
def test_a_seed_gives_the_same_updates_and_another_seed_other_rows(shape: Shape) -> None:
    first, again, other = (list(aims(shape, 300, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert not {aim.target for aim in first} & {aim.target for aim in other}
    assert not {aim.target.app for aim in first} & {aim.target.app for aim in other}


def test_a_filled_shape_has_the_same_rows_for_every_seed() -> None:
    (shape,) = [each._replace(records=50) for each in SHAPES if each.filled]
    first, other = (list(aims(shape, 300, seed=seed)) for seed in (1, 2))
    assert first != other
    assert {aim.target for aim in first} == {aim.target for aim in other}


@pytest.mark.parametrize(("name", "share"), [("uniform", 0.0), ("half", 0.5), ("ninety", 0.9)])
def test_the_hot_row_has_its_share(name: str, share: float) -> None:
    found = Counter(aim.target for aim in aims(BY_NAME[name], 4_000, seed=3))
    ((_, most),) = found.most_common(1)
    assert abs(most / 4_000 - share) < 0.03


def test_zipf_gives_each_rank_its_weight() -> None:
    found = Counter(aim.target for aim in aims(BY_NAME["zipf"], 20_000, seed=3))
    weights = [rank**-1.1 for rank in range(1, RECORDS + 1)]
    for rank, (_, count) in enumerate(found.most_common(3)):
        assert abs(count / 20_000 - weights[rank] / sum(weights)) < 0.015


def test_only_mirrored_updates_have_parents_of_their_app_with_few_children() -> None:
    assert all(aim.parent is None for aim in aims(BY_NAME["half"], 100, seed=1))
    found = list(aims(BY_NAME["mirrored"], 20_000, seed=1))
    children = Counter(
        parent for parent, _ in {(aim.parent, aim.target) for aim in found if aim.parent}
    )
    assert all(aim.parent for aim in found)
    assert max(children.values()) <= CHILDREN
    assert len(children) == RECORDS // CHILDREN
    apps = {(aim.parent, aim.target.app) for aim in found}
    assert len(apps) == len(children)
    assert len({app for _, app in apps}) == APPS


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@pytest.mark.parametrize("batch", [1, 7, 500])
def test_the_contenders_statement_gives_what_serial_replay_gives(shape: Shape, batch: int) -> None:
    messages = prepared(shape)
    expected = replay(messages, partitions=PARTITIONS)
    assert sum(row["session_count"] for row in expected.values()) == len(messages)
    found = compare(expected, merged_rows(messages, batch))
    assert found == Comparison(len(expected), 0, 0, 0)


def test_replay_refuses_messages_that_are_no_valid_updates() -> None:
    with pytest.raises(ValueError, match="valid"):
        replay([Message(0, 0, b"{}")], partitions=PARTITIONS)


def test_a_lost_and_a_repeated_update_are_found() -> None:
    messages = prepared(BY_NAME["mirrored"])
    expected = replay(messages, partitions=PARTITIONS)
    lost = compare(expected, merged_rows(messages[:-1], 50))
    assert (lost.twice, lost.lost) == (0, 2)
    assert lost.wrong == 2
    twice = compare(expected, merged_rows([*messages, messages[-1]], 50))
    assert (twice.twice, twice.lost, twice.wrong) == (2, 0, 2)
    assert str(twice).startswith("WRONG: 2 of ")


def test_updates_of_a_row_in_another_order_are_found() -> None:
    messages = prepared(BY_NAME["ninety"])
    expected = replay(messages, partitions=PARTITIONS)
    found = compare(expected, merged_rows(messages[::-1], 50))
    assert found.wrong > 0
    assert (found.twice, found.lost) == (0, 0)


def test_rows_that_must_not_exist_are_wrong() -> None:
    expected = replay(prepared(BY_NAME["uniform"]), partitions=PARTITIONS)
    row = next(iter(expected.values()))
    assert compare(expected, {**expected, ("a", "b"): row}).wrong == 1
    assert compare(expected, {}).wrong == len(expected)


def test_merged_rows_are_sorted_so_that_statements_cannot_deadlock() -> None:
    keys = list(rows.merge(each.value for each in prepared(BY_NAME["mirrored"])))
    assert all(one < other for one, other in pairwise(keys))


def test_the_parameters_are_arrays_of_the_same_length() -> None:
    merged = rows.merge(each.value for each in prepared(BY_NAME["half"], 20))
    arrays = rows.parameters(merged)
    assert len(arrays) == rows.UPSERT.count("%s")
    assert {len(array) for array in arrays} == {len(merged)}
    assert json.loads(arrays[2][0]).keys() == {"level"}


def test_long_messages_have_2_kb() -> None:
    sizes = {len(each.value) for each in prepared(BY_NAME["long"], 20)}
    assert min(sizes) > 1_900
    assert max(sizes) < 2_200


def test_the_rows_with_the_most_updates_are_watched() -> None:
    shape = BY_NAME["ninety"]
    messages = prepared(shape, 40_000)
    cell = Cell(shape, {number: Extent(0, 0) for number in range(PARTITIONS)}, messages)
    hot, *_ = cell.watched
    assert cell.expected[hot]["session_count"] > 35_000
    assert WATCHED / 2 < len(cell.watched) <= WATCHED
    assert len(set(cell.watched)) == len(cell.watched)


def test_parents_that_count_no_update_of_their_own_are_not_watched() -> None:
    shape = BY_NAME["mirrored"]
    messages = prepared(shape, 300)
    cell = Cell(shape, {number: Extent(0, 0) for number in range(PARTITIONS)}, messages)
    assert all(cell.expected[key]["session_count"] for key in cell.watched)
    assert len(cell.watched) == len({aim.target for aim in aims(shape, 300, seed=5)})


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        ([], CaughtUp(50, 50, 0)),
        ([(16, 0.9)], CaughtUp(50, 900, 0)),  # less than a second
        ([(11, 2.5)], CaughtUp(50, 2_500, 0)),  # over before the spike's end
        ([(14, 3.0), (16, 0.2)], CaughtUp(50, 3_000, 2)),
        ([(14, 3.0), (16, 2.0)], CaughtUp(50, 3_000, 3)),
    ],
)
def test_a_spike_is_over_when_the_last_late_update_is_applied(
    late: list[tuple[float, float]], expected: CaughtUp
) -> None:
    probes = [(1.0, 0.02), (2.0, 0.05), (12.0, 0.05), *late]
    found = caught_up(probes, begins=10, ends=15)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([(0, 0), (1, 100), (2, 300), (3, 500), (9, 500)], 200),  # the start counts for nothing
        ([(0, 0), (1, 100), (2, 300), (3, 600), (4, 700)], 200),  # 600 and 700: some twice
        ([(0, 0), (2, 500)], 250),  # all in one sample
        ([(0, 0), (1, 100), (2, 200), (9, 200)], 100),  # not all
    ],
)
def test_the_rate_is_measured_from_the_first_to_the_last_applied_update(
    samples: list[tuple[float, int]], expected: float
) -> None:
    assert rate([Sample(*each) for each in samples], 500) == expected


def results() -> Results:
    right, wrong = Comparison(10, 0, 0, 0), Comparison(10, 3, 2, 1)
    made = Results(1_000, 100, 2, list(SHAPES), setups={"Fast & good": "a | b", "Slow": "c"})
    made.unavailable["Absent"] = "there is no java\nat all"
    for shape in SHAPES:
        made.drained["Fast & good", shape.name] = [
            Drained(100, right, 1_000),
            Drained(300, right, 1_000),
        ]
    made.drained["Slow", "half"] = [Drained(50, right, 100), Drained(40, wrong, 100)]
    made.drained["Slow", "zipf"] = ["it ended with 1"]
    made.killed = {"Fast & good": Killed(300, 12, right), "Slow": Killed(300, 7, wrong)}
    made.kill_shape = "half on one row"
    made.tuned = {200: 10.0, 500: 20.0}
    made.lags = {
        "Fast & good": {0.1: Lags(20, 5, 50, 60), 0.5: Lags(100, 8, 1_500, 2_000)},
        "Slow": {0.1: "too late", 0.5: Lags(20, 1, 2, 3)},
    }
    made.spikes = {"Fast & good": CaughtUp(30, 200, 1.26), "Slow": "not within 120 s"}
    made.spikes |= {"Calm": CaughtUp(30, 40, 0), "Short": CaughtUp(30, 1_400, 0)}
    return made


def test_a_spread_keeps_the_round_with_the_most_wrong_rows() -> None:
    wrong = Comparison(10, 3, 2, 1)
    right = Comparison(10, 0, 0, 0)
    found = spread([Drained(50, right, 9), Drained(40, wrong, 9), Drained(60, wrong, 9)])
    assert found == (40, 50, 60, wrong, 9)


def test_the_page_names_every_contender_and_what_is_wrong() -> None:
    page = report.page(results(), ["2 cores"])
    assert page.startswith(report.METHOD)
    lines = page.splitlines()
    (slow, *_) = [line for line in lines if line.startswith("| Slow")]
    assert "WRONG: 3 of 10 rows" in slow
    assert "failed: it ended with 1" in slow
    assert "not measured" in slow
    assert "| Fast & good | 200 (100 to 300) |" in page
    assert "| Absent | not measured: there is no java at all |" in lines
    assert "| Slow | 300 | 7 | 2 | 1 | WRONG: 3 of 10 rows |" in lines
    assert "| Slow | not measured | 45* (40 to 50); WRONG: 3 of 10 rows |" in page
    assert "| Fast & good | 20/s: 5 / 50 / 60 | 100/s: 8 / 1,500 / 2,000 |" in lines
    assert "| Slow | failed: too late | 20/s: 1 / 2 / 3 |" in lines
    assert "| Fast & good | 30 ms | 200 ms | after 1.3 s |" in lines
    assert "| Calm | 30 ms | 40 ms | always |" in lines
    assert "| Short | 30 ms | 1,400 ms | before its end |" in lines
    assert "| Slow |  |  | failed: not within 120 s |" in lines
    assert "Used: 500." in page
    assert "- 2 cores" in lines
    (others,) = [part for part in page.split("\n\n") if part.startswith("| Contender | 5 million")]
    assert "| Fast & good |" in others
    assert "| Slow |" not in others
    text = report.terminal(results(), ["2 cores"])
    assert "Absent: not measured: there is no java" in text
    assert "WRONG: 3 of 10 rows" in text


def test_each_table_has_as_many_columns_as_its_head() -> None:
    tables = [
        [line for line in part.splitlines() if line.startswith("|")]
        for part in report.page(results(), []).split("\n\n")
    ]
    for table in tables:
        assert len({line.count("|") for line in table}) <= 1


def test_every_group_of_shapes_has_a_plot() -> None:
    page = report.page(results(), [])
    assert list(report.groups(SHAPES)) == ["spread", "hot", "mirrored", "sizes", "partitions"]
    for group, shapes in report.groups(SHAPES).items():
        assert f"(images/benchmark-{group}.svg)" in page
        drawn = plot.plot(results(), shapes)
        texts = [each.text for each in ET.fromstring(drawn).iter() if each.text]
        assert "Fast & good" in texts
        assert "200" in texts
        assert [shape.title for shape in shapes] == [
            text for text in texts if text in {shape.title for shape in SHAPES}
        ]


def test_a_plot_leaves_out_who_has_no_part_in_its_shapes() -> None:
    drawn = plot.plot(results(), [BY_NAME["large"], BY_NAME["long"]])
    assert "Fast &amp; good" in drawn
    assert "Slow" not in drawn


def test_wrong_rows_and_missing_rates_are_seen_in_the_plot() -> None:
    drawn = plot.plot(results(), [BY_NAME["half"], BY_NAME["zipf"]])
    assert "45 WRONG" in drawn
    assert "not measured" in drawn


def test_the_plot_of_lags_names_every_contender_that_has_one() -> None:
    found = report.lag_curves(results())
    assert found == [
        plot.Curve("Fast & good", [(20, 50), (100, 1_500)]),
        plot.Curve("Slow", [(20, 2)]),
    ]
    drawn = ET.fromstring(plot.curves(found))
    assert {"Fast & good", "Slow", "10,000", "100"} <= {each.text for each in drawn.iter()}
    places = [each for each in drawn.iter() if each.tag.endswith("circle")]
    assert len(places) == 3
    for each in places:
        assert plot.SIDE <= float(each.attrib["cx"]) <= plot.WIDTH
        assert plot.ABOVE <= float(each.attrib["cy"]) <= plot.ABOVE + plot.HIGH


def test_the_scale_begins_at_zero_and_ends_at_its_highest_value() -> None:
    assert plot.x_of(0, 400) == plot.LEFT
    assert plot.x_of(400, 400) == plot.WIDTH - plot.RIGHT
    assert plot.x_of(200, 400) == (plot.LEFT + plot.WIDTH - plot.RIGHT) / 2


@pytest.mark.parametrize(
    ("value", "scale"), [(1, 1), (3, 4), (10, 10), (301, 400), (601, 800), (27_900, 40_000)]
)
def test_a_scale_ends_at_a_round_number(value: float, scale: float) -> None:
    assert round_up(value) == scale


def test_the_page_of_the_repository_has_the_method_of_the_benchmark() -> None:
    assert report.PAGE.read_text().startswith(report.METHOD)
