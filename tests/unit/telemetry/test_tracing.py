"""Spans of calls and ticks: whose children they are, what ends them, and what is not made."""

import os
import subprocess
import sys
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.exceptions import ImproperlyConfigured
from kafka import TopicPartition
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode
from pytest_django import Settings

from ingest.consumer import KafkaLog, _Listener
from ingest.ledger import PostgresLedger
from ingest.log_ends import LogEnds
from ingest.ports import LedgerAway
from ingest.tracing import Ticks
from notify.telemetry import spans, tracing
from notify.web.http import traces

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{PARENT}-01"
NO_HEADERS = MappingProxyType[str, Any]({})


@pytest.fixture
def exported(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Tracing is on, into memory."""
    exporter = InMemorySpanExporter()
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    settings.NOTIFY_OTEL = True
    monkeypatch.setattr(spans, "provider", lambda process: made)
    yield exporter
    made.shutdown()


def ticks(messages_max: int = 100) -> Ticks:
    return Ticks(spans.tick, messages_max=messages_max)


def headers(traceparent: str = GIVEN) -> list[tuple[str, bytes]]:
    return [("v", b"1"), ("traceparent", traceparent.encode())]


def offsets(exporter: InMemorySpanExporter) -> list[Any]:
    return [
        (each.attributes or {})["messaging.kafka.offset"] for each in exporter.get_finished_spans()
    ]


def test_a_call_continues_the_clients_trace_and_hands_its_own_span_on(
    exported: InMemorySpanExporter,
) -> None:
    trace = traces.begin_trace({"HTTP_TRACEPARENT": GIVEN}, "player", "PUT")
    trace.answered(202)
    (span,) = exported.get_finished_spans()
    assert trace.id == TRACE
    assert span.name == "PUT player"
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == PARENT
    assert trace.traceparent == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert (span.attributes or {})["http.response.status_code"] == 202
    assert span.status.status_code is StatusCode.UNSET


def test_a_method_of_the_clients_own_is_not_told(exported: InMemorySpanExporter) -> None:
    traces.begin_trace(NO_HEADERS, "player", "S3CRET").answered(404)
    (span,) = exported.get_finished_spans()
    assert span.name == "HTTP player"
    assert (span.attributes or {})["http.request.method"] == "_OTHER"


@pytest.mark.parametrize("meta", [{}, {"HTTP_TRACEPARENT": "00-no-such-01"}])
def test_without_one_the_trace_is_new_and_5xx_is_an_error(
    exported: InMemorySpanExporter, meta: dict[str, str]
) -> None:
    trace = traces.begin_trace(meta, "player", "PUT")
    trace.answered(503)
    (span,) = exported.get_finished_spans()
    assert trace.id == f"{span.context.trace_id:032x}"
    assert span.parent is None
    assert span.status.status_code is StatusCode.ERROR


def test_what_is_not_sampled_says_so_to_the_bridge(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NOTIFY_OTEL = True
    made = TracerProvider(sampler=ALWAYS_OFF)
    monkeypatch.setattr(spans, "provider", lambda process: made)
    trace = traces.begin_trace(NO_HEADERS, "player", "PUT")
    assert not int(trace.traceparent[-2:], 16) & 1
    assert trace.id.strip("0")


def test_a_message_has_a_span_from_its_poll_to_the_commit(exported: InMemorySpanExporter) -> None:
    seen = ticks()
    for offset in (3, 4, 5):
        seen.polled(2, offset, headers())
    assert not exported.get_finished_spans()
    seen.committed(2, 3, 5)
    assert offsets(exported) == [3, 4]
    span = exported.get_finished_spans()[0]
    assert f"{span.context.trace_id:032x}" == TRACE
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == PARENT
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time <= span.end_time
    seen.committed(1, 0, 100)
    assert offsets(exported) == [3, 4]


@pytest.mark.parametrize(
    "value", [None, b"", b"junk01", b"\xff01", b"x" * 100_000 + b"01", f"{GIVEN} ".encode()]
)
def test_a_hostile_header_has_no_span_and_takes_no_room(
    exported: InMemorySpanExporter, value: bytes | None
) -> None:
    seen = ticks(messages_max=1)
    seen.polled(0, 1, [("traceparent", value)])
    seen.polled(0, 2, headers())
    seen.committed(0, 0, 9)
    assert offsets(exported) == [2]


@pytest.mark.parametrize("traceparent", [GIVEN[:-2] + "00", "", "xx"])
def test_what_is_not_sampled_has_none(exported: InMemorySpanExporter, traceparent: str) -> None:
    seen = ticks()
    seen.polled(0, 1, headers(traceparent))
    seen.polled(0, 2, [])
    seen.polled(0, 3, headers(GIVEN[:-2] + "03"))
    seen.committed(0, 0, 9)
    assert offsets(exported) == [3]


def test_what_is_polled_again_counts_once_and_what_another_decided_not_at_all(
    exported: InMemorySpanExporter,
) -> None:
    seen = ticks()
    for offset in (1, 2, 3, 2, 3):
        seen.polled(0, offset, headers())
    seen.committed(0, 2, 4)
    assert offsets(exported) == [2, 3]


def test_no_more_wait_than_the_limit(exported: InMemorySpanExporter) -> None:
    seen = ticks(messages_max=2)
    for offset in range(5):
        seen.polled(0, offset, headers())
    seen.committed(0, 0, 5)
    assert offsets(exported) == [0, 1]
    seen.polled(0, 5, headers())
    seen.committed(0, 5, 6)
    assert offsets(exported) == [0, 1, 5]


def test_a_forgotten_partition_makes_room_for_others(exported: InMemorySpanExporter) -> None:
    seen = ticks(messages_max=2)
    for offset in range(2):
        seen.polled(0, offset, headers())
    seen.polled(1, 7, headers())
    seen.forget(0)
    seen.forget(0)
    seen.polled(1, 8, headers())
    seen.committed(0, 0, 5)
    seen.committed(1, 0, 9)
    assert offsets(exported) == [8]


def test_what_the_group_takes_and_what_is_loaded_anew_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forgotten: list[int] = []
    seen = ticks()
    monkeypatch.setattr(seen, "forget", forgotten.append)
    log = KafkaLog.__new__(KafkaLog)  # without Kafka
    log._ticks = seen
    log._listener = _Listener()
    log._ends = LogEnds(lambda partitions: {})
    log._open_consumer = Mock()
    log._open_consumer.assignment.return_value = set()
    log._open_consumer.poll.return_value = {}
    log._listener.on_partitions_revoked([TopicPartition("t", 3)])
    log.poll(1)
    log._ends.close()
    assert forgotten == [3]
    ledger = PostgresLedger(seen)
    monkeypatch.setattr(ledger, "_transaction", Mock(side_effect=LedgerAway("away")))
    with pytest.raises(LedgerAway):
        ledger.peek(4)
    assert forgotten == [3, 4]


def test_off_nothing_of_it_is_imported() -> None:
    # redis-py itself imports the API where it is installed.
    code = (
        "import os, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'notify.settings';"
        "django.setup(); import notify.web.urls, ingest.management.commands.bridge as b;"
        "b.tracing.of_settings();"
        "sys.exit('notify.telemetry.spans' in sys.modules or 'opentelemetry.exporter' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_on_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(ImproperlyConfigured, match=r"requirements/otel\.txt"):
        tracing.checked(is_on=True)
    assert tracing.checked(is_on=False) is False


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_BSP_MAX_QUEUE_SIZE", "10"), ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "abc")],
)
def test_what_opentelemetry_refuses_ends_the_start_not_each_call(name: str, value: str) -> None:
    code = "from notify.telemetry import tracing; tracing.checked(is_on=True)"
    environ = {**os.environ, name: value}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "ImproperlyConfigured: OpenTelemetry refuses a variable of its own" in ended.stderr


@pytest.mark.parametrize(("value", "is_on"), [("true", False), ("TRUE", False), ("", True)])
def test_opentelemetrys_own_switch_turns_it_off(
    monkeypatch: pytest.MonkeyPatch, value: str, *, is_on: bool
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", value)
    assert tracing.checked(is_on=True) is is_on
