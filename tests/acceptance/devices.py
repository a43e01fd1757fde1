"""A device with an SDK on it: plays the fixtures of tests/fixtures, and reads answers as that SDK does.

The fixtures' own READMEs say what is in them and how they were derived.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.fake_web import Web

FOLDER = Path(__file__).parents[1] / "fixtures"

#: method, path, body, headers → status, JSON object
Send = Callable[[str, str, Any, dict[str, str]], tuple[int, dict[str, Any]]]
#: what is waited for, and when it holds
Wait = Callable[[str, Callable[[], bool]], None]
Step = dict[str, Any]

_PLACEHOLDER = re.compile(r"\{[A-Z_]+\}")
_SEGMENT = re.compile(r"(?P<name>\w+)(\[(?P<key>\w+)=(?P<value>[^\]]*)\])?")


class Fixtures:
    """The sequences of one SDK."""

    def __init__(self, folder: str) -> None:
        read = (json.loads(path.read_text()) for path in sorted((FOLDER / folder).glob("*.json")))
        self.sequences: dict[str, dict[str, Any]] = {found["sequence"]: found for found in read}

    def part(self, path: str) -> dict[str, Any]:
        """A sequence, or `sequence/variant`."""
        name, _, variant = path.partition("/")
        sequence = self.sequences[name]
        if not variant:
            return sequence
        (found,) = (each for each in sequence["variants"] if each["name"] == variant)
        return dict(found)

    def given(self, path: str) -> dict[str, str]:
        """The placeholders that a part gives, with those of its sequence and of what it is after."""
        before: dict[str, str] = {}
        for each in self.part(path)["after"]:
            before |= self.given(each)
        return before | self.given_here(path)

    def given_here(self, path: str) -> dict[str, str]:
        """The same without what it is after."""
        part, sequence = self.part(path), self.part(path.partition("/")[0])
        return {**sequence.get("given", {}), **part.get("given", {})}

    def paths(self) -> Iterator[str]:
        """Every sequence, and every sequence/variant."""
        for name, sequence in self.sequences.items():
            yield name
            for variant in sequence.get("variants", ()):
                yield f"{name}/{variant['name']}"

    def parts(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Every (sequence or sequence/variant that is played, order of its steps)."""
        for path in self.paths():
            part = self.part(path)
            if part.get("played", True):
                written = tuple(step["name"] for step in part["steps"])
                for order in sorted({written, *map(tuple, part.get("orders", ()))}):
                    yield path, order


class Device:
    """Sends a sequence's requests, and fails where an answer is not what the SDK needs.

    With `wait`, a read is repeated until it shows what was sent. Without, it may also be answered
    404, as reads are of what has been applied; an id that it should have given is then a random one.
    """

    def __init__(
        self,
        fixtures: Fixtures,
        send: Send,
        app: str,
        *,
        wait: Wait | None = None,
        own: Mapping[str, str] | None = None,
    ) -> None:
        """`own` are placeholders of this device, instead of those that the fixtures give."""
        self._fixtures = fixtures
        self._send = send
        self._wait = wait
        self._own = dict(own or {})
        self._played: set[str] = set()
        self.known: dict[str, str] = {"APP_ID": app}

    def play(self, path: str, order: Sequence[str] = ()) -> None:
        """One sequence or variant, its steps in `order`, after those that it comes after and that
        were not played yet."""
        for before in self._fixtures.part(path)["after"]:
            if before not in self._played:
                self.play(before)
        self.play_only(path, order)

    def play_only(self, path: str, order: Sequence[str] = ()) -> None:
        """The same without what it comes after."""
        self._played.add(path)
        part = self._fixtures.part(path)
        self.known |= self._fixtures.given_here(path) | self._own
        steps = {step["name"]: step for step in part["steps"]}
        for name in order or steps:
            self._step(steps[name], f"{path}: {name}")

    def _step(self, step: Step, where: str) -> None:
        must = step["answer_must"]
        reads = must.get("reads", False)
        status = 0
        answer: dict[str, Any] = {}

        def suits() -> bool:
            nonlocal status, answer
            status, answer = self._send(
                step["method"],
                self._filled(step["path"]),
                self._filled(step["body"]),
                self._filled(step["headers"]),
            )
            return not reads or (status == 200 and self._holds(must, answer))

        if reads and self._wait is not None:
            self._wait(f"{where} shows what was sent", suits)
        elif not suits() and status == 404:
            self.known |= {name: str(uuid.uuid4()) for name in step.get("saves", {})}
            return
        self._check(must, status, answer, where)
        for placeholder, field in step.get("saves", {}).items():
            self.known[placeholder] = found(answer, self._filled(field))

    def _holds(self, must: dict[str, Any], answer: dict[str, Any]) -> bool:
        wanted = must.get("holds", {}).items()
        return all(found(answer, path) == self._filled(value) for path, value in wanted)

    def _check(self, must: dict[str, Any], status: int, answer: dict[str, Any], where: str) -> None:
        assert status in must["status"], (where, status, answer)
        for field in must["fields"]:
            name = field if isinstance(field, str) else field["name"]
            value = found(answer, self._filled(name))
            optional = not isinstance(field, str) and field.get("optional", False)
            assert value is not None or optional, (where, name, answer)
            assert value != "", (where, name, answer)
        for name, needed in must.get("each", {}).items():
            for one in answer.get(name, ()):
                assert all(isinstance(one.get(key), str) for key in needed), (where, needed, one)

    def _filled(self, value: Any) -> Any:
        return filled(value, self.known)


def filled(value: Any, known: Mapping[str, str]) -> Any:
    """The same with every `{PLACEHOLDER}` replaced by what is known under its name."""
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: known[match[0][1:-1]], value)
    if isinstance(value, dict):
        return {key: filled(each, known) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, known) for each in value]
    return value


def found(answer: Any, path: str) -> Any:
    """What is at `a.b`, `a.0.b` or `a[type=Email].b` in an answer; None where nothing is.

    In brackets types are compared without regard to case, as the Android SDK does.
    """
    for part in re.findall(r"(?:[^.\[]|\[[^\]]*\])+", path):
        segment = _SEGMENT.fullmatch(part)
        assert segment is not None, path
        answer = _inside(answer, segment["name"])
        if segment["key"] is not None:
            each = answer if isinstance(answer, list) else ()
            answer = next((one for one in each if _is(one, segment["key"], segment["value"])), None)
    return answer


def _inside(value: Any, name: str) -> Any:
    if isinstance(value, list) and name.isdecimal():
        return value[int(name)] if int(name) < len(value) else None
    return value.get(name) if isinstance(value, dict) else None


def _is(value: Any, key: str, wanted: str) -> bool:
    has = value.get(key) if isinstance(value, dict) else None
    return isinstance(has, str) and has.lower() == wanted.lower()


def to_views(web: Web) -> Send:
    """Requests to the views with fakes behind them."""

    def send(
        method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        answer = web.call(method, path, body, headers=headers)
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, answer.body

    return send


def to_server(url: str) -> Send:
    """Requests to a server that listens at `url`."""

    def send(
        method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        return http(url, method, path, body, headers)

    return send


def http(
    url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of one request to a server; 0 where nobody listens yet."""
    data = None if body is None else json.dumps(body).encode()
    # Python's client does not take a space in a path, which SDKs send encoded.
    request = Request(url + path.replace(" ", "%20"), data, dict(headers or {}), method=method)
    try:
        with urlopen(request, timeout=180) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
    except OSError:
        return 0, {}
