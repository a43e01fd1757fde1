"""Prepared updates, written straight to the topic: the same for everyone who drains them."""

import random
import time
import uuid
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from confluent_kafka import KafkaException, Message, Producer

from notify.domain.engine.lanes import partition_of
from notify.domain.records.patch import ADD, SET, Patch
from notify.domain.records.update import Update, encode
from tests.running import PARTITIONS

APPS: Final = 20
RECORDS: Final = 20_000
SEED: Final = 7
#: Seconds for the acks of what was sent last.
ACKS_S: Final = 30


class Target(NamedTuple):
    """A record of an app."""

    app: str
    record: str


def targets(updates: int, *, hot_share: float) -> Iterator[Target]:
    """Whom each update is for: any record alike, or so often one and the same."""
    dice = random.Random(SEED)
    apps = [str(uuid.UUID(int=dice.getrandbits(128))) for _ in range(APPS)]
    records = [
        Target(apps[number % APPS], str(uuid.UUID(int=dice.getrandbits(128), version=4)))
        for number in range(RECORDS)
    ]
    for _ in range(updates):
        yield records[0] if dice.random() < hot_share else dice.choice(records)


def message(
    target: Target,
    number: int,
    *,
    parent: str | None = None,
    notes: int = 0,
) -> bytes:
    """A tag is set and a session counted, now; and mirrored to the parent, if there is one. `notes` more tags
    of 80 characters each are set too."""
    more = {f"tags.note{place}": (SET, "n" * 80) for place in range(notes)}
    patch = Patch(False, {"tags.level": (SET, number), "session_count": (ADD, 1), **more})
    at = time.time_ns() // 1_000_000
    links = {} if parent is None else {"email": parent}
    return encode(
        Update(target.app, target.record, at, f"m{number}", kind="push", patch=patch, links=links)
    )


def partition(target: Target, partitions: int = PARTITIONS) -> int:
    """Where its updates belong."""
    return partition_of(target.app, partitions)


class Sender:
    """Sends to a topic by librdkafka, which leaves more of the processors to what is measured: kafka-python
    took 0.4 of a core at 1,000 updates a second."""

    def __init__(self, bootstrap: str, topic: str, *, linger_ms: int = 2) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "acks": "all",
                "linger.ms": linger_ms,
                "enable.idempotence": True,
            }
        )
        self._topic = topic
        self._acked: defaultdict[int, array[int]] = defaultdict(lambda: array("q"))

    def send(self, value: bytes, partition: int, key: bytes | None = None) -> None:
        """Sends without waiting for the ack. Waits while very many updates are not acked."""
        while True:
            try:
                self._producer.produce(
                    self._topic, value, key, partition=partition, on_delivery=self._note
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                break

    def acked(self) -> Mapping[int, Sequence[int]]:
        """Waits for all acks. The offsets by partition, in the order of sending. Raises TimeoutError."""
        left = self._producer.flush(ACKS_S)
        if left:
            raise TimeoutError(f"{left} updates were not acked within {ACKS_S} s")
        return self._acked

    def _note(self, error: object, sent: Message) -> None:
        if error is not None:
            raise KafkaException(error)
        number, offset = sent.partition(), sent.offset()
        assert number is not None, "an acked message has a partition"
        assert offset is not None, "an acked message has an offset"
        self._acked[number].append(offset)


def preload(bootstrap: str, topic: str, updates: int, *, hot_share: float) -> None:
    """Appends updates of `targets`. Returns when Kafka has them all."""
    append(bootstrap, topic, targets(updates, hot_share=hot_share))


def append(
    bootstrap: str, topic: str, chosen: Iterable[Target], *, parent: str | None = None
) -> None:
    """Appends an update of each, in this order. Returns when Kafka has them all."""
    sender = Sender(bootstrap, topic, linger_ms=50)
    for number, target in enumerate(chosen):
        sender.send(message(target, number, parent=parent), partition(target))
    sender.acked()
