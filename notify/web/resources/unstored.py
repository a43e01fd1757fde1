"""The calls of SDKs that this server accepts but does not store: events, outcomes, opened notifications,
in-app messages and live activities.

An SDK that gets an error for one of these sends it again after a minute, at each start, or endlessly. So SDKs
get a success; the request is counted by route and nothing is stored. A customer's server would rely on the
answer, so it gets 404 with the reason.
"""

from typing import Final

from django.http import HttpResponse
from msgspec import Struct

from notify.telemetry import metrics
from notify.web.access.auth import KeyNeeded
from notify.web.http import bodies
from notify.web.http.answer_bodies import NoFeatures, NoMessages, Success
from notify.web.http.answers import Refused, ok
from notify.web.http.endpoint import Call, View, endpoint
from notify.web.resources import sdks

_ACCEPTED: Final = Success(success=True)
#: The answers for an SDK that asks for in-app messages, and for one that asks which features to turn on.
NO_MESSAGES: Final = NoMessages([])
NO_FEATURES: Final = NoFeatures([])
_ONLY_SDKS: Final = (
    "this server does not store this. It accepts it from SDKs only, so that they do not send it again. "
    "Store it in a system of your own"
)


def of_app(route: str, *methods: str) -> View:
    """The view of a path that names the app. It ignores the body, so it refuses none."""

    def accept(call: Call, app_id: str, **path: str) -> HttpResponse:
        bodies.discard(call.request)
        return _answered(call, app_id, route, _ACCEPTED)

    return endpoint(route, **dict.fromkeys(methods, accept))


def of_body(route: str, method: str) -> View:
    """The view of a path whose body names the app by `app_id`. It ignores the rest of the body."""

    def accept(call: Call, **path: str) -> HttpResponse:
        return _answered(call, call.body().get("app_id"), route, _ACCEPTED)

    return endpoint(route, **{method: accept})


def nothing(route: str, answer: Struct) -> View:
    """The view of a path that an SDK reads. The answer is always empty."""

    def show(call: Call, app_id: str, **path: str) -> HttpResponse:
        return _answered(call, app_id, route, answer)

    return endpoint(route, GET=show)


def _answered(call: Call, app_id: object, route: str, answer: Struct) -> HttpResponse:
    call.app(app_id, key=KeyNeeded.BY_APP)
    if not sdks.is_sdk(call.request.META):
        raise Refused(404, _ONLY_SDKS)
    metrics.WEB_UNSTORED.labels(route).inc()
    return ok(answer)
