"""docker/haproxy.cfg in front of a real web: who reaches what, and how often."""

import http.client
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from django.urls import URLPattern, URLResolver

from devstack import product
from notify.web import urls
from tests import proxy
from tests.proxy import Proxy
from tests.running import Running, running
from tests.waiting import wait_for

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

LOGIN_FAILURES = 3


@pytest.fixture(scope="module")
def web(
    postgres: str, redis_url: str, kafka: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, str]]:
    """A running web, and its URL."""
    if lacking := proxy.needs():
        pytest.skip(lacking)
    environ = {"NOTIFY_PROXIES": "1", "NOTIFY_LOGIN_FAILURES": str(LOGIN_FAILURES)}
    name = f"t{uuid.uuid4().hex[:10]}"
    with running(tmp_path_factory.mktemp("stack"), name, environ=environ) as run:
        product.manage(run.stack, "migrate", "-v0")
        url = product.start_web(run.stack)
        wait_for(lambda: product.answers(f"{url}/healthz/ready"))
        yield run, url


@pytest.fixture(scope="module")
def front(web: tuple[Running, str]) -> Proxy:
    """In front of it, with the limits of the file."""
    run, url = web
    return Proxy(run.stack, [url])


def call(
    url: str,
    path: str,
    method: str = "GET",
    *,
    body: str = "",
    headers: dict[str, str] | None = None,
    of: str = "127.0.0.1",
) -> http.client.HTTPResponse:
    """The answer to a request of this address, its path sent as it is; its body has been read.

    It is sent again while the proxy itself answers 503: on a busy machine web misses checks of its health.
    """
    deadline = time.monotonic() + 180
    while True:
        line = http.client.HTTPConnection(urlsplit(url).netloc, timeout=180, source_address=(of, 0))
        try:
            line.request(method, path, body=body or None, headers=headers or {})
            answer = line.getresponse()
            answer.read()
        finally:
            line.close()
        is_webs = answer.getheader("X-Content-Type-Options") is not None
        if answer.status != 503 or is_webs or time.monotonic() > deadline:
            return answer
        time.sleep(0.1)


#: Requests in ten seconds, after which those of an address are refused: few, as a busy machine sends few.
FEW = 4


def until_refused(ask: Callable[[], int]) -> list[int]:
    """Ask until the answer is 429: what was answered before. Fails where it never is."""
    statuses: list[int] = []

    def is_refused() -> bool:
        statuses.append(ask())
        return statuses[-1] == 429

    wait_for(is_refused, every_s=0)
    return statuses[:-1]


def test_prometheus_reads_the_proxys_own_figures_on_a_port_of_their_own(front: Proxy) -> None:
    def figures() -> str:
        with urlopen(front.metrics, timeout=180) as answer:
            return str(answer.read().decode())

    # On a busy machine web may miss a check of its health.
    wait_for(lambda: 'haproxy_backend_active_servers{proxy="web"} 1' in figures())
    assert 'haproxy_backend_connection_errors_total{proxy="web"} ' in figures()
    root = front.metrics.removesuffix("/metrics")
    assert [call(root, path).status for path in ("/", "/admin/", "/players")] == [404] * 3


def test_the_public_reaches_the_api_and_nothing_else(
    web: tuple[Running, str], front: Proxy
) -> None:
    run, url = web
    for path in ("/metrics", "/healthz/pipeline", "/healthz/ready", "/admin/login/"):
        assert call(url, path).status in (200, 503), "it is there behind the proxy"
        for disguised in (path, _encoded(path), f"/{path}", f"/.{path}", f"{path}?x=/apps/"):
            assert call(front.url, disguised).status == 404, disguised
    assert call(front.url, "/static/admin/css/base.css").status == 404
    assert call(front.url, "/appsx").getheader("X-Content-Type-Options") is None, "not web's 404"
    assert call(front.url, "/").status == 404
    params = f"/apps/{run.app.app_id}/android_params.js"
    for path in ("/healthz/live", "/openapi.json", params, f"/api/v1{params}", _encoded(params)):
        assert call(front.url, path).status == 200, path
    escape = f"/apps/{run.app.app_id}/../../metrics"
    for path in (escape, escape.replace("/..", "%2f..")):
        assert call(front.url, path).status == 404, path


def _encoded(path: str) -> str:
    """Each letter as %xx, which a server reads as the same path."""
    return re.sub(r"[a-z]", lambda found: f"%{ord(found[0]):02x}", path)


def test_operators_reach_the_admin_and_the_health_at_a_port_of_their_own(front: Proxy) -> None:
    for path in ("/admin/login/", "/healthz/ready", "/healthz/live"):
        assert call(front.operators, path).status == 200, path
    assert call(front.operators, "/healthz/pipeline").status in (200, 503)
    for path in ("/metrics", "/%6detrics", "/players", "/apps/x/users"):
        assert call(front.operators, path).status == 404, path


def test_every_route_is_public_or_for_operators_or_for_scrapers(front: Proxy) -> None:
    """A route that is added to web and not to the proxy is not there for anybody."""
    for path in _paths(urls.urlpatterns):
        reached = [
            each
            for each in (front.url, front.operators)
            if call(each, path).getheader("X-Content-Type-Options")
        ]
        if path.startswith("/admin/"):
            is_for = [front.operators]
        elif path.startswith("/healthz/"):
            is_for = [front.operators] if path != "/healthz/live" else [front.url, front.operators]
        elif path == "/metrics":
            is_for = []
        else:
            is_for = [front.url]
        assert reached == is_for, path


def _paths(patterns: list[URLPattern | URLResolver], before: str = "/") -> Iterator[str]:
    for pattern in patterns:
        path = before + re.sub(r"<[^>]+>", "x", str(pattern.pattern))
        if isinstance(pattern, URLPattern) or path.startswith("/admin/"):
            yield path
        else:
            yield from _paths(pattern.url_patterns, path)


def _guess(url: str, user: str, **headers: str) -> int:
    page = call(url, "/admin/login/")
    cookie = str(page.getheader("Set-Cookie")).split(";")[0]
    token = cookie.partition("=")[2]
    return call(
        url,
        "/admin/login/?next=/admin/",
        "POST",
        body=f"username={user}&password=wrong&csrfmiddlewaretoken={token}",
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": cookie,
            **{name.replace("__", "-"): text for name, text in headers.items()},
        },
    ).status


def test_a_client_cannot_make_up_the_address_that_its_logins_count_for(
    web: tuple[Running, str], front: Proxy
) -> None:
    run, _ = web
    statuses = [
        _guess(
            front.operators,
            f"user{number}",
            X__Forwarded__For=f"198.51.100.{number}",
            X_Forwarded_For=f"203.0.113.{number}",
        )
        for number in range(LOGIN_FAILURES)
    ]
    assert statuses == [200] * (LOGIN_FAILURES - 1) + [429]
    rows = run.rows(
        "SELECT DISTINCT host(ip_address) FROM axes_accessattempt WHERE username <> 'root'"
    )
    assert rows == [("127.0.0.1",)]


def test_a_header_without_a_hyphen_needs_no_proxy_that_drops_underscores(
    web: tuple[Running, str],
) -> None:
    """F23, of a proxy that passes on what clients write beside its own header."""
    run, _ = web
    environ = {"NOTIFY_ADDRESS_HEADER": "ClientAddress"}
    url = product.start_web(run.stack, "web-hyphenless", env=environ)
    wait_for(lambda: product.answers(f"{url}/healthz/ready"))
    made_up = {"Client_Address": "203.0.113.1", "X_Forwarded_For": "203.0.113.2"}
    _guess(url, "root", ClientAddress="192.0.2.77", **made_up)
    rows = run.rows("SELECT host(ip_address) FROM axes_accessattempt WHERE username = 'root'")
    assert rows == [("192.0.2.77",)]


def _junk(front: Proxy, app_id: str, *, of: str) -> int:
    return call(
        front.url, "/players", "POST", body="{", headers={"Content-Type": "application/json"}, of=of
    ).status


def test_an_address_that_sends_junk_is_refused_and_others_are_not(web: tuple[Running, str]) -> None:
    run, url = web
    front = Proxy(run.stack, [url], name="junk", ADDRESS_REFUSED_10S=str(FEW))
    statuses = until_refused(lambda: _junk(front, run.app.app_id, of="127.0.0.1"))
    assert statuses == [400] * len(statuses)
    assert len(statuses) >= FEW
    assert _junk(front, run.app.app_id, of="127.0.0.2") == 400


def test_an_address_that_asks_for_what_is_not_there_is_refused_and_others_are_not(
    web: tuple[Running, str],
) -> None:
    run, url = web
    front = Proxy(run.stack, [url], name="probes", ADDRESS_REFUSED_10S=str(FEW))
    statuses = until_refused(lambda: call(front.url, "/.env").status)
    assert statuses == [404] * len(statuses)
    assert len(statuses) >= FEW

    def is_refused_all() -> bool:
        call(front.url, "/.env")
        return call(front.url, "/healthz/live").status == 429

    wait_for(is_refused_all, every_s=0)
    assert call(front.url, "/healthz/live", of="127.0.0.2").status == 200


def test_an_address_has_fewer_requests_without_a_key_than_with_one(
    web: tuple[Running, str],
) -> None:
    """So well-formed updates of a stranger do not use up what an app's devices may send."""
    run, url = web
    front = Proxy(run.stack, [url], name="keyless", ADDRESS_KEYLESS_10S=str(FEW))
    params = f"/apps/{run.app.app_id}/android_params.js"
    # Web takes these for requests without a key, or refuses them.
    for scheme in ("", "Key", "Key ", "Basic", "Key \xa0", "Bearer x"):
        headers = {"Authorization": scheme} if scheme else {}
        until_refused(lambda headers=headers: call(front.url, params, headers=headers).status)  # type: ignore[misc]
    keyed = {"Authorization": f"Key {run.app.key}"}
    assert [call(front.url, params, headers=keyed).status for _ in range(21)] == [200] * 21
    assert call(front.url, params, of="127.0.0.2").status == 200
    assert call(front.url, params, headers={"Authorization": "Key x"}).status == 403


def test_an_address_has_so_many_connections_and_leaves_the_rest_to_others(
    web: tuple[Running, str],
) -> None:
    run, url = web
    front = Proxy(run.stack, [url], name="wide", ADDRESS_CONNECTIONS="20")
    with ExitStack() as stack:
        for _ in range(20):
            line = http.client.HTTPConnection(urlsplit(front.url).netloc, timeout=180)
            stack.callback(line.close)
            line.request("GET", "/healthz/live")
            assert line.getresponse().read()
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            call(front.url, "/healthz/live")
        assert call(front.url, "/healthz/live", of="127.0.0.2").status == 200
    wait_for(lambda: _is_taken(front))


def _is_taken(front: Proxy) -> bool:
    try:
        return call(front.url, "/healthz/live").status == 200
    except (http.client.RemoteDisconnected, ConnectionError):
        return False


def test_an_address_has_so_many_requests_and_is_told_when_to_come_again(
    web: tuple[Running, str],
) -> None:
    run, url = web
    front = Proxy(run.stack, [url], name="many", ADDRESS_REQUESTS_10S=str(FEW))
    answers: list[http.client.HTTPResponse] = []

    def ask() -> int:
        answers.append(call(front.url, "/healthz/live"))
        return answers[-1].status

    statuses = until_refused(ask)
    assert statuses == [200] * len(statuses)
    assert len(statuses) >= FEW
    assert answers[-1].getheader("Retry-After") == "1"
    assert call(front.url, "/healthz/live", of="127.0.0.2").status == 200
