"""How many rows of `skipped` callers can cause by asking for what is refused."""

from collections.abc import Iterable
from typing import Final

from ingest.hot import BUCKET_MS
from ingest.ports import SkippedRow
from notify.domain.records.decide import SKIPPED


class Refusals:
    """Names at most `most` records of an app, by reason, in ten seconds; what is refused of others is
    counted without the record.

    What a skip rule drops is not bounded here: operators make the rules, and a replay needs each row.
    """

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._bucket = 0
        self._named: dict[str | None, set[tuple[str | None, str]]] = {}

    def bounded(self, dropped: Iterable[SkippedRow], now_ms: int) -> list[SkippedRow]:
        """The rows to write of what a chunk dropped; `now_ms` by PostgreSQL's clock."""
        bucket = now_ms // BUCKET_MS
        if bucket != self._bucket:
            self._bucket, self._named = bucket, {}
        kept: list[SkippedRow] = []
        rest: dict[tuple[str | None, str], SkippedRow] = {}
        for row in dropped:
            if row.reason == SKIPPED or self._names(row):
                kept.append(row)
                continue
            key = (row.app, row.reason)
            before = rest.get(key)
            first, n = (row.first, 0) if before is None else (before.first, before.n)
            rest[key] = row._replace(record=None, first=first, n=n + row.n)
        return kept + list(rest.values())

    def _names(self, row: SkippedRow) -> bool:
        named = self._named.setdefault(row.app, set())
        if len(named) < self._most:
            named.add((row.record, row.reason))
        return (row.record, row.reason) in named
