"""Which log lines are read, and what of them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.operations.trail.lines import Accepted, BatchEvent, ChunkPlanned, Writer, read

AT = datetime(2026, 11, 23, 21, 0, 1, 250_000, UTC)
COMMON: dict[str, Any] = {
    "level": "info",
    "timestamp": "2026-11-23T21:00:01.250000Z",
    "host": "h",
    "pid": 7,
}
ACKED = COMMON | {
    "event": "update_acked",
    "process": "web",
    "trace_id": "a" * 32,
    "app": "app",
    "record": "record",
    "partition": 3,
    "offset": 40,
    "message_id": "m",
}
PLANNED = COMMON | {
    "event": "chunk_planned",
    "process": "bridge",
    "partition": 3,
    "first": 30,
    "next": 50,
    "messages": 20,
    "policy": 12,
}
APPLIED = COMMON | {
    "event": "batch_applied",
    "process": "worker",
    "partition": 3,
    "lane": 5,
    "prev": 29,
    "last": 49,
    "attempt": 2,
    "seconds": 0.004,
}


def test_an_acceptance() -> None:
    by = Writer("web", "h", 7)
    assert read(json.dumps(ACKED)) == Accepted(AT, by, "a" * 32, "app", "record", 3, 40, "m")


def test_a_chunk() -> None:
    line = read(json.dumps(PLANNED))
    assert line == ChunkPlanned(AT, Writer("bridge", "h", 7), 3, 30, 50, 20, 12)
    assert [line.covers(offset) for offset in (29, 30, 49, 50)] == [False, True, True, False]


@pytest.mark.parametrize(
    ("event", "what"),
    [
        ("batch_applied", "applied"),
        ("batch_sent", "sent"),
        ("batch_dead_lettered", "dead_lettered"),
    ],
)
def test_a_batch(event: str, what: str) -> None:
    line = read(json.dumps(APPLIED | {"event": event}))
    by = Writer("worker", "h", 7)
    assert line == BatchEvent(AT, by, what, 3, 5, 29, 49, 2, None, 0.004)
    assert [line.covers(offset) for offset in (29, 30, 49, 50)] == [False, True, True, False]


def test_lines_from_before_they_said_who_wrote_them() -> None:
    old = {key: value for key, value in APPLIED.items() if key not in ("host", "pid")}
    line = read(json.dumps(old))
    assert isinstance(line, BatchEvent)
    assert str(line.by) == "worker"


@pytest.mark.parametrize(
    "wrapped",
    [
        "web-1  | {}",
        "2026-11-23T21:00:01.250000001Z stdout F {}",
        "{}\r\n",
        "\ufeff{}",
    ],
)
def test_what_collectors_put_around_a_line(wrapped: str) -> None:
    text = json.dumps(ACKED)
    assert read(wrapped.replace("{}", text)) == read(text)
    docker = json.dumps({"log": text + "\n", "stream": "stdout", "time": "2026"})
    assert read(docker) == read(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "{",
            "null",
            "[1]",
            '"x"',
            "{}",
            '{"event": 1}',
            '{"event": "apps_read"}',
            "[" * 9000,
        ),
        json.dumps(ACKED)[:-5],
        json.dumps(ACKED | {"partition": "3"}),
        json.dumps(ACKED | {"offset": True}),
        json.dumps(ACKED | {"timestamp": "yesterday"}),
        json.dumps(ACKED | {"timestamp": 5}),
        json.dumps({key: value for key, value in APPLIED.items() if key != "lane"}),
        json.dumps(PLANNED | {"first": None}),
        json.dumps({"log": "no line"}),
        "{" * 50_000,
    ],
)
def test_what_is_no_line_of_ours_is_no_error(text: str) -> None:
    assert read(text) is None


@given(st.text() | st.recursive(st.none() | st.text(), st.lists, max_leaves=4).map(json.dumps))
def test_no_text_is_an_error(text: str) -> None:
    read(text)
    read('{"event": "batch_' + text)


@given(
    st.sampled_from([ACKED, PLANNED, APPLIED]),
    st.data(),
    st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.lists(st.integers())),
)
def test_no_value_is_an_error(line: dict[str, Any], data: st.DataObject, value: object) -> None:
    read(json.dumps(line | {data.draw(st.sampled_from(sorted(line))): value}))
