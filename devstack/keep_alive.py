"""A connection to web that stays open between requests, as those of SDKs do."""

import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Final
from urllib.parse import urlsplit

#: Web closes a connection after 30 s without a request. One that was idle this long is opened anew.
IDLE_S: Final = 10.0


class KeepAlive(HTTPConnection):
    """One HTTP connection, opened at its first use and again after an error or a pause."""

    def __init__(self, web_url: str, *, timeout_s: float) -> None:
        super().__init__(urlsplit(web_url).netloc, timeout=timeout_s)
        self._used_at = 0.0

    def open(self) -> None:
        """Opens the connection, unless one is open that web has not closed. Raises OSError."""
        if self.sock is None or time.monotonic() - self._used_at > IDLE_S:
            self.close()
            self.connect()
            self._used_at = time.monotonic()

    def call(
        self, method: str, path: str, body: str | None, headers: Mapping[str, str]
    ) -> tuple[HTTPResponse, bytes]:
        """Sends a request and returns the answer and its content. Raises OSError or HTTPException."""
        try:
            self.open()
            self.request(method, path, body, headers)
            answer = self.getresponse()
            content = answer.read()
        except (OSError, HTTPException):
            self.close()
            raise
        self._used_at = time.monotonic()
        return answer, content
