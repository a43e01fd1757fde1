"""The WSGI application, as a server calls it."""

import io
import json
from typing import Any

import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

from notify.web.http.edge import Application
from tests.fake_web import APP, PLAYER, Web

BODY = json.dumps({"app_id": APP, "tags": {"a": "b"}}).encode()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


class Broken(io.BytesIO):
    """A body whose client went away."""

    def read(self, size: int | None = -1) -> bytes:
        raise ConnectionResetError


class Trickle(io.BytesIO):
    """A body that comes in small pieces, and counts what was read of it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        part = super().read(min(10, size or 0))
        self.taken += len(part)
        return part


CHUNKED: dict[str, Any] = {"wsgi.input_terminated": True}


def call(body: io.BytesIO, *, path: str = f"/players/{PLAYER}", **environ: Any) -> tuple[int, Any]:
    """(status, body) of a PUT through the application."""
    started: list[tuple[str, list[tuple[str, str]]]] = []

    def start(status: str, headers: list[tuple[str, str]], error: object = None) -> Any:
        started.append((status, headers))

    request = {
        "REQUEST_METHOD": "PUT",
        "PATH_INFO": path,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "https",
        "wsgi.input": body,
        **environ,
    }
    application = Application(WSGIHandler())
    answer = b"".join(application(request, start))
    ((status, headers),) = started
    assert dict(headers)["Content-Type"]
    return int(status.split()[0]), answer


def test_an_update_goes_straight_through(web: Web) -> None:
    status, answer = call(Trickle(BODY), CONTENT_LENGTH=str(len(BODY)))
    assert (status, json.loads(answer)) == (200, {"success": True})
    assert web.one().record == PLAYER


def test_a_chunked_body_is_read_to_its_end(web: Web) -> None:
    assert call(Trickle(BODY), **CHUNKED)[0] == 200
    assert web.one().record == PLAYER


def test_of_a_chunked_body_that_is_too_large_one_byte_more_is_read(web: Web) -> None:
    body = Trickle(b" " * 1_000_000)
    assert call(body, **CHUNKED)[0] == 413
    assert body.taken == settings.NOTIFY_BODY_BYTES + 1


def test_of_a_body_that_says_it_is_too_large_nothing_is_read(web: Web) -> None:
    body = Trickle(BODY)
    assert call(body, CONTENT_LENGTH=str(settings.NOTIFY_BODY_BYTES + 1))[0] == 413
    assert body.taken == 0


def test_bodies_that_end_early_or_have_no_length(web: Web) -> None:
    assert call(Trickle(BODY), CONTENT_LENGTH=str(len(BODY) + 1))[0] == 400
    assert call(Trickle(BODY[:-1]), CONTENT_LENGTH=str(len(BODY)))[0] == 400
    assert call(Broken(), CONTENT_LENGTH="5")[0] == 400
    assert call(Trickle(BODY))[0] == 400
    for length in ("x", "-1", "1.5", "²"):
        assert call(Trickle(BODY), CONTENT_LENGTH=length)[0] == 400


@pytest.mark.django_db  # Django looks after its connections around each page
def test_pages_go_to_django(web: Web) -> None:
    for path in ("/admin", "/static/x"):
        answer = call(io.BytesIO(), path=path, REQUEST_METHOD="GET", HTTP_HOST="localhost")[1]
        assert b"errors" not in answer
    assert call(io.BytesIO(), path="/administrator", REQUEST_METHOD="GET")[0] == 404


def test_the_middleware_stands_first() -> None:
    assert _configured_middleware()[0] == "notify.web.http.edge.ApiFirst"


def _configured_middleware() -> list[str]:
    from notify import settings as configured

    return configured.MIDDLEWARE
