"""Prepared updates, written straight to the topic: the same for everyone who drains them."""

import random
import time
import uuid
from collections.abc import Iterator
from typing import Final, NamedTuple

from kafka import KafkaProducer

from notify.domain.engine.lanes import partition_of
from notify.domain.records.patch import ADD, SET, Patch
from notify.domain.records.update import Update, encode
from tests.running import PARTITIONS

APPS: Final = 20
RECORDS: Final = 20_000
SEED: Final = 7


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


def producer(bootstrap: str, *, linger_ms: int) -> KafkaProducer:
    """A producer that waits for the broker's ack."""
    return KafkaProducer(
        bootstrap_servers=bootstrap.split(","),
        acks="all",
        linger_ms=linger_ms,
        batch_size=256 * 1024,
        metrics_enabled=False,
    )


def preload(bootstrap: str, topic: str, updates: int, *, hot_share: float) -> None:
    """Returns when Kafka has them all."""
    client = producer(bootstrap, linger_ms=50)
    for number, target in enumerate(targets(updates, hot_share=hot_share)):
        client.send(topic, message(target, number), partition=partition(target))
    client.flush()
    client.close()
