"""The official Python client, unchanged but for its host, against the WSGI application."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import onesignal
import pytest
from django.core.handlers.wsgi import WSGIHandler
from onesignal.api import default_api
from onesignal.exceptions import ForbiddenException, NotFoundException
from onesignal.model.subscription import Subscription
from onesignal.model.subscription_body import SubscriptionBody

from notify.domain.records.patch import SET
from notify.web.http.edge import Application
from tests.fake_web import APP, PLAYER, STRICT_APP, Web


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name upstream
        """Nothing on standard error."""


@contextmanager
def served() -> Iterator[str]:
    """The URL of the application on a loopback port."""
    with make_server("127.0.0.1", 0, Application(WSGIHandler()), handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    web = Web.with_fakes(monkeypatch)
    monkeypatch.setattr("django.conf.settings.SECURE_SSL_REDIRECT", False)
    return web


@pytest.fixture
def url(web: Web) -> Iterator[str]:
    """Where the API is."""
    with served() as url:
        yield url


@contextmanager
def client(url: str, key: str) -> Iterator[default_api.DefaultApi]:
    """The client as its documentation configures it; only the host is ours."""
    configuration = onesignal.Configuration(host=url, rest_api_key=key)
    with onesignal.ApiClient(configuration) as api:
        yield default_api.DefaultApi(api)
        api.rest_client.pool_manager.clear()


def subscription(**fields: Any) -> Any:
    """The body of update_subscription."""
    return SubscriptionBody(subscription=Subscription(**fields))


@pytest.mark.parametrize("app", [APP, STRICT_APP])
def test_a_subscription_is_updated(web: Web, url: str, app: str) -> None:
    with client(url, web.secret) as api:
        api.update_subscription(
            app,
            PLAYER,
            subscription(
                type="AndroidPush",
                token="token",
                enabled=True,
                rooted=False,
                notification_types=1,
                device_os="13",
                session_count=7,
            ),
        )
    update = web.one()
    assert (update.app, update.record, update.kind) == (app, PLAYER, "push")
    assert update.patch.ops == {
        "identifier": (SET, "token"),
        "properties.subscription_type": (SET, "AndroidPush"),
        "properties.enabled": (SET, True),
        "properties.rooted": (SET, False),
        "properties.notification_types": (SET, 1),
        "properties.device_os": (SET, "13"),
    }


def test_a_subscription_is_deleted(web: Web, url: str) -> None:
    with client(url, web.secret) as api:
        api.delete_subscription(APP, PLAYER)
    assert (web.one().op, web.one().record) == ("delete", PLAYER)


def test_the_client_reads_our_errors(web: Web, url: str) -> None:
    with client(url, "not a key") as api:
        with pytest.raises(ForbiddenException) as refused:
            api.update_subscription(APP, PLAYER, subscription(token="t"))
        assert refused.value.error_messages == ["the key in Authorization is not a key of this app"]
        with pytest.raises(ForbiddenException):
            api.delete_subscription(APP, PLAYER)
    with client(url, web.secret) as api, pytest.raises(NotFoundException):
        api.update_subscription(APP, "local-1", subscription(token="t"))
    assert web.sent() == []
