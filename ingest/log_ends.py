"""The true ends of the log, asked of Kafka apart from all fetches."""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

from ingest.ports import LogAway, LogEnd
from ingest.topic_connection import TopicConnection

#: Seconds between two questions.
ASK_EVERY_S: Final = 1.0


class TopicEnds(TopicConnection):
    """Asks for the ends of a topic's partitions."""

    def __call__(self, partitions: Collection[int]) -> Mapping[int, int]:
        """The end of each partition. Raises LogAway."""
        with self._asking() as topics:
            return topics.ends(self._topic, partitions)


class LogEnds:
    """Keeps the ends of the watched partitions, about a second old, while Kafka answers.

    A thread asks, so that the bridge never waits for the answer, and a fetch that hangs, or brings
    nothing though it should, cannot hide how long the log is.
    """

    def __init__(self, ask: Callable[[Collection[int]], Mapping[int, int]]) -> None:
        self._ask = ask
        self._watched: frozenset[int] = frozenset()
        self._ends: Mapping[int, tuple[int, float]] = {}
        #: When the first question that has no answer was asked.
        self._unanswered_since: Mapping[int, float] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, partitions: Collection[int]) -> None:
        """From now on ask for these partitions. The first call starts the thread."""
        self._watched = frozenset(partitions)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log-ends", daemon=True)
            self._thread.start()

    def end(self, partition: int) -> LogEnd | None:
        """The newest answer for the partition, with its age; None before the first.

        The time in which this process was frozen is part of the age, but not of Kafka's silence.
        """
        known, now = self._ends.get(partition), time.monotonic()
        if known is None:
            return None
        offset, asked_at = known
        unanswered_since = self._unanswered_since.get(partition, now)
        return LogEnd(offset, int((now - asked_at) * 1000), int((now - unanswered_since) * 1000))

    def close(self) -> None:
        """Stop asking. Does not wait for an answer that is on its way."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.is_set():
            self.ask()
            self._stopped.wait(ASK_EVERY_S)

    def ask(self) -> None:
        """Ask once. What Kafka does not answer keeps its old end, whose age grows."""
        watched, asked_at = self._watched, time.monotonic()
        if not watched:
            return
        self._unanswered_since = {
            partition: self._unanswered_since.get(partition, asked_at) for partition in watched
        }
        try:
            answered = self._ask(watched)
        except LogAway:
            answered = {}
        kept = {partition: end for partition, end in self._ends.items() if partition in watched}
        self._ends = kept | {partition: (end, asked_at) for partition, end in answered.items()}
        self._unanswered_since = {
            partition: at
            for partition, at in self._unanswered_since.items()
            if partition not in answered
        }
