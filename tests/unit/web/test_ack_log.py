"""A line for each accepted update: its form holds whatever stands in the update."""

import dataclasses
import hashlib
import json
import os
import re
import select
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from devstack import ROOT
from notify.domain.records.update import Update
from notify.kafka.producer import Acked, KafkaUnavailable
from notify.telemetry import logs, metrics
from notify.web import ack_log, wiring
from notify.web.ack_log import AckLog
from tests.fake_web import APP, PLAYER, Web
from tests.waiting import wait_for

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"
PLAIN = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MESSAGE = str(uuid.uuid4())


def update(*, app: str = APP, record: str = PLAYER, message_id: str = MESSAGE) -> Update:
    """One that `updates.check` need not have seen."""
    return Update(app, record, 0, message_id)


def written(*updates: Update, trace: str = TRACE) -> list[bytes]:
    """What goes to standard output in one call each."""
    calls: list[bytes] = []
    places = [Acked(3, 40 + number) for number in range(len(updates))]
    log = AckLog(calls.append)
    log.acked(trace, updates, places)
    log.close()
    return calls


def read(*calls: bytes) -> list[dict[str, Any]]:
    """The lines of these calls."""
    return [json.loads(line) for line in b"".join(calls).splitlines()]


def test_what_stands_in_a_line() -> None:
    (line,) = read(*written(update()))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert line.pop("host") == os.uname().nodename
    assert line == {
        "event": ack_log.EVENT,
        "level": "info",
        "process": "web",
        "pid": os.getpid(),
        "trace_id": TRACE,
        "app": APP,
        "record": PLAYER,
        "partition": 3,
        "offset": 40,
        "message_id": MESSAGE,
    }


def test_a_line_has_fields_of_the_schema_only() -> None:
    (line,) = read(*written(update()))
    assert line.keys() <= logs.FIELDS


_HOSTILE = st.one_of(
    st.text(),
    st.text('"\\\n\r\0\u2028\ud800{}%s%d, '),
    st.sampled_from([f"{PLAYER}\n", PLAYER.upper(), f' {TRACE}"', "jo@example.com", "%(x)s", ""]),
)


@given(trace=_HOSTILE, app=_HOSTILE, record=_HOSTILE, message_id=_HOSTILE)
def test_no_text_breaks_the_form_or_gets_into_the_line(
    trace: str, app: str, record: str, message_id: str
) -> None:
    hostile = update(app=app, record=record, message_id=message_id)
    (call,) = written(hostile, trace=trace)
    assert call.count(b"\n") == 1
    assert call.endswith(b"}\n")
    (line,) = read(call)
    assert line.keys() == read(*written(update()))[0].keys()
    texts = {"trace_id": trace, "app": app, "record": record, "message_id": message_id}
    for name, text in texts.items():
        assert PLAIN.fullmatch(line[name]), name
        assert line[name] in (text, ack_log.hashed(text))


def test_what_is_no_uuid_is_hashed() -> None:
    (line,) = read(*written(update(message_id="jo@example.com")))
    assert line["message_id"] == hashlib.sha256(b"jo@example.com").hexdigest()[:32]


def test_a_batch_has_a_line_an_update_and_no_call_is_cut_in_a_line() -> None:
    records = [str(uuid.uuid4()) for _ in range(100)]
    calls = written(*(update(record=record) for record in records))
    assert 1 < len(calls) < 20
    assert all(len(call) <= select.PIPE_BUF and call.endswith(b"\n") for call in calls)
    lines = read(*calls)
    assert [(line["record"], line["offset"]) for line in lines] == list(
        zip(records, range(40, 140), strict=True)
    )
    assert written() == []


def test_an_answer_of_kafka_for_each_update_or_none() -> None:
    log = AckLog(lambda lines: None)
    with pytest.raises(ValueError, match="shorter"):
        log.acked(TRACE, [update()], [])
    log.close()


def test_lines_come_by_themselves_and_in_order() -> None:
    calls: list[bytes] = []
    log = AckLog(calls.append, every_s=0.01)
    for number in range(50):
        log.acked(TRACE, [update()], [Acked(3, number)])
    wait_for(lambda: len(read(*calls)) == 50)
    log.acked(TRACE, [update()], [Acked(3, 50)])
    wait_for(lambda: [line["offset"] for line in read(*calls)] == list(range(51)))
    log.close()


def test_a_standard_output_that_stands_still_holds_no_request_and_no_more_than_so_much() -> None:
    lost = metrics.WEB_LOG_LOST._value.get()
    stands, goes_on = threading.Event(), threading.Event()
    calls: list[bytes] = []

    def write(lines: bytes) -> None:
        stands.set()
        goes_on.wait(30)
        calls.append(lines)

    log = AckLog(write, every_s=0.01, waiting_max=5)
    log.acked(TRACE, [update()], [Acked(3, 0)])
    assert stands.wait(30)
    for number in range(1, 8):
        log.acked(TRACE, [update()], [Acked(3, number)])
    assert metrics.WEB_LOG_LOST._value.get() == lost + 2
    goes_on.set()
    wait_for(lambda: [line["offset"] for line in read(*calls)] == list(range(6)))
    log.acked(TRACE, [update()], [Acked(3, 8)])
    wait_for(lambda: read(*calls)[-1]["offset"] == 8)
    log.close()


def test_what_waits_at_the_end_is_written_and_nothing_is_left() -> None:
    before = threading.active_count()
    calls: list[bytes] = []
    log = AckLog(calls.append, every_s=3_600)
    log.acked(TRACE, [update()], [Acked(3, 0)])
    assert calls == []
    log.close()
    log.close()
    assert len(read(*calls)) == 1
    assert threading.active_count() == before


_PROGRAM = """
import django; django.setup()
from notify.domain.records.update import Update
from notify.kafka.producer import Acked
from notify.web import ack_log
log = ack_log.of_settings()
log.acked("0" * 32, [Update("app", "record", 0, "m")], [Acked(3, 7)])
"""


def test_a_process_that_ends_writes_what_waits() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "notify.settings"},
        capture_output=True,
        check=True,
    )
    assert [line["offset"] for line in read(done.stdout)] == [7]


class Calls(list[bytes]):
    """What was written, once all is."""

    log: AckLog

    def __iter__(self) -> Iterator[bytes]:
        self.log.flush()
        return super().__iter__()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Web, Calls]]:
    """The API, and what it logs."""
    web = Web.with_fakes(monkeypatch)
    calls = Calls()
    calls.log = AckLog(calls.append)
    services = dataclasses.replace(web.services, ack_log=calls.log)
    monkeypatch.setattr(wiring, "services", lambda: services)
    yield web, calls
    calls.log.close()


def test_an_accepted_update_is_logged_with_its_place(web: tuple[Web, Calls]) -> None:
    api, calls = web
    for number in range(2):
        answer = api.call(
            "PUT",
            f"/players/{PLAYER}",
            {"app_id": APP, "tags": {"a": "b"}},
            headers={"traceparent": TRACEPARENT},
        )
        assert answer.status == 200
        line = read(*calls)[number]
        assert (line["trace_id"], line["app"], line["record"]) == (TRACE, APP, PLAYER)
        (partition,) = api.producer.log
        assert (line["partition"], line["offset"]) == (partition, number)
        assert line["message_id"] == api.sent()[number].message_id


def test_each_update_of_a_batch_is_logged_and_nothing_that_it_says(
    web: tuple[Web, Calls],
) -> None:
    api, calls = web
    items = [
        {"kind": "email", "identifier": "jo@example.com", "tags": {"secret": "secret"}},
        {"record": PLAYER, "message_id": "jo@example.com"},
        {"record": "no id"},
    ]
    answer = api.call("POST", f"/apps/{APP}/batch", {"updates": items}, key=api.secret)
    assert (answer.status, answer.body["accepted"]) == (202, 2)
    ids = [result["id"] for result in answer.body["results"] if "id" in result]
    assert [line["record"] for line in read(*calls)] == ids
    for word in (b"jo@", b"secret", b"email"):
        assert word not in b"".join(list(calls))


def test_what_kafka_did_not_take_is_not_logged(web: tuple[Web, Calls]) -> None:
    api, calls = web
    api.producer.fails = KafkaUnavailable("away")
    assert api.call("PUT", f"/players/{PLAYER}", {"app_id": APP, "tags": {"a": "b"}}).status == 503
    assert api.call("PUT", "/players/x", {"app_id": APP}).status == 400
    assert list(calls) == []


@pytest.mark.parametrize(
    ("is_on", "level", "is_written"),
    [(True, "INFO", True), (True, "DEBUG", True), (True, "WARNING", False), (False, "INFO", False)],
)
def test_the_settings_say_whether(
    settings: Settings, *, is_on: bool, level: str, is_written: bool
) -> None:
    settings.NOTIFY_LOG_ACKS, settings.NOTIFY_LOG_LEVEL = is_on, level
    assert (ack_log.of_settings() is not None) == is_written


def test_a_standard_output_that_fails_fails_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = metrics.WEB_LOG_LOST._value.get()

    def fails(descriptor: int, data: bytes) -> int:
        raise BrokenPipeError

    monkeypatch.setattr(ack_log, "os", SimpleNamespace(write=fails))
    ack_log.to_stdout(b"one\ntwo\n")
    assert metrics.WEB_LOG_LOST._value.get() == lost + 2


def test_what_is_written_in_part_is_written_on(capfd: pytest.CaptureFixture[str]) -> None:
    whole = os.write

    def half(descriptor: int, data: bytes) -> int:
        return whole(descriptor, data[: len(data) // 2 or 1])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ack_log, "os", SimpleNamespace(write=half))
        ack_log.to_stdout(b"a whole line\n")
    assert capfd.readouterr().out == "a whole line\n"
