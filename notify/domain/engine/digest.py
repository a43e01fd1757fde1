"""Digests of messages, to check that a bridge reads the same messages again that were planned.

Kafka may lose messages that it had acknowledged, and new messages then get their offsets. Decisions that
were recorded for the old messages must not be applied to the new ones. So a tick records a digest of each
message that it plans, and the stream's row has the digest of the last one.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from notify.domain.errors import PlanUnreadable

#: The two encodings: a digest for each offset, or pairs of offset and digest for a chunk with holes.
_DENSE: Final = 0
_SPARSE: Final = 1


class Last(NamedTuple):
    """The offset and digest of the last planned message, as of this `planned`."""

    offset: int
    digest: int
    planned: int


class Digests(NamedTuple):
    """The encoded digests of the messages at offsets first..next-1; None if a bridge of an earlier release
    planned them."""

    first: int
    next: int
    encoded: bytes | None


def of_message(body: bytes) -> int:
    """The digest of a message, of 32 bits: another message has the same one with a chance of 1 in 2**32."""
    return zlib.crc32(body)


def encode(first: int, end: int, digests: Mapping[int, int]) -> bytes:
    """The digests of the messages at offsets first..end-1, given by offset, as bytes."""
    count = len(digests)
    if count == end - first:
        return struct.pack(f"<B{count}I", _DENSE, *digests.values())
    pairs = (number for offset, digest in digests.items() for number in (offset - first, digest))
    return struct.pack(f"<B{2 * count}I", _SPARSE, *pairs)


def decode(first: int, encoded: bytes) -> dict[int, int]:
    """The digests by offset. Raises PlanUnreadable for an unknown format and for invalid bytes."""
    numbers = (len(encoded) - 1) // 4
    try:
        form, *found = struct.unpack(f"<B{numbers}I", encoded)
    except struct.error as error:
        raise PlanUnreadable(f"digests of the chunk at offset {first}: {error}") from None
    if form == _DENSE:
        return dict(enumerate(found, start=first))
    if form == _SPARSE:
        offsets = (first + relative for relative in found[::2])
        return dict(zip(offsets, found[1::2], strict=True))
    raise PlanUnreadable(f"digests of the chunk at offset {first}: format {form}, not 0 or 1")


class Expected:
    """The planned messages that a Load must find in the log: those from the frontier on, else the last one.

    Example: messages 5, 6 and 7 are planned and applied, so the frontier is 8. Kafka loses 6 and 7, and
    new messages become 6, 7 and 8. A Load that read from 8 on would never apply the new 6 and 7. It
    reads from 7, finds another message there, and halts.
    """

    def __init__(
        self,
        chunks: Iterable[Digests],
        last: Last | None,
        *,
        frontier: int,
        planned: int,
        log_start: int,
    ) -> None:
        """`chunks` are those with offsets at or after the frontier. A last message of another `planned`
        is not expected; nor is one that Kafka's retention has deleted, but nothing may stand after it.
        Raises PlanUnreadable."""
        self._digests: dict[int, int] = {}
        #: Where a message that has no digest was not there when it was planned.
        self._known: list[range] = []
        #: The offset from which a Load reads.
        self.first = frontier
        self._other: int | None = None
        for chunk in chunks:
            if chunk.encoded is None:
                continue
            known = range(max(frontier, chunk.first), chunk.next)
            self._known.append(known)
            for offset, digest in decode(chunk.first, chunk.encoded).items():
                if offset in known:
                    self._digests[offset] = digest
        if last is not None and last.planned == planned:
            self.first = min(frontier, max(last.offset, log_start))
            self._known.append(range(self.first, frontier))
            if last.offset in self._known[-1]:
                self._digests[last.offset] = last.digest

    def meet(self, offset: int, body: bytes) -> None:
        """Compares a message below `planned` with the planned one. Call it with rising offsets."""
        expected = self._digests.pop(offset, None)
        if expected is None:
            is_other = any(offset in known for known in self._known)
        else:
            is_other = expected != of_message(body)
        if is_other and self._other is None:
            self._other = offset

    def replaced(self) -> int | None:
        """The first offset whose message is not the planned one; None if all of them were found. Call it
        after all messages below `planned` were compared."""
        missing = min(self._digests, default=None)
        found = [offset for offset in (self._other, missing) if offset is not None]
        return min(found, default=None)


def last_before(
    end: int, chunks: Iterable[Digests], last: Last | None, *, planned: int
) -> Last | None:
    """The last planned message where what was planned up to `planned` ends at `end` from now on; None
    if it is not known. `chunks` are those with offsets at or after the frontier. Raises
    PlanUnreadable."""
    if end > planned:
        return None  # what stood between was never planned
    found = {} if last is None or last.planned != planned else {last.offset: last.digest}
    for chunk in chunks:
        if chunk.encoded is not None:
            found |= decode(chunk.first, chunk.encoded)
    offset = max((each for each in found if each < end), default=None)
    return None if offset is None else Last(offset, found[offset], end)
