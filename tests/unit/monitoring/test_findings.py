"""What is said to be wrong, and what is not."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from devstack import ROOT
from notify.domain.engine.stream import upgrade_reason
from notify.monitoring.findings import (
    CURES,
    KINDS,
    PANELS,
    POSTGRES_AWAY,
    WHAT_TO_TYPE,
    FindingBounds,
    cure_of,
    find,
)
from notify.monitoring.link_limits import FullLinks
from notify.monitoring.partition_state import ABOUT, PartitionState, StreamNow
from notify.monitoring.snapshot import (
    HotApp,
    HotRecord,
    LaneNow,
    LeftOutOfApp,
    LimitedApp,
    RefusedLinks,
    Snapshot,
    Unavailability,
    WorkerNow,
)
from tests.streams_now import STREAM

LATE = (
    "Updates are applied 31 s late in partition 0: 60 messages wait. The number does not fall, and all lanes "
    "wait alike: more updates arrive than workers apply."
)
APP, OTHER, RECORD = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=9)
BOUNDS = FindingBounds(
    hot_share=0.2, hot_per_s=20, app_share=0.4, app_per_s=50, app_factor=3, refused_per_s=5,
    links_refused_per_s=5, left_out_per_s=5, lag_s=30,
    stalled_s=10, start_s=30, unavailable_per_s=1, unavailable_s=10,
)  # fmt: skip
LANE = LaneNow(0, writes=0, oldest_s=0, attempt=0, tasks=0, workers=1)
WORKER = WorkerNow("w1@host", seen_ago_s=1, idle_ago_s=0.5, active=1, processed=9, offline=False)
HOT = HotRecord(
    APP, RECORD, direct=60, mirrored=1_660, error=0, share=0.86, per_s=86, linked={"email": 41_200}
)
FLOOD = HotApp(APP, updates=1_700, mirrored=0, error=0, share=0.85, per_s=85, usual_per_s=10)
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
        f"86 % of updates in the last 20 s belong to record {RECORD} of Closely: 41,200 devices are "
        "linked to it by email address. Its own updates are 3 % of all, updates mirrored to it are 83 %."
    )
    assert (found.level, found.app, found.record) == ("bad", APP, RECORD)
    assert found.path == f"/admin/notify/hot/?app={APP}&record={RECORD}"


@pytest.mark.parametrize(
    "hot",
    [
        replace(HOT, share=0.19),
        replace(HOT, per_s=19.9),
        replace(HOT, direct=0, mirrored=500, error=101, per_s=25),
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
    [
        replace(FLOOD, share=0.39),
        replace(FLOOD, usual_per_s=80),
        replace(FLOOD, per_s=49),
        replace(FLOOD, error=900),
    ],
    ids=["small share", "as usual", "too few", "too few for sure"],
)
def test_an_app_is_no_culprit(flood: HotApp) -> None:
    assert find(replace(CALM, hot_apps=[flood]), BOUNDS) == []


def test_where_one_row_explains_it_the_row_is_named_and_not_the_app() -> None:
    assert kinds(replace(CALM, hot=[HOT], hot_apps=[FLOOD])) == ["hot_record"]


def test_a_catch_up_accuses_nobody() -> None:
    """N7: 265 a second are decided of what came 30 a second while the bridge was away."""
    drained = replace(FLOOD, updates=5_300, share=0.98, per_s=30, usual_per_s=0)
    assert find(replace(CALM, hot_apps=[drained], hot=[replace(HOT, per_s=6)]), BOUNDS) == []


@pytest.mark.parametrize(
    ("stream", "kind", "said"),
    [
        (
            replace(STREAM, halted="the log ended"),
            "halted",
            "Partition 0 is halted: the log ended.",
        ),
        (
            replace(STREAM, ticked_ago_s=None),
            "stalled",
            "Partition 0 is stalled: no bridge has ever been active.",
        ),
        (
            replace(STREAM, ticked_ago_s=11),
            "stalled",
            "Partition 0 is stalled: no bridge has been active for 11 s; the last one was bridge host:7.",
        ),
        (
            replace(STREAM, waiting_s=11, planned=120),
            "stuck",
            (
                "Partition 0 is stuck: decided updates at offset 100 of partition 0 have not been "
                "applied for 11 s."
            ),
        ),
        (
            replace(STREAM, lag_s=None, ago_s=12),
            "unknown",
            f"Partition 0 is unknown: {ABOUT[PartitionState.UNKNOWN].meaning}.",
        ),
        (
            replace(STREAM, lag_s=31, frontier=40, lag_messages_before=60),
            "lag",
            LATE,
        ),
    ],
)
def test_a_stream_in_trouble(stream: StreamNow, kind: str, said: str) -> None:
    (found,) = find(replace(CALM, streams=[stream]), BOUNDS)
    assert (found.kind, found.text, found.level, found.opens) == (kind, said, "bad", True)
    assert found.path == f"/admin/#{'lanes' if kind == 'stuck' else 'partitions'}"
    assert found.cure


def test_a_start_is_shown_and_opens_no_alert() -> None:
    """N6: at every fresh start there were eight."""
    new = [replace(STREAM, partition=n, ticked_ago_s=None, starting_s=4.0) for n in range(8)]
    (found,) = find(replace(CALM, streams=new), BOUNDS)
    assert (found.kind, found.level, found.opens) == ("starting", "warn", False)
    assert (
        found.text
        == "Partitions 0-7 are starting: no bridge is active yet; the start began 4 s ago."
    )
    (found,) = find(replace(CALM, streams=[replace(new[0], starting_s=31.0)]), BOUNDS)
    assert (found.kind, found.opens) == ("stalled", True)


def test_a_frozen_bridge_is_one_finding_that_names_it() -> None:
    """N6: there were eight alerts; what was sampled before is not held against lanes and partitions."""
    frozen = [
        replace(
            STREAM, partition=n, ticked_ago_s=20, planned=300, waiting_s=19, log_end=None, lag_s=None,
            unread_s=None, unheard_s=None, held_bytes=None, held_writes=None, paused=None,
        )
        for n in range(4)
    ]  # fmt: skip
    (found,) = find(replace(CALM, streams=frozen, lanes=[]), BOUNDS)
    assert (found.kind, found.key) == ("stalled", "stalled")
    assert found.text.startswith("Partitions 0-3 are stalled: no bridge has been active for 20 s;")
    assert "host:7" in found.text
    other = replace(STREAM, partition=9, bridge="host:8")
    (found,) = find(replace(CALM, streams=[*frozen, other], lanes=[]), BOUNDS)
    assert found.key == "stalled:host:7"


def test_dead_workers_are_one_finding_that_names_them() -> None:
    """N6: there were eleven alerts, one of which said that more comes than the workers apply."""
    stuck = [
        replace(STREAM, partition=n, waiting_s=40, lag_s=49, planned=300, lag_messages_before=0)
        for n in range(4)
    ]
    lanes = [replace(LANE, lane=n, writes=9, attempt=5, oldest_s=48, workers=0) for n in range(8)]
    dead = [replace(WORKER, name=f"w{n}", seen_ago_s=40.0 + n) for n in range(5)]
    (found,) = find(replace(CALM, streams=stuck, lanes=lanes, workers=dead), BOUNDS)
    assert (found.kind, found.level) == ("no_workers", "bad")
    assert found.text == (
        "No worker applies updates: 72 writes wait. Worker w0 has been silent for 40 s; Worker w1 has "
        "been silent for 41 s; Worker w2 has been silent for 42 s; and 2 more."
    )
    assert "celery" in found.cure
    (found,) = find(replace(CALM, streams=stuck, lanes=lanes, workers=[]), BOUNDS)
    assert found.text == "No worker applies updates: 72 writes wait. No worker runs."


def test_what_follows_from_redis_being_away_is_not_told() -> None:
    stuck = replace(STREAM, waiting_s=40, lag_s=49, planned=300, lag_messages_before=0)
    lanes = [replace(LANE, writes=9, attempt=5, oldest_s=48, workers=0)]
    away = replace(CALM, streams=[stuck], lanes=lanes, workers=[], redis_away_s=41.0)
    (found,) = find(away, BOUNDS)
    assert (found.kind, found.level) == ("redis_away", "bad")
    assert "for 41 s" in found.text
    assert kinds(replace(away, redis_away_s=9.0)) == ["no_workers"]
    assert "redis_away" not in kinds(replace(away, watched_ago_s=11))


def test_partitions_that_halt_for_one_reason_are_one_finding() -> None:
    halted = [replace(STREAM, partition=n, halted="bad deploy") for n in (1, 2, 3, 7)]
    (found,) = find(replace(CALM, streams=halted), BOUNDS)
    assert found.text == "Partitions 1-3, 7 are halted: bad deploy."
    two = find(replace(CALM, streams=[*halted, replace(STREAM, halted="another")]), BOUNDS)
    assert [each.kind for each in two] == ["halted", "halted"]


def test_a_halt_that_ends_by_itself_is_not_to_be_resumed() -> None:
    halted = [
        replace(STREAM, halted=reason) for reason in ("bad deploy", upgrade_reason(7, 2, reads=1))
    ]
    by_hand, by_itself = (find(replace(CALM, streams=[each]), BOUNDS)[0] for each in halted)
    assert "stream resume" in by_hand.cure
    assert by_itself.cure == ""
    assert "Upgrade all bridges" in by_itself.text


def test_a_catch_up_is_shown_and_opens_no_alert() -> None:
    late = replace(STREAM, lag_s=60, frontier=40, lag_messages_before=2_060)
    (found,) = find(replace(CALM, streams=[late]), BOUNDS)
    assert (found.kind, found.level, found.opens) == ("lag", "warn", False)
    assert found.text.endswith("The backlog shrinks: 2,000 fewer than ten seconds ago.")
    (found,) = find(replace(CALM, streams=[replace(late, lag_messages_before=None)]), BOUNDS)
    assert (found.level, found.opens) == ("warn", False)
    (found,) = find(replace(CALM, streams=[replace(late, lag_messages_before=60)]), BOUNDS)
    assert (found.level, found.opens) == ("bad", True)


def test_lag_names_its_likely_cause() -> None:
    late = [replace(STREAM, lag_s=40)]
    alike = [replace(LANE, lane=n, writes=900) for n in range(4)]
    skewed = [*alike[:3], replace(LANE, lane=3, writes=9_000)]
    culprit, lag = find(replace(CALM, streams=late, hot=[HOT]), BOUNDS)
    assert (culprit.kind, culprit.opens) == ("hot_record", True)
    assert "One record of Closely gets 86 % of all updates." in lag.text
    assert not lag.opens  # the record is told: it is one cause
    (lane,) = find(replace(CALM, streams=late, lanes=skewed), BOUNDS)
    assert "Most of them wait in lane 03" in lane.text
    (all_,) = find(replace(CALM, streams=late, lanes=alike), BOUNDS)
    assert "more updates arrive than workers apply" in all_.text


def test_lanes_that_no_worker_reads_are_one_finding() -> None:
    lanes = [replace(LANE, lane=n, writes=5, workers=0) for n in (3, 5)]
    stuck = [replace(STREAM, waiting_s=20, planned=200)]
    (found,) = find(replace(CALM, lanes=lanes, streams=stuck), BOUNDS)
    assert (found.kind, found.text) == (
        "lane_unread",
        "No worker reads lanes 03, 05: 10 writes wait.",
    )


def test_the_lanes_that_hold_a_stuck_partition_are_named() -> None:
    held = replace(LANE, lane=3, writes=5, attempt=4, oldest_s=21)
    stuck = [replace(STREAM, partition=n, waiting_s=20, planned=200) for n in (0, 1)]
    (found,) = find(replace(CALM, lanes=[held, LANE], streams=stuck), BOUNDS)
    assert found.kind == "stuck"
    assert found.text.endswith(
        "for 20 s. They wait in lane 03: their batch was sent 4 times, and the oldest update is 21 s old."
    )
    unread = replace(LANE, lane=5, writes=5, workers=0)
    both = kinds(replace(CALM, lanes=[held, unread], streams=stuck))
    assert both == ["stuck", "lane_unread"]


@pytest.mark.parametrize(
    "lane",
    [
        replace(LANE, writes=5, workers=None),
        replace(LANE, writes=0, workers=0),
        replace(LANE, writes=5, attempt=3, oldest_s=9),
    ],
)
def test_a_lane_that_is_only_busy(lane: LaneNow) -> None:
    assert find(replace(CALM, lanes=[lane]), BOUNDS) == []


@pytest.mark.parametrize(
    ("worker", "said"),
    [
        (replace(WORKER, seen_ago_s=13), "Worker w1@host has been silent for 13 s"),
        (
            replace(WORKER, idle_ago_s=13),
            "Worker w1@host has finished no task for 13 s (1 running)",
        ),
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
    assert found.text == f"{said}. 1 of 2 work."


def test_one_of_two_that_fall_silent_together_is_not_named_before_both() -> None:
    """Their last signs of life are up to a heartbeat apart: that is one cause, and no_workers tells it."""
    first, second = replace(WORKER, seen_ago_s=11.5), replace(WORKER, name="w2", seen_ago_s=9.6)
    assert kinds(replace(CALM, workers=[first, second])) == []
    assert kinds(replace(CALM, workers=[first, replace(second, seen_ago_s=10.1)])) == ["no_workers"]


def test_workers_are_not_judged_by_what_a_watcher_saw_that_is_gone() -> None:
    silent = replace(WORKER, seen_ago_s=99)
    assert kinds(replace(CALM, workers=[silent], watched_ago_s=98)) == ["unwatched"]


def test_a_worker_that_said_that_it_stops_or_has_nothing_to_do_is_no_finding() -> None:
    gone = replace(WORKER, seen_ago_s=99, offline=True)
    idle = replace(WORKER, active=0, idle_ago_s=99)
    assert find(replace(CALM, workers=[gone, idle]), BOUNDS) == []


def test_no_worker_at_all_is_found_once_something_waits_for_one() -> None:
    waiting = [replace(STREAM, planned=300, waiting_s=11)]
    assert kinds(replace(CALM, workers=[], streams=waiting)) == ["no_workers"]
    assert kinds(replace(CALM, workers=[], streams=[replace(waiting[0], waiting_s=9)])) == []
    assert kinds(replace(CALM, workers=[])) == []
    unwatched = replace(CALM, workers=[], streams=waiting, watched_ago_s=None)
    assert kinds(unwatched) == ["stuck", "unwatched"]


def test_dead_letters_and_nobody_watching() -> None:
    assert kinds(replace(CALM, dead=2)) == ["dead_letters"]
    assert kinds(replace(CALM, watched_ago_s=11)) == ["unwatched"]


def test_the_worst_is_said_first() -> None:
    snapshot = replace(
        CALM,
        dead=1,
        hot=[replace(HOT, share=0.3), replace(HOT, app=OTHER, share=0.5)],
        streams=[replace(STREAM, halted="why"), replace(STREAM, partition=1, lag_s=99)],
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
        "4,200 requests a second of Closely are refused with 429: they exceed the app's limit of "
        "requests a second."
    )
    assert (found.kind, found.level, found.app) == ("app_limited", "warn", APP)
    assert found.path == f"/admin/app/{APP}/usage/"


AT_LIMIT = FullLinks("email", 100, 100, is_own=False)
LINKS = RefusedLinks(APP, "link_limit", 1_100, RECORD, AT_LIMIT)


def test_an_app_whose_links_are_refused_is_named_with_record_label_and_limit() -> None:
    (found,) = find(replace(CALM, refused_links=[LINKS]), BOUNDS)
    assert found.text == (
        f"55 links a second of Closely are refused, most of them to record {RECORD}: 100 are linked "
        "to it by email, "
        "the limit is 100 (the limit of all apps)."
    )
    assert (found.kind, found.level, found.app, found.record) == (
        "links_refused",
        "warn",
        APP,
        RECORD,
    )
    assert found.path == f"/admin/hot/limit/{APP}/email/?record={RECORD}"
    assert "Set limit…" in found.cure
    assert found.opens


def test_a_limit_that_somebody_chose_for_the_app_is_shown_and_opens_no_alert() -> None:
    full = replace(AT_LIMIT, is_own=True)
    (found,) = find(replace(CALM, refused_links=[replace(LINKS, full=full)]), BOUNDS)
    assert found.text.endswith("the limit is 100 (set for this app).")
    assert not found.opens


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (
            replace(LINKS, full=None),
            f"most of them to record {RECORD}, which is below its limit now.",
        ),
        (
            replace(LINKS, record=None, full=None),
            "are refused, for more records than the list holds.",
        ),
    ],
    ids=["raised since", "unlisted"],
)
def test_where_no_limit_explains_it_the_apps_limits_are_shown(
    refused: RefusedLinks, text: str
) -> None:
    (found,) = find(replace(CALM, refused_links=[refused]), BOUNDS)
    assert found.text.endswith(text)
    assert found.path == f"/admin/app/{APP}/usage/"


def test_refused_aliases_are_a_finding_of_their_own() -> None:
    aliases = replace(LINKS, reason="alias_limit", full=replace(AT_LIMIT, label="alias"))
    first, second = find(replace(CALM, refused_links=[LINKS, aliases]), BOUNDS)
    assert first.key != second.key
    assert second.text.startswith("55 aliases a second of Closely are refused")
    assert second.path == f"/admin/hot/limit/{APP}/alias/?record={RECORD}"


def test_an_app_whose_values_are_left_out_is_named() -> None:
    left_out = [LeftOutOfApp(APP, "tag", 82_000), LeftOutOfApp(OTHER, "name", 99)]
    (found,) = find(replace(CALM, left_out=left_out), BOUNDS)
    assert found.text == (
        "4,100 values a second are left out of requests of Closely, most of the kind tag: they exceed a "
        "limit or cannot be stored."
    )
    assert (found.kind, found.level, found.app) == ("left_out", "warn", APP)
    assert found.path == f"/admin/app/{APP}/usage/"


def test_a_few_refused_links_are_no_finding() -> None:
    assert find(replace(CALM, refused_links=[replace(LINKS, n=99)]), BOUNDS) == []


def test_a_partition_that_is_not_read_is_named_and_no_cause_is_invented_for_its_lag() -> None:
    stream = replace(STREAM, log_end=66_100, lag_s=40.0, unread_s=12.0)
    (found,) = find(replace(CALM, streams=[stream]), BOUNDS)
    assert (found.kind, found.level) == ("unread", "bad")
    assert found.text == (
        "Partition 0 is unread: Kafka has sent no messages to bridge host:7 for 12 s, although "
        "66,000 messages wait."
    )


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
    assert (found.kind, found.level, found.key) == ("unheard", "bad", "unheard:host:7")
    assert found.text == (
        "Partitions 0-3 are unheard: Kafka has not answered bridge host:7 for 40 s, so the lag is "
        "unknown."
    )


def test_bridges_that_kafka_does_not_answer_are_told_apart_while_it_answers_one() -> None:
    keys = [found.key for found in find(_silent("host:7", "host:8"), BOUNDS)]
    assert keys == ["unheard:host:7", "unheard:host:8"]


def test_a_kafka_that_answers_no_bridge_is_one_finding() -> None:
    silent = _silent("host:7", "host:8")
    (found,) = find(replace(silent, streams=silent.streams[:4]), BOUNDS)
    assert (found.kind, found.key, found.level) == ("kafka_away", "kafka_away", "bad")
    assert "Kafka has not answered bridge host:7, host:8 for 40 s" in found.text


def test_a_silence_of_less_than_the_bound_is_no_finding() -> None:
    assert find(replace(CALM, streams=[replace(STREAM, unheard_s=29.9)]), BOUNDS) == []
    assert kinds(replace(CALM, streams=[replace(STREAM, unheard_s=30.0)])) == ["kafka_away"]


def test_a_bridge_that_is_gone_is_not_said_to_be_silent_too() -> None:
    gone = replace(STREAM, unheard_s=60.0, ticked_ago_s=60.0)
    assert kinds(replace(CALM, streams=[gone])) == ["stalled"]
    assert kinds(replace(CALM, streams=[replace(gone, ticked_ago_s=10.0)])) == ["kafka_away"]
    assert kinds(replace(CALM, streams=[replace(gone, ticked_ago_s=None)])) == ["stalled"]


UNHEARD = "Kafka has not answered bridge host:7 for 31 s, so the lag is unknown"
NO_ACKS = Unavailability("kafka_away", n=400, lasting_s=20, ago_s=0.5)
FULL = Unavailability("overloaded", n=300, lasting_s=15, ago_s=0.5)


@pytest.mark.parametrize(
    ("unheard_s", "said"),
    [
        (0.5, "It answers the bridges: check the network between web and Kafka."),
        (12.0, "It has not answered any bridge for 12 s either."),
        (
            31.0,
            f"Partition 0 is unheard: {UNHEARD}.",
        ),
    ],
)
def test_a_kafka_that_is_away_is_one_finding_whoever_notices_it(
    unheard_s: float, said: str
) -> None:
    streams = [replace(STREAM, unheard_s=unheard_s)]
    (found,) = find(replace(CALM, streams=streams, unavailable=[NO_ACKS, FULL]), BOUNDS)
    assert (found.kind, found.level, found.opens) == ("kafka_away", "bad", True)
    assert found.text == (
        "Web has answered 503 to 40 requests a second for 20 s, because Kafka does not ack their updates. "
        + said
    )
    assert "KAFKA_BOOTSTRAP_SERVERS" in found.cure


def test_kafka_that_leaves_one_bridge_without_an_answer_and_web_too_is_one_finding() -> None:
    silent = replace(_silent("host:7", "host:7"), unavailable=[NO_ACKS])
    (found,) = find(silent, BOUNDS)
    assert found.kind == "kafka_away"
    assert "Partitions 0-3 are unheard" in found.text


def test_a_bridge_that_cannot_start_because_kafka_is_away_opens_nothing() -> None:
    streams = [replace(STREAM, ticked_ago_s=60)]
    found = find(replace(CALM, streams=streams, unavailable=[NO_ACKS]), BOUNDS)
    assert [(each.kind, each.opens) for each in found] == [
        ("kafka_away", True),
        ("stalled", False),
    ]


def test_web_that_refuses_for_another_reason_says_which() -> None:
    bug = Unavailability("bug", n=20, lasting_s=20, ago_s=1)
    (found,) = find(replace(CALM, unavailable=[FULL, bug]), BOUNDS)
    assert (found.kind, found.level, found.opens) == ("web_refuses", "bad", True)
    assert found.text == (
        "Web has answered 503 to 21 requests a second for 20 s: overloaded (20 requests a second), bug (1 "
        "request a second)."
    )
    assert "view_failed" in found.cure
    assert kinds(replace(CALM, unavailable=[NO_ACKS, bug])) == ["kafka_away", "web_refuses"]


@pytest.mark.parametrize(
    "refused",
    [
        replace(NO_ACKS, n=19),
        replace(NO_ACKS, lasting_s=9.9),
        replace(NO_ACKS, ago_s=5.1),
        replace(FULL, n=9, lasting_s=10),
    ],
    ids=["too few", "too short", "over", "too few, full"],
)
def test_a_few_requests_that_were_refused_are_no_finding(refused: Unavailability) -> None:
    assert find(replace(CALM, unavailable=[refused]), BOUNDS) == []


def test_every_kind_says_what_to_do_or_leads_to_buttons() -> None:
    with_buttons = {"hot_record", "hot_app", "app_limited"}
    assert set(KINDS) | {POSTGRES_AWAY} == set(CURES) | with_buttons
    assert set(PANELS) <= set(KINDS)
    assert {each.value for each in PartitionState} - set(KINDS) == {"ok", "draining"}


def test_a_cure_that_names_a_command_says_where_to_read_what_to_type() -> None:
    named = {kind for kind, cure in CURES.items() if "manage.py" in cure or "celery" in cure}
    assert named >= {"halted", "stalled", "stuck", "no_workers", "lag", "unwatched"}
    for kind, cure in CURES.items():
        assert cure_of(kind, "") == (f"{cure} {WHAT_TO_TYPE}" if kind in named else cure)
    page, _, heading = WHAT_TO_TYPE.removeprefix("What to type: ").partition(", ")
    assert f"\n## {heading.strip('“”.')}\n" in (ROOT / page).read_text()
