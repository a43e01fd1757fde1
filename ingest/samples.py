"""Takes samples of the bridge's streams for pages and alerts, and sets the metrics over all streams."""

from collections.abc import Iterable, Mapping
from heapq import nlargest

from ingest.assigned_partition import AssignedPartition
from ingest.counts import RANKS
from ingest.ports import AppRow, HotRow, LaneSample, Samples, StreamSample
from ingest.stream_memory import StreamMemory
from notify.domain.engine.window import Lane
from notify.domain.records.decide import Write
from notify.telemetry import metrics


def take(
    live: Iterable[tuple[AssignedPartition, StreamMemory]],
    ends: Mapping[int, int | None],
    now_ms: int,
) -> Samples:
    """Samples of these streams; resets their counts. `ends` are log ends by partition, `now_ms` is the
    bridge's clock."""
    records: list[HotRow] = []
    apps: list[AppRow] = []
    streams: list[StreamSample] = []
    lanes: list[LaneSample] = []
    for assigned, memory in live:
        if not memory.counts.now:
            continue
        hot_records, hot_apps = memory.counts.take_rows()
        records += hot_records
        apps += hot_apps
        of_lanes = _lanes(memory)
        lanes += of_lanes
        streams.append(_stream(assigned, memory, ends.get(assigned.partition), of_lanes, now_ms))
    return Samples(records, apps, streams, lanes)


def show(live: Iterable[StreamMemory]) -> None:
    """Sets the metrics over all streams."""
    largest: list[int] = []
    lanes: list[LaneSample] = []
    total = 0
    for memory in live:
        largest += memory.counts.largest()
        lanes += _lanes(memory)
        total += memory.counts.total
    _show_lanes(lanes)
    _show_ranks(largest, total)


def _stream(
    assigned: AssignedPartition,
    memory: StreamMemory,
    end: int | None,
    lanes: Iterable[LaneSample],
    now_ms: int,
) -> StreamSample:
    tally = memory.counts.take_tally()
    unread_ms = assigned.unread_ms(now_ms)
    return StreamSample(
        bucket=memory.counts.bucket,
        stream=memory.stream.id,
        log_end=end,
        planned=memory.stream.planned,
        frontier=memory.stream.frontier,
        lag_s=max(memory.age_ms(memory.counts.now), unread_ms) / 1000,
        unread_s=unread_ms / 1000,
        unheard_s=assigned.unheard_ms(now_ms) / 1000,
        held_bytes=memory.window.held_bytes,
        held_writes=sum(lane.writes for lane in lanes),
        paused=assigned.paused,
        messages=tally["messages"],
        accepted_s=tally["accepted_ms"] / 1000,
        writes=tally["writes"],
        mirrored=tally["mirrored"],
        skipped=tally["skipped"],
        dead=tally["dead"],
    )


def _lanes(memory: StreamMemory) -> list[LaneSample]:
    return [_lane(memory, number, lane) for number, lane in memory.window.lanes.items()]


def _lane(memory: StreamMemory, number: int, lane: Lane[Write]) -> LaneSample:
    oldest = lane.outstanding()
    at = None if oldest is None else memory.accepted_at(oldest)
    sent = memory.in_flight.get(number)
    return LaneSample(
        stream=memory.stream.id,
        lane=number,
        writes=lane.writes,
        oldest_s=0.0 if at is None else max(0, memory.counts.now - at) / 1000,
        attempt=0 if sent is None else sent.attempt,
    )


def _show_ranks(largest: list[int], total: int) -> None:
    ranked = [*nlargest(RANKS, largest), *[0] * RANKS][:RANKS]
    for rank, updates in enumerate(ranked, start=1):
        share = updates / total if total else 0.0
        metrics.BRIDGE_HOT_SHARE.labels(rank=str(rank)).set(share)


def _show_lanes(lanes: Iterable[LaneSample]) -> None:
    writes: dict[int, int] = {}
    oldest: dict[int, float] = {}
    for lane in lanes:
        writes[lane.lane] = writes.get(lane.lane, 0) + lane.writes
        oldest[lane.lane] = max(oldest.get(lane.lane, 0.0), lane.oldest_s)
    metrics.BRIDGE_LANE_WRITES.clear()
    metrics.BRIDGE_LANE_SECONDS.clear()
    for number, n in writes.items():
        metrics.BRIDGE_LANE_WRITES.labels(lane=f"{number:02d}").set(n)
        metrics.BRIDGE_LANE_SECONDS.labels(lane=f"{number:02d}").set(oldest[number])
