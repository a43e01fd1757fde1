"""A short run of the fuzz, and that it finds what it is for."""

import json
from collections import Counter
from typing import Any

import pytest
from django.http import HttpResponse

from notify.domain.records import update as updates
from notify.domain.records.update import Unreadable
from notify.web import wiring
from notify.web.http import answers
from notify.web.resources import device
from tests.fake_web import APP
from tests.qa.fuzz import __main__ as fuzz
from tests.qa.fuzz import fleet, target
from tests.qa.fuzz.inputs import MESSAGES, Request, environ_of, key, made
from tests.qa.fuzz.operations import operations
from tests.qa.fuzz.target import Broken, Target

SEED = 1


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Target:
    """The target, in the place of this process's services."""
    monkeypatch.setattr(wiring, "services", wiring.services)
    found = Target()
    found.use()
    return found


def good(name: str) -> Request:
    """The example of an operation, unchanged."""
    (asked,) = (each for each in operations() if each.name == name)
    body = json.dumps(asked.json(APP)).encode()
    environ = {"CONTENT_LENGTH": str(len(body)), "HTTP_AUTHORIZATION": f"Key {key()[0]}"}
    environ |= environ_of(asked)
    return Request(asked, True, asked.method, asked.path(APP), "", body, environ)


def test_a_short_run(capsys: pytest.CaptureFixture[str]) -> None:
    code = fuzz.main(["--inputs", "10000", "--seed", str(SEED), "--processes", "1"])
    said = capsys.readouterr().out
    assert code == 0, said
    assert "10,000 inputs" in said
    assert "resident memory" in said


def test_an_input_follows_from_its_number() -> None:
    for number in range(200):
        first, again = made(SEED, number), made(SEED, number)
        assert first == again
    assert len({str(made(SEED, number)) for number in range(200)}) > 150
    assert made(SEED, 1) != made(SEED + 1, 1)


def test_one_is_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--seed", str(SEED), "--input", "7"]) == 0
    assert "all held" in capsys.readouterr().out


@pytest.mark.parametrize("name", [each.name for each in operations() if each.schema])
def test_examples_hold(tried: Target, name: str) -> None:
    assert tried.look(good(name)) in ("200", "202")


def test_a_bug_in_a_view_is_found(tried: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "kind_in", lambda body: body["no such key"])
    with pytest.raises(Broken, match="503"):
        tried.look(good("player_put"))


def test_what_the_bridge_cannot_read_is_found(
    tried: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "read", lambda value: Unreadable("no"))
    with pytest.raises(Broken, match="the bridge reads"):
        tried.look(good("player_put"))


def test_what_was_refused_and_sent_is_found(tried: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = answers.Refused(400, "no")
    monkeypatch.setattr(
        "notify.web.resources.players.ok", lambda body: answers.refusal(refused, "id")
    )
    with pytest.raises(Broken, match="yet in Kafka"):
        tried.look(good("player_put"))


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (answers.ok({}, status=204), "204"),
        (answers.ok({}, status=201), "201"),
        (answers.ok([], status=200), "no object"),  # type: ignore[arg-type]
        (answers.refusal(answers.Refused(400), ""), "without a text"),
        (HttpResponse(b"{}"), "text/html"),
    ],
)
def test_an_answer_of_another_form_is_found(
    tried: Target, monkeypatch: pytest.MonkeyPatch, answer: Any, found: str
) -> None:
    monkeypatch.setattr("notify.web.resources.players.ok", lambda body: answer)
    with pytest.raises(Broken, match=found):
        tried.look(good("on_focus_post"))


def test_messages_that_do_not_come_back_are_found(
    tried: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = json.dumps(MESSAGES[0]).encode()
    assert tried.look(value) == "readable"
    assert tried.look(b"{}") == "unreadable"
    other = updates.parse(json.dumps(MESSAGES[1]).encode())
    monkeypatch.setattr(target, "parse", lambda value: other)
    with pytest.raises(Broken, match="read again"):
        tried.look(value)
    monkeypatch.setattr(target, "read", lambda value: Unreadable("\ud800"))
    with pytest.raises(UnicodeEncodeError):
        tried.look(value)


def tally(*sizes: int, reached: bool = True) -> fuzz.Tally:
    """A long run whose process had these sizes, in megabytes."""
    found = fuzz.Tally(operations=frozenset({"a"}))
    for size in sizes:
        found.add(
            fleet.Share(
                done=fuzz.LONG,
                outcomes=Counter(),
                reached={"a"} if reached else set(),
                failures=[],
                process=1,
                rss_bytes=size * 2**20,
                operations=frozenset({"a"}),
            )
        )
    return found


def test_memory_that_grows_and_routes_never_reached_are_found(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fuzz._report(tally(90, 91, 91, 92), 1) == 0
    assert fuzz._report(tally(90, 100, 105, 110), 1) == 1
    assert fuzz._report(tally(90, 90, reached=False), 1) == 1
    assert "never accepted, so hardly tried: a" in capsys.readouterr().out
