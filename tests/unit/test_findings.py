"""What is said to be wrong, and what is not."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from notify.findings.find import Bounds, find
from notify.findings.snapshot import (
    HotApp,
    HotRecord,
    LaneNow,
    LimitedApp,
    Snapshot,
    StreamNow,
    WorkerNow,
)

APP, OTHER, RECORD = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=9)
BOUNDS = Bounds(
    hot_share=0.2, hot_per_s=20, app_share=0.4, app_factor=3, refused_per_s=5, lag_s=30, stalled_s=10
)  # fmt: skip
STREAM = StreamNow(
    1, 0, 0.5, "host:7", log_end=100, planned=100, frontier=100, lag_s=0, unread_s=0, unheard_s=0,
    held_bytes=0, held_writes=0, paused=False, halted=None, ticked_ago_s=0.2,
)  # fmt: skip
LANE = LaneNow(0, writes=0, oldest_s=0, attempt=0, tasks=0, workers=1)
WORKER = WorkerNow("w1@host", seen_ago_s=1, idle_ago_s=0.5, active=1, processed=9, offline=False)
HOT = HotRecord(
    APP, RECORD, direct=60, mirrored=1_660, error=0, share=0.86, linked={"email": 41_200}
)
FLOOD = HotApp(APP, updates=1_700, mirrored=0, error=0, share=0.85, usual_per_s=10)
CALM = Snapshot(
    at=datetime(2026, 11, 23, tzinfo=UTC), seconds=20, messages=2_000, writes=2_000, mirrored=0,
    skipped=0, dead=0, streams=[STREAM], lanes=[LANE], workers=[WORKER], hot=[], hot_apps=[],
    limited=[], names={APP: "Closely", OTHER: "Other"}, watched_ago_s=1,
)  # fmt: skip


def kinds(snapshot: Snapshot) -> list[str]:
    return [finding.kind for finding in find(snapshot, BOUNDS)]


def test_nothing_is_wrong_with_a_calm_system() -> None:
    assert find(CALM, BOUNDS) == []


def test_the_culprit_is_named_with_its_app_and_why() -> None:
    (found,) = find(replace(CALM, hot=[HOT]), BOUNDS)
    assert found.text == (
        f"86 % of updates in the last 20 s belong to record {RECORD} of Closely: 41,200 devices "
        "linked to it by set email; 3 % of all are its own updates, 83 % are mirrored to it."
    )
    assert (found.level, found.app, found.record) == ("bad", APP, RECORD)
    assert found.path == f"/admin/notify/hot/?app={APP}&record={RECORD}"


@pytest.mark.parametrize(
    "hot",
    [
        replace(HOT, share=0.19),
        replace(HOT, direct=0, mirrored=399),
        replace(HOT, direct=0, mirrored=500, error=101),
        replace(HOT, skipped="all"),
        replace(HOT, skipped="mirrored"),
    ],
    ids=["small share", "too few", "too few for sure", "skipped", "mirrors skipped"],
)
def test_a_record_is_no_culprit(hot: HotRecord) -> None:
    assert find(replace(CALM, hot=[hot]), BOUNDS) == []


def test_skipping_mirrors_does_not_excuse_direct_updates() -> None:
    hot = replace(HOT, direct=1_600, mirrored=0, skipped="mirrored")
    assert kinds(replace(CALM, hot=[hot])) == ["hot_record"]


def test_a_flood_over_many_records_names_the_app() -> None:
    (found,) = find(
        replace(CALM, hot_apps=[FLOOD], hot=[replace(HOT, direct=20, mirrored=0, share=0.01)]),
        BOUNDS,
    )
    assert (found.kind, found.app, found.record) == ("hot_app", APP, None)
    assert "85 % of updates in the last 20 s come from Closely" in found.text
    assert found.path == f"/admin/notify/app/{APP}/change/"


@pytest.mark.parametrize(
    "flood",
    [replace(FLOOD, share=0.39), replace(FLOOD, usual_per_s=80), replace(FLOOD, updates=300)],
    ids=["small share", "as usual", "too few"],
)
def test_an_app_is_no_culprit(flood: HotApp) -> None:
    assert find(replace(CALM, hot_apps=[flood]), BOUNDS) == []


def test_where_one_row_explains_it_the_row_is_named_and_not_the_app() -> None:
    assert kinds(replace(CALM, hot=[HOT], hot_apps=[FLOOD])) == ["hot_record"]


@pytest.mark.parametrize(
    ("stream", "kind", "said"),
    [
        (replace(STREAM, halted="the log ended"), "halted", "Partition 0 is halted: the log ended"),
        (replace(STREAM, ticked_ago_s=None), "bridge_stalled", "never ticked"),
        (replace(STREAM, ticked_ago_s=11), "bridge_stalled", "11 s ago by host:7"),
        (
            replace(STREAM, lag_s=31, frontier=40),
            "lag",
            "31 s late in partition 0: 60 messages wait",
        ),
    ],
)
def test_a_stream_in_trouble(stream: StreamNow, kind: str, said: str) -> None:
    (found,) = find(replace(CALM, streams=[stream]), BOUNDS)
    assert found.kind == kind
    assert said in found.text


def test_lag_names_its_likely_cause() -> None:
    late = [replace(STREAM, lag_s=40)]
    alike = [replace(LANE, lane=n, writes=900) for n in range(4)]
    skewed = [*alike[:3], replace(LANE, lane=3, writes=9_000)]
    one = find(replace(CALM, streams=late, hot=[HOT]), BOUNDS)
    assert "One record of Closely takes 86 %" in one[-1].text
    (lane,) = find(replace(CALM, streams=late, lanes=skewed), BOUNDS)
    assert "Most of it waits in lane 03" in lane.text
    (all_,) = find(replace(CALM, streams=late, lanes=alike), BOUNDS)
    assert "more comes than the workers apply" in all_.text


@pytest.mark.parametrize(
    ("lane", "kind"),
    [
        (replace(LANE, writes=5, workers=0), "lane_unread"),
        (replace(LANE, writes=5, attempt=3, oldest_s=11), "lanes_stuck"),
    ],
)
def test_a_lane_in_trouble(lane: LaneNow, kind: str) -> None:
    assert kinds(replace(CALM, lanes=[lane])) == [kind]


@pytest.mark.parametrize(
    "lane",
    [
        replace(LANE, writes=5, workers=None),
        replace(LANE, writes=0, workers=0),
        replace(LANE, writes=5, attempt=2, oldest_s=11),
        replace(LANE, writes=5, attempt=3, oldest_s=9),
    ],
)
def test_a_lane_that_is_only_busy(lane: LaneNow) -> None:
    assert find(replace(CALM, lanes=[lane]), BOUNDS) == []


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        (replace(WORKER, seen_ago_s=11), "was last heard of 11 s ago"),
        (replace(WORKER, idle_ago_s=11), "has worked at 1 tasks for 11 s"),
    ],
)
def test_a_stalled_worker_is_named_though_others_work(worker: WorkerNow, said: str) -> None:
    (found,) = find(
        replace(
            CALM, workers=[worker, replace(WORKER, name="w2")], lanes=[replace(LANE, writes=3)]
        ),
        BOUNDS,
    )
    assert found.kind == "worker_stalled"
    assert said in found.text


def test_a_worker_that_said_that_it_stops_or_has_nothing_to_do_is_no_finding() -> None:
    gone = replace(WORKER, seen_ago_s=99, offline=True)
    idle = replace(WORKER, active=0, idle_ago_s=99)
    assert find(replace(CALM, workers=[gone, idle]), BOUNDS) == []


def test_no_worker_at_all_is_worse() -> None:
    waiting = [replace(LANE, writes=3, workers=None)]
    assert kinds(replace(CALM, workers=[], lanes=waiting)) == ["no_workers"]
    assert kinds(replace(CALM, workers=[], lanes=[LANE])) == []
    unwatched = replace(CALM, workers=[], lanes=waiting, watched_ago_s=None)
    assert kinds(unwatched) == ["unwatched"]


def test_dead_letters_and_nobody_watching() -> None:
    assert kinds(replace(CALM, dead=2)) == ["dead_letters"]
    assert kinds(replace(CALM, watched_ago_s=11)) == ["unwatched"]


def test_the_worst_is_said_first() -> None:
    snapshot = replace(
        CALM,
        dead=1,
        hot=[replace(HOT, share=0.3), replace(HOT, app=OTHER, share=0.5)],
        streams=[replace(STREAM, halted="why", lag_s=99)],
    )
    found = find(snapshot, BOUNDS)
    assert [each.kind for each in found] == [
        "halted",
        "hot_record",
        "hot_record",
        "lag",
        "dead_letters",
    ]
    assert found[1].app == OTHER


def test_an_app_that_is_refused_at_its_limit_is_named() -> None:
    limited = [LimitedApp(APP, "app_requests", 84_000), LimitedApp(OTHER, "record_updates", 99)]
    (found,) = find(replace(CALM, limited=limited), BOUNDS)
    assert found.text == (
        "4,200 requests a second of Closely are refused with 429, past its limit of requests a second."
    )
    assert (found.kind, found.level, found.app) == ("app_limited", "warn", APP)
    assert found.path == f"/admin/app/{APP}/usage/"


def test_a_partition_that_is_not_read_is_named_and_no_cause_is_invented_for_its_lag() -> None:
    stream = replace(STREAM, log_end=66_100, lag_s=40.0, unread_s=12.0)
    (found,) = find(replace(CALM, streams=[stream]), BOUNDS)
    assert (found.kind, found.level) == ("partition_unread", "bad")
    assert found.text.startswith(
        "Partition 0 is not read: Kafka has sent its bridge nothing for 12 s although 66,000 messages "
        "wait."
    )
    assert "host:7" in found.text


def test_a_partition_that_was_silent_for_a_moment_is_no_finding() -> None:
    assert find(replace(CALM, streams=[replace(STREAM, unread_s=10.0)]), BOUNDS) == []


def _silent(*bridges: str) -> Snapshot:
    """Two partitions of each of these bridges that Kafka has not answered, and one that it has."""
    silent = [
        replace(STREAM, partition=n, bridge=bridges[n // 2], unheard_s=40.0 + n) for n in range(4)
    ]
    return replace(CALM, streams=[*silent, replace(STREAM, partition=9, bridge="host:9")])


def test_a_bridge_that_kafka_does_not_answer_is_one_finding_with_its_partitions() -> None:
    (found,) = find(_silent("host:7", "host:7"), BOUNDS)
    assert (found.kind, found.level, found.key) == ("kafka_silent", "bad", "kafka_silent:host:7")
    assert found.text.startswith(
        "Kafka has not answered bridge host:7 for 40 s, so what waits in partitions 0, 1, 2, 3 is not "
        "known."
    )


def test_bridges_that_kafka_does_not_answer_are_told_apart_while_it_answers_one() -> None:
    keys = [found.key for found in find(_silent("host:7", "host:8"), BOUNDS)]
    assert keys == ["kafka_silent:host:7", "kafka_silent:host:8"]


def test_a_kafka_that_answers_no_bridge_is_one_finding() -> None:
    silent = _silent("host:7", "host:8")
    (found,) = find(replace(silent, streams=silent.streams[:4]), BOUNDS)
    assert found.key == "kafka_silent"
    assert found.text.startswith("Kafka has not answered any bridge for 40 s")


def test_a_silence_of_less_than_the_bound_is_no_finding() -> None:
    assert find(replace(CALM, streams=[replace(STREAM, unheard_s=29.9)]), BOUNDS) == []
    assert kinds(replace(CALM, streams=[replace(STREAM, unheard_s=30.0)])) == ["kafka_silent"]


def test_a_bridge_that_is_gone_is_not_said_to_be_silent_too() -> None:
    gone = replace(STREAM, unheard_s=60.0, ticked_ago_s=60.0)
    assert kinds(replace(CALM, streams=[gone])) == ["bridge_stalled"]
    assert kinds(replace(CALM, streams=[replace(gone, ticked_ago_s=10.0)])) == ["kafka_silent"]
    assert kinds(replace(CALM, streams=[replace(gone, ticked_ago_s=None)])) == ["bridge_stalled"]
