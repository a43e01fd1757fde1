"""`manage.py capacity`: the arithmetic, its errors and what docs/capacity.md shows; the model of a day."""

import json
import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from devstack import ROOT
from notify.domain.engine.lanes import LANES_MAX
from notify.management import capacity, exit_codes
from notify.management.capacity import (
    INPUTS,
    Basis,
    Costs,
    Figure,
    RedisBounds,
    figures,
    read_costs,
)
from notify.web import wiring
from tests.qa.benchmarks import capacity_plot
from tests.qa.benchmarks.capacity_check import cost_lines
from tests.qa.benchmarks.capacity_model import Machines, day, drain_rate, play

SHIPPED = read_costs()
#: Lines of the file of costs.
BRIDGE = f"bridge = {SHIPPED.cpu_us['bridge']:g}"
BUSY = f"busy = {SHIPPED.busy:g}"
LIMITS = RedisBounds(task_bytes=1_000_000, window_bytes=8_000_000)
CPU = {
    "web": 400,
    "web_batched": 100,
    "bridge": 50,
    "worker": 20,
    "postgres": 40,
    "kafka": 10,
    "redis": 5,
}
COSTS = Costs(CPU, 0.8, 400, "a test")
#: 10,000 updates/s on average, and half of the cores' time usable in all.
LOAD = {name: each.default or 0 for name, each in INPUTS.items()} | {
    "updates_per_day": 864e6,
    "peak": 4,
    "headroom": 0.375,
}
CHANGES = st.sampled_from(
    ["updates_per_day", "peak", "mirrored", "headroom", "replication", "rows", "update_bytes"]
)


def values(**changed: float) -> dict[str, float]:
    return {name: each.value for name, each in figures(LOAD | changed, COSTS, LIMITS).items()}


def called(*words: str) -> str:
    out = StringIO()
    call_command("capacity", *words, stdout=out)
    return out.getvalue()


def test_the_figures_of_a_load_computed_by_hand() -> None:
    assert values() == pytest.approx(
        {
            "rate_mean": 10_000,
            "rate_peak": 40_000,
            "cores_web": 25.6,  # 40,000 x 400 us = 16, / 0.625; busy is in web's costs
            "cores_bridge": 4,  # 40,000 x 50 us = 2, / 0.8 / 0.625
            "cores_worker": 1.6,
            "cores_postgres": 3.2,
            "cores_kafka": 2.4,  # three replicas
            "cores_redis": 0.4,
            "disk_kafka": 14_515.2,  # 10,000 x 3,600 x 168 x 500 x 3 / 0.625 bytes
            "disk_postgres": 160,
            "logs": 345.6,
            "installations": 1,
            "web_processes": 26,
            "bridges": 4,
            "partitions": 4,
            "worker_processes": 2,
            "lanes": 4,
            "sessions": 4 + 2 + 11 * 26 + 6,
            "redis_memory": 0.024,  # 4 partitions, 4 lanes of 1 MB each, 1.5
            "app_peak": 10_000,  # 20,000 x 0.8 x 0.625
        }
    )


def test_the_sessions_of_web_are_those_that_it_opens() -> None:
    # Also one for the list of apps, and two for counts.
    assert capacity.SESSIONS_PER_WEB == 1 + wiring.READ_SESSIONS + wiring.LOOKUP_SESSIONS + 2


def test_batches_cost_web_less_and_mirrors_cost_workers_and_postgresql_more() -> None:
    assert values(batched=0.5)["cores_web"] == pytest.approx(16)
    mirrored = values(mirrored=0.5)
    assert mirrored["cores_worker"] == pytest.approx(2.4)
    assert mirrored["cores_postgres"] == pytest.approx(4.8)
    assert mirrored["cores_bridge"] == pytest.approx(4)


def test_a_database_that_is_too_small_makes_more_installations() -> None:
    found = figures(LOAD | {"postgres_cores": 1}, COSTS, LIMITS)
    assert found["installations"].value == 4
    assert found["installations"].source == "cores of one PostgreSQL"
    assert found["bridges"].value == 1
    assert found["web_processes"].value == 7


def test_redis_has_one_thread_so_it_limits_too() -> None:
    found = figures(LOAD | {"updates_per_day": 864e7, "postgres_cores": 64}, COSTS, LIMITS)
    assert (
        found["installations"].value == 4
    )  # 4 cores of Redis; PostgreSQL's 32 are half of one server
    assert found["installations"].source == "one Redis has one thread"


def test_lanes_and_redis_stop_growing_at_their_limits() -> None:
    quick = Costs(CPU | {"redis": 0.001}, 0.8, 400, "a Redis that does not limit")
    large = LOAD | {"updates_per_day": 864e8, "postgres_cores": 1e4}
    assert figures(large, quick, LIMITS)["worker_processes"].value == 160
    assert figures(large, quick, LIMITS)["lanes"].value == LANES_MAX
    bounded = RedisBounds(task_bytes=1_000_000, window_bytes=2_000_000)
    held = figures(LOAD, COSTS, bounded)["redis_memory"].value
    assert held == pytest.approx(4 * 2e6 * 1.5 / 1e9)


def test_a_figure_is_measured_only_if_all_that_it_rests_on_is() -> None:
    def bases(**changed: float) -> dict[str, Basis]:
        return {name: each.basis for name, each in figures(LOAD | changed, COSTS, LIMITS).items()}

    assert bases()["cores_worker"] == bases()["cores_bridge"] == Basis.MEASURED
    assert bases(mirrored=0.1)["cores_worker"] == Basis.ASSUMED
    assert bases()["cores_kafka"] == Basis.ASSUMED
    assert bases(replication=1)["cores_kafka"] == Basis.MEASURED
    assert bases()["rate_peak"] == Basis.GIVEN


@given(CHANGES, st.floats(0, 0.9), st.floats(0, 0.9))
def test_more_load_never_needs_less(name: str, first: float, second: float) -> None:
    each = INPUTS[name]
    low, high = sorted((first, second))
    least = max(each.least, 1e-3) if each.is_open else each.least
    most = min(each.most, 1e12)
    less, more = (values(**{name: least + (most - least) * share}) for share in (low, high))
    for figure, value in less.items():
        if figure.startswith(("cores_", "disk_", "rate_", "logs", "installations")):
            assert more[figure] >= value, figure


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        *(("updates_per_day", text, "above 0") for text in ("0", "-5", "nan", "inf", "many", "")),
        *(("peak", text, "at least 1") for text in ("0.99", "-1", "x", "nan")),
        ("headroom", "1", "at most 0.95"),
        ("mirrored", "1.01", "at most 1"),
        ("batched", "-0.1", "at least 0"),
        ("replication", "0", "at least 1"),
        *((name, "0", "above 0") for name in ("rows", "row_bytes", "update_bytes")),
        *((name, "0", "above 0") for name in ("retention_hours", "postgres_cores")),
    ],
)
def test_a_wrong_number_is_refused_with_what_to_give(name: str, text: str, says: str) -> None:
    words = {"updates_per_day": "1e9"} | {name: text}
    with pytest.raises(CommandError, match=rf"{capacity.option(name)} is .*{says}") as raised:
        called(*(f"{capacity.option(key)}={value}" for key, value in words.items()))
    assert raised.value.returncode == exit_codes.USAGE


@pytest.mark.parametrize("name", INPUTS)
def test_every_bound_that_is_named_is_allowed_and_no_number_beyond(name: str) -> None:
    each = INPUTS[name]
    if not each.is_open:
        assert capacity.number(name, str(each.least)) == each.least
    assert capacity.number(name, str(each.most)) == each.most
    with pytest.raises(capacity.CapacityError):
        capacity.number(name, str(each.most * 1.01))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((BRIDGE, "bridge = 0"), r"set bridge in \[cpu_us\]"),
        ((BRIDGE, 'bridge = "30"'), r"set bridge in \[cpu_us\]"),
        ((BRIDGE, "bridge = true"), r"set bridge in \[cpu_us\]"),
        ((BRIDGE, "bridge = nan"), r"set bridge in \[cpu_us\]"),
        (("redis = 1\n", ""), r"set redis in \[cpu_us\]"),
        ((BUSY, "busy = 1.1"), r"set busy in \[share\].* at most 1;"),
        (("[bytes]", "[byte]"), r"set log_line in \[bytes\]"),
        (("[cpu_us]", "[cpu_us"), "Copy .*capacity.toml"),
    ],
)
def test_a_wrong_file_of_costs_is_refused(
    tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    text = capacity.COSTS.read_text()
    assert change[0] in text
    file = tmp_path / "costs.toml"
    file.write_text(text.replace(*change))
    with pytest.raises(CommandError, match=says):
        called("--updates-per-day=1e9", f"--costs={file}")


def test_a_missing_file_of_costs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot read the costs"):
        called("--updates-per-day=1e9", f"--costs={tmp_path / 'none'}")


def test_costs_of_ones_own_are_used(tmp_path: Path) -> None:
    file = tmp_path / "costs.toml"
    file.write_text(
        capacity.COSTS.read_text().replace(BRIDGE, f"bridge = {2 * SHIPPED.cpu_us['bridge']:g}")
    )
    words = ("--updates-per-day=1e9", "--json")
    ours, own = (json.loads(called(*words, *more)) for more in ((), (f"--costs={file}",)))
    before, after = (each["figures"]["cores_bridge"]["value"] for each in (ours, own))
    assert after == pytest.approx(2 * before)


@pytest.mark.parametrize(("per_s", "busy"), [(10_000, 0.6), (90_000, 1)])
def test_the_check_prints_lines_of_a_file_of_costs(
    tmp_path: Path, per_s: float, busy: float
) -> None:
    cpu_us = {"bridge": 50, "worker": 20, "postgres": 40.04, "kafka": 9.96, "redis": 0.04}
    lines = cost_lines(cpu_us, per_s, cores=2)
    file = tmp_path / "costs.toml"
    web = ("web = 400", "web_batched = 100")
    file.write_text("\n".join((lines[0], *web, *lines[1:], "[bytes]", "log_line = 400")))
    costs = read_costs(file)
    rounded = {"bridge": 50, "worker": 20, "postgres": 40, "kafka": 10, "redis": 0.1}
    assert costs.cpu_us == {**rounded, "web": 400, "web_batched": 100}
    assert costs.busy == busy


def test_the_check_prints_no_share_without_the_cost_of_every_part() -> None:
    assert cost_lines({"bridge": 50, "worker": 20}, 10_000, cores=2) == [
        "[cpu_us]",
        "bridge = 50.0",
        "worker = 20.0",
    ]


def test_json_has_every_figure_with_the_same_keys() -> None:
    data: dict[str, Any] = json.loads(called("--updates-per-day=1e9", "--json"))
    assert data.keys() == {"inputs", "costs", "figures"}
    assert data["inputs"].keys() == INPUTS.keys()
    assert data["costs"].keys() == {"cpu_us", "busy", "log_line_bytes", "source"}
    assert data["figures"].keys() == figures(LOAD, COSTS, LIMITS).keys()
    for figure in data["figures"].values():
        assert (
            figure.keys() == {"value", "unit", "basis", "source"} == {*Figure._fields} - {"title"}
        )
        assert figure["basis"] in {*Basis}


def test_the_document_shows_what_the_command_prints() -> None:
    text = (ROOT / "docs" / "capacity.md").read_text()
    command, shown = re.findall(
        r"```\nmanage\.py capacity (.+)\n```\n\n```\n(.+?)```", text, re.DOTALL
    )[0]
    assert shown == called(*command.split())


def test_the_document_lists_the_costs() -> None:
    text = (ROOT / "docs" / "capacity.md").read_text()
    costs = read_costs()
    for name, value in costs.cpu_us.items():
        assert re.search(rf"^\| `{name}` \| {value:g} \|", text, re.MULTILINE), name
    assert f"`busy` is {costs.busy:g}" in text


def test_the_plot_is_the_one_that_the_command_draws() -> None:
    number = re.compile(r"\d+(?:\.\d+)?")
    kept, drawn = capacity_plot.TARGET.read_text(), capacity_plot.svg(*capacity_plot.days())
    assert number.sub("", kept) == number.sub("", drawn)
    # Another machine's exp() may round a point to the next pixel.
    there, now = ([float(each) for each in number.findall(text)] for text in (kept, drawn))
    assert now == pytest.approx(there, abs=1)


SIZES = Machines(web=10, worker=10, postgres=10, partitions=[0.5, 0.5], bridges=1)


def machines(**changed: Any) -> Machines:
    return replace(SIZES, **changed)


def test_one_bridge_or_the_shared_cores_limit_a_drain() -> None:
    # One thread at 50 us, 0.8 of the time; then one core at 50 + 20 + 40 + 10 + 5 us.
    assert drain_rate(100_000, machines(), COSTS) == pytest.approx(16_000, rel=0.02)
    assert drain_rate(100_000, machines(shared=1), COSTS) == pytest.approx(6_400, rel=0.02)
    assert drain_rate(100_000, machines(worker=0.1), COSTS) == pytest.approx(4_000, rel=0.02)
    assert drain_rate(100_000, machines(postgres=0.1), COSTS) == pytest.approx(2_000, rel=0.02)


def test_the_model_loses_and_makes_nothing() -> None:
    rates = [9_000.0, 30_000.0, 50_000.0, 0.0, 100.0]
    steps = play(rates, machines(partitions=[0.9, 0.1], worker=0.2), COSTS)
    came = went = 0.0
    for step in steps:
        came += step.arrived - step.refused
        went += step.applied
        assert came == pytest.approx(went + step.backlog + step.held)
    assert steps[2].refused == pytest.approx(25_000)  # web has ten cores at 400 us
    assert steps[-1].lag_s > steps[0].lag_s


def test_the_window_is_bounded_and_the_log_has_the_rest() -> None:
    steps = play([20_000.0] * 60, machines(worker=0.01, bridges=2), COSTS)
    assert max(step.held for step in steps) == pytest.approx(2 * 20_000)
    assert steps[-1].backlog > 1_000_000


def test_a_day_has_the_mean_and_the_peak_that_were_asked_for() -> None:
    rates = day(1_000, 10, step_s=5)
    assert sum(rates) / len(rates) == pytest.approx(1_000)
    assert max(rates) == pytest.approx(10_000, rel=0.001)
    with pytest.raises(ValueError, match="peak: give a number"):
        day(1_000, 10_000)


def test_sized_for_the_peak_a_day_has_no_lag_and_sized_for_less_it_catches_up() -> None:
    full, small = capacity_plot.days()
    assert max(step.lag_s for step in full) == 0
    assert max(step.lag_s for step in small) > 60
    assert small[-1].lag_s == 0
    assert sum(step.refused for step in (*full, *small)) == pytest.approx(0, abs=1e-6)
