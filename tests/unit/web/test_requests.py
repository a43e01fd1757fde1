"""What holds for every request: bodies, keys, errors, traces, routes."""

import gzip
import json
import zlib
from functools import partial
from typing import Any

import pytest
from pytest_django import Settings

from notify.kafka.producer import KafkaUnavailable, Overloaded
from notify.telemetry import metrics
from notify.web.http import bodies, endpoint
from tests.fake_web import APP, DISABLED_APP, PLAYER, STRICT_APP, Answer, Web

PUT = f"/players/{PLAYER}"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


def put_raw(web: Web, text: str | bytes) -> Answer:
    """The answer to a PUT of exactly this; APP stands for the app's id."""
    raw = text if isinstance(text, bytes) else text.replace("APP", APP).encode()
    return web.call("PUT", PUT, raw=raw)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"APP"',
        '{"app_id":"APP"} x',
        '{"app_id":"APP","app_id":"APP"}',
        '{"app_id":"APP","tags":{"a":1,"a":2}}',
        '{"app_id":"APP","tags":{"a":NaN}}',
        '{"app_id":"APP","tags":{"a":-Infinity}}',
        '{"app_id":"APP","tags":{"a":' + "9" * 9_000 + "}}",
        b'{"app_id":"' + APP.encode() + b'","tags":{"a":"\xff"}}',
        b"\xef\xbb\xbf{}",
        '{"app_id":"APP"}'.encode("utf-16"),
        "[" * 30_000,
        '{"a":' * 5_000,
    ],
)
def test_what_is_not_plain_json(web: Web, text: str | bytes) -> None:
    answer = put_raw(web, text)
    assert answer.status == 400
    assert answer.body["errors"]
    assert web.sent() == []


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("1e999", 200),
        ("9" * 400, 200),
        ("9" * 4_300, 200),
        ("9" * 4_301, 400),
        ('"\\ud800"', 200),
        ('"\\u0000"', 200),
        ("NaN", 400),
        ('{"a":1,"a":2}', 400),
    ],
)
def test_what_a_key_that_is_not_read_may_hold(web: Web, value: str, status: int) -> None:
    answer = put_raw(web, '{"app_id":"APP","tags":{"a":"1"},"unknown":' + value + "}")
    assert answer.status == status
    if status == 200:
        assert web.one().patch.ops == {"tags.a": ("=", "1")}


def test_depth(web: Web) -> None:
    def nested(levels: int) -> str:
        return '{"app_id":"APP","x":' + "[" * (levels - 1) + "]" * (levels - 1) + "}"

    assert put_raw(web, nested(8)).status == 200
    assert put_raw(web, nested(9)).status == 400


def test_size(web: Web, settings: Settings) -> None:
    head = '{"app_id":"' + APP + '"'

    def status(size: int) -> int:
        return put_raw(web, head + " " * (size - len(head) - 1) + "}").status

    assert status(settings.NOTIFY_BODY_BYTES) == 200
    assert status(settings.NOTIFY_BODY_BYTES + 1) == 413


def test_an_update_that_grows_past_what_the_bridge_reads(web: Web, settings: Settings) -> None:
    """A body within the limit may be a message over it: nothing is put into Kafka then."""
    settings.NOTIFY_BODY_BYTES = 100_000
    tags = {f"{n:02}": "x" * 1024 for n in range(40)}
    assert web.call("PUT", PUT, {"app_id": APP, "tags": tags}).status == 413
    assert web.sent() == []


GZIP = {"Content-Encoding": "gzip"}
#: Without the time of day: every process that collects these tests must find the same ones.
pack = partial(gzip.compress, mtime=0)
BODY = json.dumps({"app_id": APP, "tags": {"a": "1"}}).encode()


@pytest.mark.parametrize(
    "packed",
    [
        pack(BODY),
        pack(BODY, 1),
        pack(BODY[:9]) + pack(BODY[9:]),
        pack(b"") + pack(BODY),
    ],
)
def test_a_body_may_be_packed(web: Web, packed: bytes) -> None:
    assert web.call("PUT", PUT, raw=packed, headers=GZIP).status == 200
    assert web.one().patch.ops == {"tags.a": ("=", "1")}


@pytest.mark.parametrize(
    ("packed", "words"),
    [
        (b"", "not JSON"),
        (BODY, "is not gzip"),
        (zlib.compress(BODY), "is not gzip"),
        (pack(BODY)[:-9], "is cut off"),
        (pack(BODY)[:5], "is cut off"),
        (pack(BODY)[:-8] + b"12345678", "is not gzip"),
        (pack(BODY) + b"x", "is cut off"),
        (pack(BODY) + b"junk that is long enough", "is not gzip"),
        (pack(BODY) * 2, "not JSON"),
    ],
)
def test_a_body_that_is_badly_packed(web: Web, packed: bytes, words: str) -> None:
    answer = web.call("PUT", PUT, raw=packed, headers=GZIP)
    assert answer.status == 400
    assert words in answer.body["errors"][0]
    assert web.sent() == []


def test_a_body_is_never_inflated_past_its_bound(
    web: Web, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    inflated: list[int] = []
    inflate = zlib.decompressobj

    class Watched:
        def __init__(self, wbits: int) -> None:
            self._member = inflate(wbits)

        def decompress(self, packed: bytes, most: int) -> bytes:
            part: bytes = self._member.decompress(packed, most)
            inflated.append(len(part))
            return part

        def __getattr__(self, name: str) -> object:
            return getattr(self._member, name)

    monkeypatch.setattr("notify.web.http.bodies.zlib.decompressobj", Watched)
    settings.NOTIFY_BODY_BYTES = 10_000
    bomb = gzip.compress(b" " * 9_000_000)
    many = gzip.compress(b" " * 3_000) * 20
    for packed in (bomb, many):
        inflated.clear()
        answer = web.call("PUT", PUT, raw=packed, headers=GZIP)
        assert answer.status == 413
        assert "decompressed" in answer.body["errors"][0]
        assert sum(inflated) == 10_001
    full = BODY[:-1] + b" " * (10_000 - len(BODY)) + b"}"
    assert web.call("PUT", PUT, raw=gzip.compress(full), headers=GZIP).status == 200
    assert web.call("PUT", PUT, raw=gzip.compress(full + b" "), headers=GZIP).status == 413


def test_a_body_has_so_many_gzip_members(web: Web) -> None:
    """Each costs a copy of what follows it: 25,000 empty ones would fit into a batch."""
    empty = gzip.compress(b"")
    most = empty * (bodies.GZIP_MEMBERS_MAX - 1) + gzip.compress(BODY)
    assert web.call("PUT", PUT, raw=most, headers=GZIP).status == 200
    answer = web.call("PUT", PUT, raw=empty + most, headers=GZIP)
    assert answer.status == 400
    assert "compress it in one piece" in answer.body["errors"][0]


@pytest.mark.parametrize("encoding", ["deflate", "br", "gzip, gzip", "zstd", "x-gzip"])
def test_a_body_is_packed_in_one_way_only(web: Web, encoding: str) -> None:
    answer = web.call("PUT", PUT, raw=BODY, headers={"Content-Encoding": encoding})
    assert answer.status == 400
    assert "must be gzip" in answer.body["errors"][0]


@pytest.mark.parametrize("encoding", ["identity", "", " Identity "])
def test_a_body_may_say_that_it_is_not_packed(web: Web, encoding: str) -> None:
    assert web.call("PUT", PUT, raw=BODY, headers={"Content-Encoding": encoding}).status == 200


def test_a_body_has_so_many_members(web: Web, settings: Settings) -> None:
    settings.NOTIFY_BODY_MEMBERS = 10
    ignored = {"app_id": APP, "x": [[1, 2], {"a": 1, "b": [3]}]}  # 2 + 2 + 2 + 2 + 1 members
    assert web.call("PUT", PUT, ignored).status == 200
    for more in ({**ignored, "y": 1, "z": 1}, {"app_id": APP, "x": [0] * 9}):
        answer = web.call("PUT", PUT, more)
        assert answer.status == 400
        assert "more than 10 values" in answer.body["errors"][0]


@pytest.mark.parametrize("app_id", [None, "", 5, ["x"], {}, True])
def test_app_id_is_needed(web: Web, app_id: object) -> None:
    assert web.call("PUT", PUT, {"app_id": app_id}).status == 400


@pytest.mark.parametrize("app_id", [PLAYER, "x", DISABLED_APP, "\0", "é"])
def test_an_unknown_or_disabled_app_is_told_to_stop(web: Web, app_id: str) -> None:
    for key in ("", web.secret):
        assert web.call("PUT", PUT, {"app_id": app_id}, key=key).status == 403
    assert web.call("GET", f"/apps/{PLAYER}/android_params.js").status == 403


def test_keys(web: Web) -> None:
    def status(app: str, header: str) -> int:
        headers = {"Authorization": header}
        return web.call("PUT", PUT, {"app_id": app}, headers=headers).status

    for app in (APP, STRICT_APP):
        assert status(app, f"Key {web.secret}") == 200
        assert status(app, f"basic {web.secret}") == 200
        assert status(app, f"Key {web.secret}x") == 403
        assert status(app, "Key é") == 403
        assert status(app, f"Bearer {web.secret}") == 401
    assert status(APP, "Key ") == 200
    assert status(STRICT_APP, "Key ") == 401
    answer = web.call("PUT", PUT, {"app_id": STRICT_APP})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Key")


def test_params_need_no_key_and_are_kept_by_their_etag(web: Web) -> None:
    for app in (APP, STRICT_APP):
        for prefix in ("", "/api/v1"):
            answer = web.call("GET", f"{prefix}/apps/{app}/android_params.js?player_id={PLAYER}")
            assert answer.status == 200
            assert all(isinstance(each, (dict, bool)) for each in answer.body["outcomes"].values())
            assert None not in answer.body.values()
    headers = {"If-None-Match": answer.headers["ETag"]}
    again = web.call("GET", f"/apps/{APP}/android_params.js", headers=headers)
    assert (again.status, again.body) == (304, {})


@pytest.mark.parametrize(
    ("error", "reason"),
    [(Overloaded("full"), "overloaded"), (KafkaUnavailable("away"), "kafka_away")],
)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/players", {"app_id": APP}),
        ("PUT", PUT, {"app_id": APP}),
        ("POST", f"{PUT}/on_session", {"app_id": APP}),
        ("PATCH", f"/apps/{APP}/subscriptions/{PLAYER}", {"subscription": {}}),
        ("DELETE", f"/apps/{APP}/subscriptions/{PLAYER}", None),
        ("POST", f"/apps/{APP}/batch", {"updates": [{"record": PLAYER}]}),
    ],
)
def test_what_kafka_did_not_ack_is_not_accepted(
    web: Web, error: Exception, reason: str, method: str, path: str, body: Any
) -> None:
    refused = metrics.WEB_REFUSED.labels(reason)
    before = refused._value.get()
    web.producer.fails = error
    answer = web.call(method, path, body, key=web.secret)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Content-Type"] == "application/json"
    assert refused._value.get() == before + 1


def test_a_bug_is_a_planned_answer_too(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    web.producer.fails = ZeroDivisionError("secret body")
    answer = web.call("PUT", PUT, {"app_id": APP})
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "secret" not in json.dumps(answer.body)


def test_the_trace_goes_into_kafka_and_into_errors(web: Web) -> None:
    web.call("PUT", PUT, {"app_id": APP}, headers={"traceparent": TRACEPARENT})
    assert web.producer.traceparents == [TRACEPARENT]
    answer = web.call("PUT", PUT, {}, headers={"traceparent": TRACEPARENT})
    assert answer.body["request_id"] == "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        TRACEPARENT.upper(),
        TRACEPARENT.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
    ],
)
def test_a_malformed_trace_is_replaced(web: Web, given: str) -> None:
    web.call("PUT", PUT, {"app_id": APP}, headers={"traceparent": given})
    (made,) = web.producer.traceparents
    assert made != given
    assert [len(part) for part in made.split("-")] == [2, 32, 16, 2]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nope"),
        ("GET", "/players"),
        ("HEAD", "/players"),
        ("OPTIONS", "/players"),
        ("POST", "/players/"),
        ("POST", f"{PUT}/on_pause"),
        ("POST", "/notifications"),
        ("GET", "/in_app_messages/1/variants/2/html"),
        ("GET", "/api/v1/healthz/live"),
        ("GET", "/%00%ff/\ud7ff"),
    ],
)
def test_what_is_not_there_is_404_in_json(web: Web, method: str, path: str) -> None:
    answer = web.call(method, path, {})
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/json"
    assert method == "HEAD" or answer.body.keys() == {"errors", "request_id"}


def test_plain_http_is_refused_where_tls_is_on(web: Web, settings: Settings) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert web.call("PUT", PUT, {"app_id": APP}, secure=False).status == 403
    assert web.call("GET", "/healthz/live", secure=False).status == 200
    settings.SECURE_SSL_REDIRECT = False
    assert web.call("PUT", PUT, {"app_id": APP}, secure=False).status == 200


def test_requests_are_counted_by_route_not_by_path(web: Web) -> None:
    counted = metrics.WEB_REQUESTS.labels("player", "200")
    before = counted._value.get()
    web.call("PUT", PUT, {"app_id": APP})
    assert counted._value.get() == before + 1
    assert PLAYER not in web.client.get("/metrics", secure=True).content.decode()


def test_views_are_exempt_from_csrf() -> None:
    assert endpoint.endpoint("x").csrf_exempt  # type: ignore[attr-defined]
