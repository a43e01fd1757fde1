"""A connection to Kafka's admin side, kept for as long as it answers."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from ingest.ports import LogAway
from notify.kafka.topic import TopicError, Topics


class TopicConnection:
    """Asks about one topic. Opens its connection at the first question, and anew after an error."""

    def __init__(self, servers: Collection[str], topic: str) -> None:
        self._servers = servers
        self._topic = topic
        self._topics: Topics | None = None

    @contextmanager
    def _asking(self) -> Iterator[Topics]:
        """Raises LogAway where Kafka does not answer, also where the topic is gone."""
        try:
            if self._topics is None:
                self._topics = Topics(self._servers)
            yield self._topics
        except TopicError as error:
            self.close()
            raise LogAway(str(error)) from error

    def close(self) -> None:
        """Drop the connection; the next question opens another."""
        if self._topics is not None:
            self._topics.close()
            self._topics = None
