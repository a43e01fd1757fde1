"""A backlog, written straight to the topic, with its own account of what was sent.

Each update adds a random amount to its record's session count, so that a lost update and a doubled
one cannot cancel out, and sets `tags.n` to a number that rises with every update.
"""

import itertools
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Final

from kafka import KafkaProducer

from notify.domain.engine.lanes import partition_of
from notify.domain.records.patch import ADD, SET, Patch
from notify.domain.records.update import Update, encode

#: More than twice what all windows hold (four partitions, 20,000 offsets each), so that each partition
#: still has messages to read when its window is full.
UPDATES: Final = 160_000
APPS_A_PARTITION: Final = 2
RECORDS: Final = 4_000
#: The share of updates that go to one record.
HOT_SHARE: Final = 0.2
AMOUNT_MAX: Final = 1_000
#: How many updates `keep` writes at once.
PORTION: Final = 10_000
#: Longer than any fault of a row keeps Kafka away: then the producer still delivers.
PATIENCE_MS: Final = 180_000

#: A record of an app.
Target = tuple[str, str]


class Backlog:
    """Writes updates; `sent` is the sum that each record's session count must have in the end."""

    def __init__(self, servers: str, topic: str, *, partitions: int) -> None:
        self._topic = topic
        self._partitions = partitions
        self._dice = random.Random(7)
        self._numbers = itertools.count(1)
        self._servers = servers.split(",")
        apps = self._apps()
        self._targets = [(apps[n % len(apps)], self._uuid()) for n in range(RECORDS)]
        self._stopping = threading.Event()
        self._keeper: threading.Thread | None = None
        self._failed: BaseException | None = None
        self.sent: Counter[Target] = Counter()
        self.updates = 0
        #: For each partition the offset after the last update that was written to it.
        self.ends: dict[int, int] = {}

    @cached_property
    def _producer(self) -> KafkaProducer:
        return KafkaProducer(
            bootstrap_servers=self._servers,
            acks="all",
            linger_ms=20,
            batch_size=256 * 1024,
            max_block_ms=PATIENCE_MS,
            delivery_timeout_ms=PATIENCE_MS,
            metrics_enabled=False,
        )

    def _uuid(self) -> str:
        """Of version 4: one of version 8 is the id of an alias."""
        return str(uuid.UUID(int=self._dice.getrandbits(128), version=4))

    def _apps(self) -> list[str]:
        """The same number of apps for each partition."""
        found: dict[int, list[str]] = {partition: [] for partition in range(self._partitions)}
        while any(len(apps) < APPS_A_PARTITION for apps in found.values()):
            app = self._uuid()
            apps = found[partition_of(app, self._partitions)]
            if len(apps) < APPS_A_PARTITION:
                apps.append(app)
        return [app for apps in found.values() for app in apps]

    def write(self, updates: int = UPDATES) -> None:
        """Returns when Kafka has acked all of them. Raises KafkaError where it has not."""
        acks = []
        for number in itertools.islice(self._numbers, updates):
            is_hot = self._dice.random() < HOT_SHARE
            app, record = self._targets[0] if is_hot else self._dice.choice(self._targets)
            amount = self._dice.randint(1, AMOUNT_MAX)
            patch = Patch(False, {"tags.n": (SET, number), "session_count": (ADD, amount)})
            at = time.time_ns() // 1_000_000
            value = encode(Update(app, record, at, f"m{number}", kind="push", patch=patch))
            partition = partition_of(app, self._partitions)
            acks.append(self._producer.send(self._topic, value, partition=partition))
            self.sent[app, record] += amount
        self._producer.flush()
        for ack in acks:
            done = ack.get(timeout=0)
            self.ends[done.partition] = max(self.ends.get(done.partition, 0), done.offset + 1)
        self.updates += updates

    def keep(self, waiting: int, frontiers: Callable[[], Mapping[int, int]]) -> None:
        """Until `stop`, write more whenever fewer than `waiting` updates are not applied yet.

        The load saturates a machine of any speed, and draining it afterwards takes a bounded time.
        """

        def run() -> None:
            try:
                while not self._stopping.is_set():
                    applied = frontiers()
                    left = sum(
                        max(0, end - applied.get(partition, 0))
                        for partition, end in self.ends.items()
                    )
                    if left < waiting:
                        self.write(PORTION)
                    else:
                        self._stopping.wait(0.1)
            except BaseException as error:  # noqa: BLE001 - `stop` raises it
                self._failed = error

        self._stopping.clear()
        self._keeper = threading.Thread(target=run, daemon=True)
        self._keeper.start()

    def stop(self) -> None:
        """End `keep`; returns when Kafka has all that was sent. Raises what went wrong."""
        self._stopping.set()
        if self._keeper is not None:
            self._keeper.join(PATIENCE_MS / 1000)
            assert not self._keeper.is_alive(), "Kafka has not acked the load"
            self._keeper = None
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        """Drop the connection, if there is one."""
        self._stopping.set()
        if "_producer" in self.__dict__:
            self._producer.close(timeout=5)
