"""Turns functions into Django views, and their exceptions into answers.

`endpoint` makes a Django view from one function for each method. It is the outermost code of each request:
it measures, logs failures, and catches all exceptions.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse

from notify.domain.errors import Malformed
from notify.telemetry import logs, metrics
from notify.web import wiring
from notify.web.access import auth, identity
from notify.web.access.apps_cache import KnownApp, NotKnownYet
from notify.web.access.auth import KeyNeeded
from notify.web.access.identity import Identity
from notify.web.http import answers, bodies
from notify.web.http.answers import Refused
from notify.web.http.traces import Trace, begin_trace
from notify.web.reads import ReadsAway
from notify.web.resources import not_served, sdks
from notify.web.resources.left_out import LeftOut
from notify.web.wiring import Services

#: The longest Idempotency-Key. Items of a batch append their number, and a message id has 128 characters.
IDEMPOTENCY_KEY_CHARS_MAX: Final = 100
#: How many lines about refused requests a process logs a second; the metrics count all of them.
REFUSED_LINES_PER_S: Final = 20


@dataclass(frozen=True, slots=True)
class Call:
    """A request, as views use it."""

    request: HttpRequest
    trace: Trace
    services: Services
    #: The app for which this request was counted, once it was.
    counted: list[KnownApp] = field(default_factory=list)
    #: The values of the request that are left out.
    left_out: LeftOut = field(default_factory=LeftOut)

    def body(self, *, bytes_max: int | None = None) -> dict[str, Any]:
        """The JSON object in the body; see `bodies.read_object`."""
        most = settings.NOTIFY_BODY_BYTES if bytes_max is None else bytes_max
        return bodies.read_object(self.request, bytes_max=most)

    def app(self, app_id: object, *, key: KeyNeeded = KeyNeeded.BY_APP) -> KnownApp:
        """The app that the request may act for; see `auth.authenticate`."""
        return self.app_and_key(app_id, key=key)[0]

    def app_and_key(
        self, app_id: object, *, key: KeyNeeded = KeyNeeded.BY_APP
    ) -> tuple[KnownApp, bool]:
        """Like `app`, and whether the request has a key of the app. Call it once, because it counts the
        request. Raises Refused 429."""
        known = self.services.apps.known()
        found, has_key = auth.authenticate(known, app_id, self.request.META, key=key)
        self.services.limits.request(found)
        self.counted.append(found)
        return found, has_key

    def identity(
        self,
        app: KnownApp,
        *,
        has_key: bool,
        absent: Callable[[], Refused] = identity.token_needed,
    ) -> Identity:
        """The users that the request may name; see `identity.of_call`."""
        return identity.of_call(
            app,
            self.request.META,
            has_key=has_key,
            verifier=self.services.verifier,
            now_s=self.services.now_ms() / 1000,
            absent=absent,
        )

    def message_id(self, place: int = 0) -> str | None:
        """The id of the request's update number `place`, from its Idempotency-Key; None without one.

        Raises Refused 400 for a key that is not 1-100 visible ASCII characters.
        """
        key: str | None = self.request.META.get("HTTP_IDEMPOTENCY_KEY")
        if key is None:
            return None
        is_visible = key.isascii() and key.isprintable() and " " not in key
        if not is_visible or not 0 < len(key) <= IDEMPOTENCY_KEY_CHARS_MAX:
            raise Refused(
                400,
                f"Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_CHARS_MAX} visible ASCII characters",
            )
        return f"{key}:{place}" if place else key


View = Callable[..., HttpResponse]


def endpoint(route: str, **by_method: Callable[..., HttpResponse]) -> View:
    """Makes the Django view of a path, such as `endpoint("user", GET=show, PATCH=update)`. `route` is its
    name in metrics and logs.

    Other methods get 404, because new SDKs would repeat a 405 for ever.
    """

    def view(request: HttpRequest, **path: str) -> HttpResponse:
        started = time.perf_counter()
        method = request.method or ""
        trace = begin_trace(request.META, route, method)
        handler = by_method.get(method, _nothing)
        counted: list[KnownApp] = []
        services: Services | None = None
        try:
            services = wiring.services()
            response = handler(Call(request, trace, services, counted), **path)
        except Refused as refused:
            adapted = sdks.for_sdk(refused, route, method, request.META)
            if adapted.status >= 500 > refused.status:
                metrics.WEB_HELD.inc()
            response = answers.refusal(adapted, trace.id)
            _uncount(counted, refused.status)
        except (Malformed, SuspiciousOperation) as error:
            response = answers.refusal(Refused(400, str(error)), trace.id)
            _uncount(counted, 400)
        except (NotKnownYet, ReadsAway) as error:
            _unavailable(services, "postgres_away")
            response = answers.refusal(_busy(str(error)), trace.id)
        except Exception as error:  # noqa: BLE001 - the top: a bug must not lose updates
            _unavailable(services, "bug")
            logs.get().error(
                "view_failed", route=route, trace_id=trace.id, exc_info=error, method=method
            )
            response = answers.refusal(
                _busy("the server has a bug, which is logged with this request_id"), trace.id
            )
        trace.answered(response.status_code)
        seconds = time.perf_counter() - started
        metrics.WEB_REQUESTS.labels(route, str(response.status_code)).inc()
        metrics.WEB_SECONDS.labels(route).observe(seconds)
        # 429 is logged where it is counted.
        if response.status_code >= 400 and response.status_code != 429:
            _refusals.log(route, method, response.status_code, trace.id, seconds)
            response._has_been_logged = True  # type: ignore[attr-defined] # noqa: SLF001 - by Django
        return response

    view.csrf_exempt = True  # type: ignore[attr-defined] # as Django's own decorator does
    view.route, view.methods = route, tuple(by_method)  # type: ignore[attr-defined] # for openapi
    return view


def _unavailable(services: Services | None, reason: str) -> None:
    """Counts a 503. If services could not be built, it counts it only in the metric."""
    if services is not None:
        services.unavailable(reason)
    else:
        metrics.WEB_REFUSED.labels(reason).inc()


def _uncount(counted: Sequence[KnownApp], status: int) -> None:
    """Uncounts an invalid request. Those with 429 and 503 stay counted, since clients send them again."""
    for app in counted if status < 429 else ():
        wiring.services().limits.give_back(app)


class RefusalLog:
    """Logs refused requests, but at most REFUSED_LINES_PER_S, so that a flood of them does not flood the log.
    The next line says how many were not logged. Thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._second = 0
        self._lines = self._left_out = 0

    def log(self, route: str, method: str, status: int, trace_id: str, seconds: float) -> None:
        """Logs a request that was answered with this status after `seconds`."""
        with self._lock:
            second = int(self._clock())
            if second != self._second:
                self._second, self._lines = second, 0
            if self._lines >= REFUSED_LINES_PER_S:
                self._left_out += 1
                return
            self._lines += 1
            left_out, self._left_out = self._left_out, 0
        logs.get().info(
            "request_refused",
            route=route,
            method=method,
            status=status,
            trace_id=trace_id,
            seconds=round(seconds, 4),
            left_out=left_out or None,
        )


_refusals: Final = RefusalLog()


def _nothing(call: Call, **path: str) -> HttpResponse:
    request = call.request
    raise Refused(404, not_served.reason(request.method or "", request.path_info))


def _busy(reason: str) -> Refused:
    return answers.busy(reason, retry_after_s=settings.NOTIFY_RETRY_AFTER_S)
