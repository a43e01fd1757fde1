"""A client of the API with fakes behind it, for tests of views."""

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from notify.domain.records.update import Update
from notify.security.keys import digest_of, make_key
from notify.web import wiring
from notify.web.access.apps_cache import KnownApp
from tests.fake_producer import FakeProducer, FakeReads, fake_services

APP = "6f1d2c1e-9a3b-4a55-8c7e-0d9d3b8f1a11"
STRICT_APP = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
DISABLED_APP = "8a1b2c3d-0000-4000-8000-000000000001"
PLAYER = "3a9f1f60-5a0f-4c59-9d2a-0f7d4f3f0b01"


@dataclass
class Answer:
    """What came back; `body` is the JSON object in it."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass
class Requests:
    """Requests to the views on these services; `secret` is the apps' key."""

    services: wiring.Services
    secret: str
    client: Client = field(
        default_factory=lambda: Client(raise_request_exception=False), kw_only=True
    )

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        key: str = "",
        headers: dict[str, str] | None = None,
        secure: bool = True,
    ) -> Answer:
        """One request. `raw` instead of `body` is sent as it is."""
        sent = dict(headers or {})
        if key:
            sent["Authorization"] = f"Key {key}"
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        response = self.client.generic(
            method, path, data, content_type="application/json", secure=secure, headers=sent
        )
        parsed = json.loads(response.content) if response.content else {}
        assert isinstance(parsed, dict)
        return Answer(response.status_code, parsed, dict(response.items()))


@dataclass
class Web(Requests):
    """The same with fakes behind the views, and what they sent to Kafka."""

    producer: FakeProducer
    reads: FakeReads

    @classmethod
    def with_fakes(cls, monkeypatch: pytest.MonkeyPatch) -> "Web":
        """An app that needs no key, one that does, and a disabled one; all with the same key."""
        secret, _, digest = make_key()
        digests = (digest_of("another key"), digest)
        services, producer, reads = fake_services(
            KnownApp(APP, digests=digests),
            KnownApp(STRICT_APP, requires_key=True, digests=digests),
            KnownApp(DISABLED_APP, enabled=False, digests=digests),
        )
        monkeypatch.setattr(wiring, "services", lambda: services)
        monkeypatch.setattr(settings, "MIDDLEWARE", ["notify.web.http.edge.ApiFirst"])
        return cls(services, secret, producer, reads)

    def sent(self) -> list[Update]:
        """What is in Kafka, oldest first, as the bridge would read it."""
        return self.producer.sent()

    def one(self) -> Update:
        """The only update in Kafka."""
        (update,) = self.sent()
        return update
