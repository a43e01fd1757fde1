"""Where log lines come from: files of all kinds, standard input, and a Loki."""

import gzip
import io
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from notify.operations.trail import loki as loki_module
from notify.operations.trail.files import Files
from notify.operations.trail.lines import read
from notify.operations.trail.loki import Loki, NotALokiUrl
from notify.operations.trail.sources import LineSource, SourceAway, Span, TrailQuery, spans
from tests.fake_loki import FakeLoki, fake_loki

NOW = datetime(2026, 11, 23, 21, 0, 0, tzinfo=UTC)
SINCE = NOW - timedelta(hours=1)
TRACE, OTHER = "a" * 32, "b" * 32
APP, RECORD = "6f1d2c1e-9a3b-4a55-8c7e-0d9d3b8f1a11", "3a9f1f60-5a0f-4c59-9d2a-0f7d4f3f0b01"


def line(event: str, process: str, seconds: float, **fields: Any) -> str:
    """A line of so long before NOW."""
    at = (NOW - timedelta(seconds=seconds)).isoformat(timespec="microseconds")
    common = {"event": event, "level": "info", "timestamp": at, "process": process}
    return json.dumps(common | fields)


def acked(offset: int, seconds: float = 60, *, trace: str = TRACE, record: str = RECORD) -> str:
    """An acceptance in partition 3."""
    place = {"trace_id": trace, "app": APP, "record": record, "partition": 3, "offset": offset}
    return line("update_acked", "web", seconds, **place)


def planned(first: int, next_: int, *, partition: int = 3, seconds: float = 50) -> str:
    """A chunk."""
    where = {"partition": partition, "first": first, "next": next_, "messages": 1, "policy": 1}
    return line("chunk_planned", "bridge", seconds, **where)


def applied(prev: int, last: int, *, partition: int = 3, seconds: float = 40) -> str:
    """A batch of lane 5."""
    where = {"partition": partition, "lane": 5, "prev": prev, "last": last, "attempt": 1}
    return line("batch_applied", "worker", seconds, **where)


LINES = [
    acked(40),
    acked(41, record=APP),
    acked(42, trace=OTHER),
    acked(43, 7_200),
    planned(30, 41),
    planned(41, 43),
    planned(43, 50),
    planned(30, 50, partition=2),
    applied(29, 40),
    applied(40, 41),
    applied(41, 42),
    applied(29, 50, partition=2),
    line("batch_sent", "bridge", 45, partition=3, lane=5, prev=29, last=40, rows=1, attempt=1),
    line("request_refused", "web", 60, trace_id=TRACE, status=400),
    line("batch_applied", "worker", 7_200, partition=3, lane=5, prev=29, last=40, attempt=1),
]
Make = Callable[[list[str]], LineSource]


@pytest.fixture
def at_end() -> Iterator[ExitStack]:
    """Closes what sources opened."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["file", "gz", "directory", "stdin", "loki"])
def make(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    at_end: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:
    """A source of lines, of each kind."""

    def of_lines(lines: list[str]) -> LineSource:
        text = "".join(f"{each}\n" for each in lines).encode()
        if request.param == "loki":
            return Loki(at_end.enter_context(fake_loki(*lines)).url, now=NOW)
        if request.param == "stdin":
            monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
            return Files(["-"], at_end)
        path = tmp_path / ("a.log.1.gz" if request.param == "gz" else "a.log")
        path.write_bytes(gzip.compress(text) if request.param == "gz" else text)
        return Files([str(tmp_path if request.param == "directory" else path)], at_end)

    return of_lines


def offsets(source: LineSource, wanted: TrailQuery) -> list[int]:
    """Of the acceptances."""
    return sorted(each.offset for each in source.accepted(wanted))


def test_acceptances_by_trace_and_by_record(make: Make) -> None:
    source = make(LINES)
    assert offsets(source, TrailQuery(SINCE, trace_id=TRACE)) == [40, 41]
    assert offsets(source, TrailQuery(SINCE, app=APP, record=RECORD)) == [40, 42]
    assert offsets(source, TrailQuery(SINCE - timedelta(hours=2), app=APP, record=RECORD)) == [
        40,
        42,
        43,
    ]
    assert offsets(source, TrailQuery(SINCE, trace_id="c" * 32)) == []
    assert source.problems() == []


def test_steps_that_hold_an_offset(make: Make) -> None:
    source = make(LINES)
    found = set(source.steps({3: Span(40, 41)}, SINCE))
    expected = [planned(30, 41), planned(41, 43), applied(29, 40), applied(40, 41), LINES[12]]
    assert found == {read(each) for each in expected}
    assert list(source.steps({}, SINCE)) == []
    assert set(source.steps({2: Span(30, 30)}, SINCE)) == {read(LINES[7]), read(LINES[11])}


def test_the_offsets_of_updates_by_partition() -> None:
    found = [line for text in (acked(44), acked(40), acked(42)) if (line := read(text))]
    assert spans(found) == {3: (40, 44)}  # type: ignore[arg-type]
    assert spans([]) == {}


# -- files ----------------------------------------------------------------------------------------------


def test_files_that_are_no_logs_are_no_error(tmp_path: Path, at_end: ExitStack) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.log").write_text(f"a banner\n{acked(40)}\n\n{acked(41)[:-9]}\n")
    (tmp_path / "noise").write_bytes(os.urandom(5_000) + b"\n" + b"x" * 3_000_000)
    wrapped = json.dumps({"log": acked(42) + "\n", "stream": "stdout"})
    (tmp_path / "docker-json.log").write_text(wrapped)
    source = Files([str(tmp_path)], at_end)
    assert offsets(source, TrailQuery(SINCE, trace_id=TRACE)) == [40, 42]
    assert source.problems() == []


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_read(
    tmp_path: Path, at_end: ExitStack
) -> None:
    whole = gzip.compress(acked(40).encode() + b"\n" + os.urandom(90_000))
    (tmp_path / "cut.gz").write_bytes(whole[:-2_000])
    (tmp_path / "none.gz").write_bytes(b"no gzip")
    (tmp_path / "a.log").write_text(acked(41))
    source = Files([str(tmp_path)], at_end)
    assert offsets(source, TrailQuery(SINCE, trace_id=TRACE)) == [40, 41]
    list(source.steps({3: Span(40, 40)}, SINCE))
    assert sorted(each.split(":")[0].rpartition("/")[2] for each in source.problems()) == [
        "cut.gz",
        "none.gz",
    ]


def test_rotated_files_of_before_are_passed_over(tmp_path: Path, at_end: ExitStack) -> None:
    for name, age in (("old.log", 7_200), ("new.log", 1_800)):
        (tmp_path / name).write_text(acked(40 + age))
        then = NOW.timestamp() - age
        os.utime(tmp_path / name, (then, then))
    wanted = TrailQuery(SINCE, trace_id=TRACE)
    assert offsets(Files([str(tmp_path)], at_end), wanted) == [1_840]
    assert offsets(Files([str(tmp_path / "old.log")], at_end), wanted) == [7_240]


# -- Loki -----------------------------------------------------------------------------------------------


@pytest.fixture
def away() -> Iterator[FakeLoki]:
    """A Loki whose answers the test sets."""
    with fake_loki() as found:
        yield found


def ask(url: str, **options: float) -> list[int]:
    """What a source of this URL finds."""
    return offsets(Loki(url, now=NOW, **options), TrailQuery(SINCE, trace_id=TRACE))


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, b"<html>"),
        (200, b"{}"),
        (200, b'{"data": {"result": [{"values": [[1]]}]}}'),
        (200, b'{"data": {"result": [{"values": [["x", "y"]]}]}}'),
        (200, b"[" * 100_000),
        (400, b"parse error at line 1"),
        (401, b"no"),
        (500, b""),
        (302, b""),
    ],
)
def test_a_loki_that_answers_something_else(away: FakeLoki, status: int, answer: bytes) -> None:
    away.status, away.answer = status, answer
    with pytest.raises(SourceAway) as raised:
        ask(away.url.replace("//", "//user:a-password@"))
    assert "a-password" not in str(raised.value)
    if status != 200:
        assert str(status) in str(raised.value)


def test_a_loki_that_is_away_or_silent() -> None:
    with pytest.raises(SourceAway, match="does not answer"):
        ask("http://127.0.0.1:1")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(SourceAway, match="timed out"),
    ):
        ask(f"http://127.0.0.1:{server.getsockname()[1]}", timeout_s=0.2)


def test_a_login_goes_into_a_header_and_nowhere_else(away: FakeLoki) -> None:
    away.lines = [acked(40)]
    assert ask(away.url.replace("//", "//us%40er:p%3Aw@") + "/") == [40]
    assert away.logins == ["Basic dXNAZXI6cDp3"]
    assert ask(away.url) == [40]
    assert away.logins[1] is None


@pytest.mark.parametrize("url", ["loki:3100", "ftp://loki", "file:///etc/passwd", "http://", "x"])
def test_what_is_no_url_of_a_loki(url: str) -> None:
    with pytest.raises(NotALokiUrl, match="http://loki:3100"):
        Loki(url, now=NOW)


def test_more_lines_than_one_answer_has(away: FakeLoki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loki_module, "LINES_MAX", 3)
    away.lines = [acked(number, seconds=60 - number // 2) for number in range(10)]
    source = Loki(away.url, now=NOW)
    wanted = TrailQuery(SINCE, trace_id=TRACE)
    assert sorted({each.offset for each in source.accepted(wanted)}) == list(range(10))
    assert source.problems() == []
    monkeypatch.setattr(loki_module, "PAGES_MAX", 2)
    assert 3 <= len({each.offset for each in source.accepted(wanted)}) < 10
    assert "give a shorter --since" in source.problems()[0]
