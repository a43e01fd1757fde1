"""Reads what the screen shows from PostgreSQL, Kafka and the machine."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import psutil
import psycopg
from kafka import KafkaConsumer, TopicPartition

_POSITIONS: Final = "SELECT partition, frontier, planned FROM stream ORDER BY partition"
_TOP: Final = """
    SELECT app.name, hot.record::text, record.identifier, sum(hot.direct), sum(hot.mirrored),
        sum(sum(hot.direct + hot.mirrored)) OVER ()
    FROM hot
    JOIN app ON app.id = hot.app
    LEFT JOIN record ON record.app = hot.app AND record.id = hot.record
    WHERE hot.bucket > now() - interval '20 seconds'
    GROUP BY 1, 2, 3
    ORDER BY sum(hot.direct + hot.mirrored) DESC
    LIMIT 1
"""
_LINKED: Final = "SELECT coalesce(sum(n), 0) FROM link_count WHERE parent = %s"
_WRITES: Final = """
    SELECT coalesce(sum(direct + mirrored), 0) FROM hot
    WHERE record = %s AND bucket > now() - interval '10 minutes'
"""


class Culprit(NamedTuple):
    """The record with the most writes in the last 20 seconds."""

    app: str
    record: str
    identifier: str
    share: float
    direct: int
    mirrored: int
    linked: int


@dataclass(slots=True)
class Sample:
    """The state of the stack at one moment; rates are since the sample before."""

    at: float = 0.0
    applied: int = 0
    rate: float = 0.0
    lag_messages: int = 0
    lag_s: float = 0.0
    cpu_percent: float = 0.0
    culprit: Culprit | None = None
    watched_per_s: float = 0.0


@dataclass(slots=True)
class Sampler:
    """Reads samples and keeps the last 60. `watch` is a record whose writes it counts."""

    dsn: str
    bootstrap: str
    topic: str
    watch: str = ""
    history: deque[Sample] = field(default_factory=lambda: deque(maxlen=60))
    _sql: psycopg.Connection[Any] | None = None
    _kafka: Any = None
    _watched: int = 0
    _ends: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=600))

    def read(self) -> Sample:
        """Reads a sample now."""
        if self._sql is None:
            self._sql = psycopg.connect(self.dsn, autocommit=True)
            self._kafka = KafkaConsumer(
                bootstrap_servers=self.bootstrap.split(","), group_id=None, metrics_enabled=False
            )
            psutil.cpu_percent()
        now = time.monotonic()
        positions = self._sql.execute(_POSITIONS).fetchall()
        applied = sum(frontier for _, frontier, _ in positions)
        end = self._end([partition for partition, _, _ in positions])
        before = self.history[-1] if self.history else Sample(at=now - 1, applied=applied)
        passed = max(now - before.at, 0.001)
        sample = Sample(
            at=now,
            applied=applied,
            rate=(applied - before.applied) / passed,
            lag_messages=max(0, end - applied),
            lag_s=self._lag_s(now, applied, end),
            cpu_percent=psutil.cpu_percent(),
            culprit=self._culprit(),
        )
        if self.watch:
            ((writes,),) = self._sql.execute(_WRITES, (self.watch,)).fetchall()
            sample.watched_per_s = max(0.0, (int(writes) - self._watched) / passed)
            self._watched = int(writes)
        self.history.append(sample)
        return sample

    def close(self) -> None:
        """Closes the connections."""
        if self._sql is not None:
            self._sql.close()
            self._kafka.close(autocommit=False)

    def _end(self, partitions: list[int]) -> int:
        at = [TopicPartition(self.topic, partition) for partition in partitions]
        return sum(self._kafka.end_offsets(at).values())

    def _lag_s(self, now: float, applied: int, end: int) -> float:
        """How long ago the log ended at the offset up to which updates are applied now."""
        self._ends.append((now, end))
        return next((now - then for then, end_then in self._ends if end_then > applied), 0.0)

    def _culprit(self) -> Culprit | None:
        assert self._sql is not None
        row = self._sql.execute(_TOP).fetchone()
        if row is None:
            return None
        app, record, identifier, direct, mirrored, total = row
        linked = self._sql.execute(_LINKED, (record,)).fetchall()[0][0]
        share = float(direct + mirrored) / float(total or 1)
        return Culprit(
            app, record, identifier or "", share, int(direct), int(mirrored), int(linked)
        )
