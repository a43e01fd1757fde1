"""The first and the last step of each change in the user model: check the caller, and send to Kafka."""

from collections.abc import Sequence
from typing import Any

from notify.domain.records.update import Update
from notify.web.access.apps_cache import KnownApp
from notify.web.access.identity import Identity
from notify.web.http.endpoint import Call
from notify.web.resources import answer_warnings
from notify.web.resources.draft import encoded
from notify.web.sending import send


def caller(call: Call, app_id: str) -> tuple[KnownApp, Identity]:
    """The app in the path, and the users that the caller may name. Raises Refused."""
    app, has_key = call.app_and_key(app_id)
    return app, call.identity(app, has_key=has_key)


def send_all(call: Call, app: KnownApp, who: Identity, updates: Sequence[Update]) -> dict[str, Any]:
    """Sends the updates to Kafka in this order, waits for the ack, and returns the answer's warnings.

    Raises Refused for an update that the caller may not send, and with 503.
    """
    updates = [who.admitted(update) for update in updates]
    call.services.limits.updates(app, [update.record for update in updates])
    send(call, app, [(update, encoded(update)) for update in updates])
    call.services.left_out(app.id, call.left_out)
    return answer_warnings.of_updates(call.services.apps.known(), updates, call.left_out.sentences)
