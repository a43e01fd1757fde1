"""Which library sends messages to Kafka (NOTIFY_KAFKA_PRODUCER): kafka-python, or the extra librdkafka."""

from importlib import import_module
from typing import Final

from django.core.exceptions import ImproperlyConfigured

KAFKA_PYTHON: Final = "kafka-python"
LIBRDKAFKA: Final = "librdkafka"
LIBRARIES: Final = (KAFKA_PYTHON, LIBRDKAFKA)


def checked(library: str) -> str:
    """`library`. Raises ImproperlyConfigured if it is none of ours, or is not installed."""
    if library not in LIBRARIES:
        raise ImproperlyConfigured(
            f"NOTIFY_KAFKA_PRODUCER={library!r}: set it to {' or '.join(LIBRARIES)}"
        )
    if library == LIBRDKAFKA:
        try:
            import_module("confluent_kafka")
        except ImportError as error:
            raise ImproperlyConfigured(
                f"NOTIFY_KAFKA_PRODUCER=librdkafka needs confluent-kafka ({error}): install "
                "requirements/librdkafka.txt, or set it to kafka-python"
            ) from None
    return library
