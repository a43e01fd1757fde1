"""Where an update goes: the partition of its app, and the lane of its record.

Both are CRC-32 hashes of UUID bytes, so they are the same on every machine and in every process, unlike
Python's salted `hash`. The hash of the lane has more input than that of the partition, so the two do not
correlate.
"""

import re
from functools import lru_cache
from typing import Final
from zlib import crc32

#: The number of lanes on whose queues workers listen, however many the streams use now.
LANES_MAX: Final = 64

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_uuid(text: object) -> bool:
    """Whether `text` is a UUID in lower case and with hyphens."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


def partition_of(app: str, partitions: int) -> int:
    """The partition, of `partitions` in the topic, with all updates of `app` (a UUID)."""
    return _hash_of(app) % partitions


def lane_of(app: str, record: str, lanes: int) -> int:
    """The lane, of `lanes` in the stream, that applies all writes to this record."""
    # The same as the hash of the app's bytes followed by the record's.
    return crc32(bytes.fromhex(record.replace("-", "")), _hash_of(app)) % lanes


def queue_of(lane: int) -> str:
    """The Celery queue and routing key of a lane: ``lane.07``."""
    return f"lane.{lane:02d}"


@lru_cache(maxsize=4096)
def _hash_of(app: str) -> int:
    return crc32(bytes.fromhex(app.replace("-", "")))
