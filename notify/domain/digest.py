"""Proof that what is read again is what was planned.

Kafka may lose messages that it had acknowledged, and new ones then take their offsets. Decisions that
were recorded for the old ones must not be applied to the new ones.
"""

import zlib
from collections import deque
from typing import Final, NamedTuple

_MASK: Final = 2**63 - 1


class Digest(NamedTuple):
    """The sum over all messages at offsets first..end-1, holes included.

    Other messages at these offsets, more of them or fewer, have another sum; by chance the same one in
    one of 2**32 cases.
    """

    first: int
    end: int
    value: int


def of_message(offset: int, body: bytes) -> int:
    """What one message adds to a sum."""
    return zlib.crc32(body, offset & 0xFFFF_FFFF)


class Planned:
    """The planned messages that a Load would read: from the frontier on, and always the last one.

    The last one is kept when all is applied, or a log that lost it, and was filled again past
    `planned`, would look untouched. Example: messages 5, 6 and 7 are planned and applied, so a Load
    reads from 7. Kafka loses 6 and 7 and takes two new messages. The Load reads another 7: it halts.
    """

    def __init__(self) -> None:
        #: Offset of each message, and the sum of all that were ever added, up to it.
        self._sums: deque[tuple[int, int]] = deque()
        #: The sum of those that were dropped.
        self._before = 0

    def add(self, offset: int, body: bytes) -> None:
        """Take the next planned message; offsets rise."""
        sum_before = self._sums[-1][1] if self._sums else self._before
        self._sums.append((offset, sum_before + of_message(offset, body)))

    def drop(self, frontier: int) -> None:
        """Forget what a Load from this frontier would not read."""
        while len(self._sums) > 1 and self._sums[0][0] < frontier:
            self._before = self._sums.popleft()[1]

    def digest(self, planned: int) -> Digest | None:
        """Of what is held, all below `planned`; None if nothing is."""
        if not self._sums:
            return None
        return Digest(self._sums[0][0], planned, (self._sums[-1][1] - self._before) & _MASK)

    def agrees(self, recorded: Digest) -> bool:
        """Whether the messages that are held, within its offsets, have the recorded sum.

        What is held must begin at or before `recorded.first`.
        """
        before, found = self._before, 0
        for offset, total in self._sums:
            if offset >= recorded.end:
                break
            if offset >= recorded.first:
                found += total - before
            before = total
        return found & _MASK == recorded.value
