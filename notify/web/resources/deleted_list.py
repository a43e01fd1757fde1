"""The list of all deleted records, short enough for each process of web to have it in memory."""

import sys
from array import array
from bisect import bisect_left
from typing import Final

#: The characters of a UUID that are in the list: its first 32 bits. A list of a million records takes 4 MB,
#: and about one in 4,000 other ids matches by chance, which costs a lookup.
_CHARS: Final = 8


class DeletedList:
    """Deleted records, by the first 4 bytes of their ids; made from these bytes in ascending order."""

    def __init__(self, prefixes: bytes) -> None:
        self._prefixes = array("I")
        self._prefixes.frombytes(prefixes)
        if sys.byteorder == "little":
            self._prefixes.byteswap()

    def may_have(self, record: str) -> bool:
        """Whether the record, a UUID, is in the list. Also true for a few that are not."""
        prefix = int(record[:_CHARS], 16)
        place = bisect_left(self._prefixes, prefix)
        return place < len(self._prefixes) and self._prefixes[place] == prefix

    def __len__(self) -> int:
        return len(self._prefixes)
