"""What SDKs do with each of our errors, by the tables of docs/sdks.md: none loses an update that it
should send again, and none repeats for ever what can never succeed.
"""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from notify.kafka.producer import KafkaUnavailable, Overloaded
from notify.web import wiring
from notify.web.access.apps_cache import AppsCache, AppsSnapshot, ReadFailed
from notify.web.wiring import Services
from tests.acceptance.devices import Fixtures, filled
from tests.fake_web import APP, DISABLED_APP, STRICT_APP, Answer, Web

_DOCS: Final = (Path(__file__).parents[2] / "docs" / "sdks.md").read_text()


def table(title: str) -> list[list[str]]:
    """The first table under a heading, its header first."""
    rows: list[list[str]] = []
    for line in _DOCS.partition(f"{title}\n")[2].splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
        elif rows:
            break
    return [row for row in rows if not set(row[0]) <= {"-"} or not row[0]]


def reactions(title: str) -> dict[str, dict[str, str]]:
    """What an SDK does: by request, then by status."""
    (_, *statuses), *rows = table(title)
    return {name: dict(zip(statuses, cells, strict=True)) for name, *cells in rows}


WORDS: Final = {row[0] for row in table("## Words")[1:]}
#: By SDK: the heading of its table, its fixtures, and where each request of the table is in them.
SDKS: Final[dict[str, tuple[str, str, dict[str, tuple[str, str]]]]] = {
    "Android 4.8.12": (
        "## Android 4.8.12",
        "android_4_8_12",
        {
            "params": ("first_start", "android_params"),
            "create": ("first_start", "push_create"),
            "update": ("send_tags", "push_put_tags"),
            "on_session": ("session", "push_on_session"),
            "email_logout": ("logout_email", "push_email_logout"),
            "on_focus": ("session", "push_on_focus"),
            "on_purchase": ("purchase", "push_on_purchase"),
        },
    ),
    "Android 5.9.9": (
        "## Android 5.9.9",
        "android_5_9_9",
        {
            "params": ("first_start", "params"),
            "create_user": ("login/taken_elsewhere", "create_user"),
            "update_user": ("tags", "tags"),
            "login": ("login", "set_alias"),
            "set_alias": ("alias", "alias"),
            "delete_alias": ("alias", "alias_removed"),
            "create_subscription": ("set_email", "email"),
            "update_subscription": ("first_start", "token"),
            "delete_subscription": ("set_email/removed", "email_removed"),
            "transfer": ("transfer", "transfer"),
            "custom_event": ("custom_event", "event"),
            "get_user": ("session", "get_user"),
            "upgrade": ("upgrade_from_4", "identity"),
        },
    ),
    "iOS 3.12.7": (
        "## iOS 3.12.7",
        "ios_3_12_7",
        {
            "params": ("first_start", "ios_params"),
            "create": ("first_start", "push_create"),
            "on_session": ("session", "push_on_session"),
            "update": ("send_tags", "push_put_tags"),
            "address": ("set_email", "email_create"),
            "email_logout": ("logout_email", "push_email_logout"),
            "on_focus": ("session", "push_on_focus"),
            "on_purchase": ("purchase", "push_on_purchase"),
        },
    ),
    "iOS 5.6.1": (
        "## iOS 5.6.1",
        "ios_5_6_1",
        {
            "params": ("first_start", "params"),
            "create_user": ("login/taken_elsewhere", "create_user"),
            "login": ("login", "set_alias"),
            "get_user": ("session", "get_user"),
            "upgrade": ("upgrade_from_3", "identity"),
            "update_user": ("tags", "tags"),
            "set_alias": ("alias", "alias"),
            "delete_alias": ("alias", "alias_removed"),
            "create_subscription": ("set_email", "email"),
            "update_subscription": ("token_refresh", "token"),
            "delete_subscription": ("set_email/removed", "email_removed"),
            "custom_event": ("custom_event", "event"),
            "live_activity": ("live_activity", "token"),
            "outcome": ("session/attributed", "outcome"),
        },
    ),
    "Web 16": (
        "## Web 16",
        "web_16",
        {
            "create_user": ("first_start/login_first", "create_user"),
            "update_user": ("tags", "tags"),
            "session": ("session", "session_start"),
            "login": ("login", "set_alias"),
            "set_alias": ("alias", "alias"),
            "delete_alias": ("alias", "alias_removed"),
            "create_subscription": ("set_email", "email"),
            "update_subscription": ("opt_out", "opt_out"),
            "delete_subscription": ("set_email/removed", "email_removed"),
            "transfer": ("login", "owner"),
            "custom_event": ("custom_event", "event"),
            "get_user": ("first_start/login_first", "get_user"),
        },
    ),
}
CASES: Final = [(sdk, request) for sdk, (_, _, where) in SDKS.items() for request in where]
#: Answered alike whatever is away: nothing of them is stored.
NOT_STORED: Final = {"custom_event", "live_activity", "outcome"}
#: What an SDK reads, and no read of PostgreSQL answers.
PARAMS: Final = "_params.js"


@dataclass(frozen=True)
class Sent:
    """One request of an SDK as its fixture has it, every placeholder filled."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]

    def to(self, web: Web, *, app: str = APP, body: Any = None, raw: bytes | None = None) -> Answer:
        """The answer to it, sent for `app`, with another body where one is given."""
        text = json.dumps(self.body if body is None else body).replace(APP, app)
        data = raw if raw is not None else b"" if self.body is None else text.encode()
        path = self.path.replace(APP, app)
        return web.call(self.method, path, raw=data, headers=self.headers)


def sent(sdk: str, request: str) -> Sent:
    """The request, from the SDK's fixtures. Ids are random, names are as given there."""
    _, folder, where = SDKS[sdk]
    path, name = where[request]
    fixtures = Fixtures(folder)
    part = fixtures.part(path)
    (step,) = (each for each in part["steps"] if each["name"] == name)
    known = {"APP_ID": APP} | fixtures.given(path)
    make = _Random(known)
    return Sent(
        step["method"],
        filled(step["path"], make),
        filled(step["body"], make),
        filled(step["headers"], make),
    )


class _Random(dict[str, str]):
    """Placeholders; a new id for each that is not known."""

    def __missing__(self, name: str) -> str:
        self[name] = str(uuid.uuid4())
        return self[name]


Cause = Callable[[Web, Sent], Answer | None]


def _kafka(error: Exception) -> Cause:
    def cause(web: Web, sent: Sent) -> Answer | None:
        if sent.method == "GET":
            return None
        web.producer.fails = error
        return sent.to(web)

    return cause


def _postgres_away(web: Web, sent: Sent) -> Answer | None:
    if sent.method != "GET" or PARAMS in sent.path:
        return None
    web.reads.away = True
    return sent.to(web)


def _not_applied_yet(web: Web, sent: Sent) -> Answer | None:
    """Of the ids in the request nothing was ever applied."""
    if sent.method != "GET" or PARAMS in sent.path:
        return None
    return sent.to(web)


def _nothing_known(web: Web, sent: Sent) -> Answer | None:
    def fails() -> AppsSnapshot:
        raise ReadFailed("PostgreSQL does not answer")

    services = web.services
    apps = AppsCache(fails, refresh_ms=3_600_000)
    others = {name: getattr(services, name) for name in Services.__slots__ if name != "apps"}
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(wiring, "services", lambda: Services(apps=apps, **others))
            return sent.to(web)
    finally:
        apps.close()


def _not_json(web: Web, sent: Sent) -> Answer | None:
    return None if sent.body is None else sent.to(web, raw=b'{"app_id": "' + APP.encode() + b'",')


def _wrong_types(web: Web, sent: Sent) -> Answer | None:
    """Everything in the body that is not the app's id is a number."""
    if sent.body is None:
        return None
    return sent.to(web, body={key: APP if key == "app_id" else 5 for key in sent.body})


def _too_large(web: Web, sent: Sent) -> Answer | None:
    if sent.body is None:
        return None
    return sent.to(web, body=sent.body | {"tags": {f"tag{n}": "x" * 1000 for n in range(1000)}})


def _name_too_long(web: Web, sent: Sent) -> Answer | None:
    """What the app's developer can do: a name or a tag that is over the limit of one update."""
    text = json.dumps(sent.body)
    for part in ("customer 4711", "A-77", "gold"):
        if part in text:
            return sent.to(web, raw=text.replace(part, "x" * 2000).encode())
    return None


def _for_app(app: str) -> Cause:
    return lambda web, sent: sent.to(web, app=app)


#: They pass, and the update must be applied after them.
TEMPORARY: Final[dict[str, Cause]] = {
    "Kafka away": _kafka(KafkaUnavailable("Kafka does not answer")),
    "overloaded": _kafka(Overloaded("too much waits for Kafka")),
    "a bug": _kafka(RuntimeError("a bug")),
    "PostgreSQL away": _postgres_away,
    "no apps read yet": _nothing_known,
    "not applied yet": _not_applied_yet,
}
#: No later try can be any better.
FOR_EVER: Final[dict[str, Cause]] = {
    "not JSON": _not_json,
    "wrong types": _wrong_types,
    "too large": _too_large,
    "a text too long": _name_too_long,
}
#: Nothing is to be applied, but an app that is opened again must find its devices as they were.
CLOSED: Final[dict[str, Cause]] = {
    "unknown app": _for_app("0b7c2f6e-1111-4c3b-9f7e-6a2d0c5b4e99"),
    "disabled app": _for_app(DISABLED_APP),
    "key needed": _for_app(STRICT_APP),
}
KEEPS: Final = {"again", "bounded", "later", "restart", "held", "done"}
ENDS: Final = {"done", "bounded", "later", "restart", "dropped", "recreates", "create_user"}
LETS_GO: Final = {"done", "bounded", "later", "restart", "dropped", "held"}


def status_in_tables(status: int) -> str:
    """The column for a status."""
    return "5xx" if status >= 500 else str(status)


def unsuitable(web: Web, sdk: str, request: str) -> dict[str, str]:
    """Causes after which the SDK does what it should not: cause → status and reaction."""
    reacts = reactions(SDKS[sdk][0])[request]
    found: dict[str, str] = {}
    for causes, good in ((TEMPORARY, KEEPS), (FOR_EVER, ENDS), (CLOSED, LETS_GO)):
        for name, cause in causes.items():
            web.producer.fails, web.reads.away = None, False
            answer = cause(web, sent(sdk, request))
            if answer is None:
                continue
            assert answer.headers["Content-Type"] == "application/json"
            reaction = reacts[status_in_tables(answer.status)]
            if reaction not in good:
                found[name] = f"{answer.status}: {reaction}"
    return found


@pytest.mark.parametrize(("sdk", "request_name"), CASES)
def test_nothing_is_lost_and_nothing_is_repeated_for_ever(
    web: Web, sdk: str, request_name: str
) -> None:
    written = {
        cause: happens
        for sdks, requests, causes, happens in table("### What does not suit")[1:]
        for cause in causes.split(", ")
        if sdk in sdks.split(", ") and request_name in requests.split(", ")
    }
    assert unsuitable(web, sdk, request_name) == written


@pytest.mark.parametrize("sdk", SDKS)
def test_the_tables_are_whole(sdk: str) -> None:
    title, _, where = SDKS[sdk]
    reacts = reactions(title)
    assert set(reacts) == set(where)
    for by_status in reacts.values():
        assert set(by_status.values()) <= WORDS
        assert {by_status["200"], by_status["202"]} == {"done"}
        assert by_status["5xx"] in KEEPS | {"dropped"}


@pytest.mark.parametrize(("sdk", "request_name"), CASES)
def test_what_is_asked_for_succeeds(web: Web, sdk: str, request_name: str) -> None:
    """So that the errors above come from their causes, not from the requests."""
    asked = sent(sdk, request_name)
    # Nothing has been applied yet of what is read.
    of_a_read = (200, 503) if sdk == "iOS 5.6.1" else (200, 404)
    assert asked.to(web).status in (of_a_read if asked.method == "GET" else (200, 202))


@pytest.mark.parametrize(("sdk", "request_name"), CASES)
def test_a_503_says_when_to_come_again(web: Web, sdk: str, request_name: str) -> None:
    for name, cause in TEMPORARY.items():
        if name == "not applied yet":
            continue
        web.producer.fails, web.reads.away = None, False
        answer = cause(web, sent(sdk, request_name))
        if answer is not None and not (answer.status == 200 and request_name in NOT_STORED):
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
