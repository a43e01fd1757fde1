"""The policy under which each offset was decided: its version and time are in `plan_log`.

A version is an edit of one key: of a record's skip rule, or an app's limit for a label. The newest edit of
a key up to the version is in force, unless it is lifted or has expired at that time.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeVar

from psycopg import Connection

from devstack.oracle.serial import Rules, Skip

# Times are compared in milliseconds, rounded as the planner rounds them.
_SKIPS: Final = """
    SELECT version, app_id::text, record::text, rule, scope, active,
        (extract(epoch FROM expires_at) * 1000)::bigint
    FROM skip_rule ORDER BY version
"""
_LIMITS: Final = """
    SELECT version, app_id::text, label, children,
        (extract(epoch FROM expires_at) * 1000)::bigint
    FROM link_limit ORDER BY version
"""
_CHUNKS: Final = """
    SELECT first, next, policy_version, (extract(epoch FROM at) * 1000)::bigint
    FROM plan_log WHERE stream = %s ORDER BY first
"""

_Key = TypeVar("_Key")
_Rule = TypeVar("_Rule")


class NotPlanned(LookupError):
    """No chunk in plan_log contains the offset: it is not planned yet, or its row was deleted."""


class Chunk(NamedTuple):
    """Offsets first..next-1 were decided under the policy of `version` as of `at`."""

    first: int
    next: int
    version: int
    at: int


class Edit(NamedTuple):
    """A version: from then on `rule` is in force for `key`; none if it is None."""

    version: int
    key: Any
    rule: Any
    expires_at: int | None


class PolicyHistory:
    """All versions of the policy."""

    def __init__(self, skips: Iterable[Edit], limits: Iterable[Edit]) -> None:
        self._skips = list(skips)
        self._limits = list(limits)

    @classmethod
    def read(cls, connection: Connection[Any]) -> "PolicyHistory":
        """Reads the versions from the database."""
        return cls(
            (
                Edit(version, (app, record), Skip(rule, scope) if active else None, end)
                for version, app, record, rule, scope, active, end in connection.execute(_SKIPS)
            ),
            (
                Edit(version, (app, label), children, end)
                for version, app, label, children, end in connection.execute(_LIMITS)
            ),
        )

    def rules(self, version: int, at: int) -> Rules:
        """The policy of a version at a time."""
        return Rules(_in_force(self._skips, version, at), _in_force(self._limits, version, at), at)

    def rules_at(self, chunks: list[Chunk]) -> Callable[[int], Rules]:
        """A function that returns the policy for an offset of a stream with these chunks, in order. It
        raises NotPlanned."""
        firsts = [chunk.first for chunk in chunks]
        known: dict[int, Rules] = {}

        def find(offset: int) -> Rules:
            number = bisect_right(firsts, offset) - 1
            if number < 0 or offset >= chunks[number].next:
                raise NotPlanned(f"offset {offset}: {NotPlanned.__doc__}")
            if number not in known:
                known[number] = self.rules(chunks[number].version, chunks[number].at)
            return known[number]

        return find


def read_chunks(connection: Connection[Any], stream: int) -> list[Chunk]:
    """The chunks in a stream's plan_log, in order."""
    return [Chunk(*row) for row in connection.execute(_CHUNKS, (stream,))]


def _in_force(edits: Iterable[Edit], version: int, at: int) -> dict[Any, Any]:
    newest = {edit.key: edit for edit in edits if edit.version <= version}
    return {
        key: edit.rule
        for key, edit in newest.items()
        if edit.rule is not None and (edit.expires_at is None or at < edit.expires_at)
    }
