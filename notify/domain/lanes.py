"""Where an update goes: the partition of its app, the lane of its record.

Both are stable for ever and on every machine: they are CRC-32 of UUID bytes, not Python's salted
`hash`. The lane's input is longer than the partition's, so the two do not correlate.
"""

import re
from functools import lru_cache
from typing import Final
from zlib import crc32

#: Workers listen on the queues of this many lanes, whatever the streams use now.
LANES_MAX: Final = 64

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def is_uuid(text: object) -> bool:
    """Whether `text` is a UUID in its one spelling: lower case, with hyphens."""
    return isinstance(text, str) and _UUID.fullmatch(text) is not None


def partition_of(app: str, partitions: int) -> int:
    """The partition that holds all updates of `app` (a UUID), of `partitions` in the topic."""
    return crc32(_app_bytes(app)) % partitions


def lane_of(app: str, record: str, lanes: int) -> int:
    """The lane, of `lanes` in the stream, that applies every write to (app, record)."""
    return crc32(_app_bytes(app) + bytes.fromhex(record.replace("-", ""))) % lanes


def queue_of(lane: int) -> str:
    """The Celery queue and routing key of a lane: ``lane.07``."""
    return f"lane.{lane:02d}"


@lru_cache(maxsize=4096)
def _app_bytes(app: str) -> bytes:
    return bytes.fromhex(app.replace("-", ""))
