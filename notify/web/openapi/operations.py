"""Describes each method of each route for /openapi.json, by the route's name in notify.web.urls.

A new route there needs an entry here, or a test fails. An entry without a route does not appear in the
document.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec import Struct

from notify.domain.records.update import KEY_CHARS_MAX
from notify.web.access.auth import KeyNeeded
from notify.web.http.answer_bodies import (
    Answer,
    BatchAnswer,
    Created,
    IdentityAnswer,
    NoFeatures,
    NoMessages,
    PageConfig,
    Params,
    Status,
    SubscriptionAnswer,
    Success,
    UserAnswer,
    UserChanged,
)
from notify.web.http.endpoint import IDEMPOTENCY_KEY_CHARS_MAX
from notify.web.openapi.schemas import Schema, any_case, opened, ref, some_text, text
from notify.web.resources import subscriptions
from notify.web.resources.players import PlayerAnswer

JSON: Final = "application/json"
#: A type of notify.web.http.answer_bodies, a schema, or None for an answer without a body.
AnswerBody = type[Struct] | Schema | None
#: Error statuses of every route for apps; BODY_ERRORS is for those with a body.
ERRORS: Final = (400, 401, 403, 404, 429, 503)
BODY_ERRORS: Final = (*ERRORS, 413)
#: Error statuses of the routes for operators.
PROBE_ERRORS: Final = (403, 503)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of a route. `answers` has the bodies of successes by status, `errors` the statuses of
    errors. `body` names a component; `key` says when a request must carry the app's key."""

    summary: str
    answers: Mapping[int, AnswerBody]
    body: str | None = None
    key: KeyNeeded = KeyNeeded.BY_APP
    errors: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ()
    media_type: str = JSON
    tag: str = "user model"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a request. One in the path has the name that it has in urls."""

    name: str
    place: str
    schema: Schema
    description: str = ""
    required: bool = False
    examples: Mapping[str, Any] = field(default_factory=dict)


PARAMETERS: Final[Mapping[str, Parameter]] = {
    "app_id": Parameter("app_id", "path", ref("AppId"), required=True),
    "player": Parameter("player", "path", ref("Id"), required=True),
    "subscription": Parameter("subscription", "path", ref("Id"), required=True),
    "label": Parameter(
        "label",
        "path",
        some_text(KEY_CHARS_MAX),
        "The label of the alias: external_id, onesignal_id or a label of your own.",
        required=True,
    ),
    "name": Parameter(
        "name",
        "path",
        some_text(),
        "The alias itself, such as the user's id in your system.",
        required=True,
    ),
    "external_id": Parameter(
        "external_id", "path", some_text(), "The user's external id.", required=True
    ),
    "alias": Parameter(
        "alias", "path", some_text(KEY_CHARS_MAX), "The label of the alias.", required=True
    ),
    "type_": Parameter(
        "type_", "path", any_case(subscriptions.TYPES), "The subscription's type.", required=True
    ),
    "token": Parameter("token", "path", some_text(), "The subscription's token.", required=True),
    "app_id_in_query": Parameter("app_id", "query", ref("AppId"), required=True),
    "idempotency_key": Parameter(
        "Idempotency-Key",
        "header",
        {"type": "string", "pattern": f"^[!-~]{{1,{IDEMPOTENCY_KEY_CHARS_MAX}}}$"},
        "Use the same key when you send a request again: its updates are then counted once.",
    ),
    "sdk_version": Parameter(
        "SDK-Version",
        "header",
        {"type": "string", "pattern": "^onesignal/(android|ios|web)/[0-9]{6}$"},
        "Every SDK sends it. A request without it gets 404, because what it sends is not stored.",
        required=True,
    ),
    "if_none_match": Parameter("If-None-Match", "header", text(), "The ETag of the last answer."),
}

_OPENAPI: Final = opened({"openapi": {"type": "string"}})
ERROR_MEANINGS: Final[Mapping[int, str]] = {
    400: "The request is invalid: correct it before you send it again.",
    401: "The request needs the app's key or a token.",
    403: "The app is unknown or disabled, the key is not its key, or the request is not over TLS.",
    404: "The user, subscription or route does not exist.",
    409: "The alias belongs to another user.",
    413: "The body, or the update as it is stored, is too large.",
    429: "Too many requests: send it again after Retry-After seconds.",
    503: "Nothing is wrong with the request: send it again after Retry-After seconds.",
}
#: Statuses whose answer has Retry-After.
LATER: Final = (429, 503)


def _players(summary: str, body: str, answer: AnswerBody = Success) -> Operation:
    return Operation(
        summary,
        {200: answer},
        body,
        errors=BODY_ERRORS,
        parameters=("idempotency_key",),
        tag="players",
    )


def _params(platform: str) -> Mapping[str, Operation]:
    return {
        "GET": Operation(
            f"The settings that an SDK on {platform} asks for at its start.",
            {200: Params, 304: None},
            key=KeyNeeded.NEVER,
            errors=ERRORS,
            parameters=("if_none_match",),
            tag="players",
        )
    }


def _change(
    summary: str,
    body: str | None,
    answers: Mapping[int, AnswerBody],
    key: KeyNeeded = KeyNeeded.BY_APP,
) -> Operation:
    errors = ERRORS if body is None else BODY_ERRORS
    return Operation(summary, answers, body, key, errors, parameters=("idempotency_key",))


def _read(summary: str, answer: AnswerBody, key: KeyNeeded = KeyNeeded.BY_APP) -> Operation:
    return Operation(summary, {200: answer}, key=key, errors=ERRORS)


def _probe(summary: str, answer: AnswerBody = Status, media_type: str = JSON) -> Operation:
    return Operation(
        summary,
        {200: answer},
        key=KeyNeeded.NEVER,
        errors=PROBE_ERRORS,
        media_type=media_type,
        tag="operations",
    )


_PLAYERS: Final[Mapping[str, Mapping[str, Operation]]] = {
    "players": {"POST": _players("Register a push, email or SMS player.", "NewPlayer", Created)},
    "player": {
        "PUT": _players("Change the player.", "Player"),
        "GET": Operation(
            "The player with all updates that have been applied. All fields need a key.",
            {200: PlayerAnswer},
            errors=ERRORS,
            parameters=("app_id_in_query",),
            tag="players",
        ),
        "DELETE": Operation(
            "Delete the player, which is the subscription with the same id.",
            {200: Success},
            errors=ERRORS,
            parameters=("app_id_in_query", "idempotency_key"),
            tag="players",
        ),
    },
    "on_session": {"POST": _players("Report the start of a session, and what changed.", "Player")},
    "on_focus": {"POST": _players("Report how long the app was in the foreground.", "Focus")},
    "on_purchase": {"POST": _players("Report purchases.", "Purchases")},
    "email_logout": {"POST": _players("Unlink the device from its email player.", "EmailLogout")},
    "android_params": _params("Android"),
    "ios_params": _params("iOS"),
}
_USERS: Final[Mapping[str, Mapping[str, Operation]]] = {
    "users": {"POST": _change("Create a user.", "NewUser", dict.fromkeys((200, 202), UserAnswer))},
    "user": {
        "GET": _read(
            "The user with all updates that have been applied. Without a key or a token it is found only "
            "by the onesignal_id that a device received.",
            UserAnswer,
        ),
        "PATCH": _change("Change the user.", "UserChange", {202: UserChanged}),
        "DELETE": _change("Delete the user.", None, {200: IdentityAnswer}, KeyNeeded.BY_USER),
    },
    "user_tags": {
        "PUT": _change(
            "Change the tags of the user with this external id.", "UserTags", {200: Success}
        )
    },
    "user_identity": {
        "GET": _read("The user's aliases.", IdentityAnswer, KeyNeeded.BY_USER),
        "PATCH": _change("Add aliases to the user.", "IdentityChange", {200: IdentityAnswer}),
    },
    "user_alias": {"DELETE": _change("Remove an alias of the user.", None, {200: IdentityAnswer})},
    "user_subscriptions": {
        "POST": _change(
            "Add a subscription to the user.",
            "NewSubscription",
            dict.fromkeys((200, 202), SubscriptionAnswer),
        )
    },
    "subscription": {
        "PATCH": _change("Change a subscription.", "SubscriptionChange", {200: Answer}),
        "DELETE": _change("Delete a subscription.", None, {202: Answer}),
    },
    "subscription_owner": {
        "PATCH": _change("Move the subscription to another user.", "Owner", {200: IdentityAnswer})
    },
    "subscription_identity": {
        "GET": _read(
            "The aliases of the subscription's user. In an open app a request without a key gets only "
            "the onesignal_id, and nothing for an email or SMS subscription.",
            IdentityAnswer,
        ),
        "PATCH": _change(
            "Add aliases to the subscription's user.", "IdentityChange", {200: IdentityAnswer}
        ),
    },
    "subscription_by_token": {
        "PATCH": _change(
            "Change the subscription with this token.", "SubscriptionChange", {202: Answer}
        )
    },
}


def _unstored(summary: str, body: str | None = None, answer: AnswerBody = Success) -> Operation:
    """A call that SDKs make: it succeeds, and nothing is stored."""
    return Operation(
        summary,
        {200: answer},
        body,
        errors=ERRORS if body is None else BODY_ERRORS,
        parameters=("sdk_version",),
        tag="not stored",
    )


_START: Final = "Report the token that starts live activities of this type. The body is ignored."
_UPDATE: Final = "Report the token of one live activity. The body is ignored."
_UNSTORED: Final[Mapping[str, Mapping[str, Operation]]] = {
    "custom_events": {"POST": _unstored("Report events of the app. The body is ignored.")},
    "sdk_custom_events": {"POST": _unstored("Report events of the app, as earlier iOS SDKs do.")},
    "outcome": {"POST": _unstored("Report an outcome of a notification.", "Report")},
    "outcome_sources": {
        "POST": _unstored("Report an outcome, as SDKs of version 4.x do.", "Report")
    },
    "notification_opened": {"PUT": _unstored("Report that a notification was opened.", "Report")},
    "notification_received": {"PUT": _unstored("Report that a notification arrived.", "Report")},
    "in_app_impression": {"POST": _unstored("Report that an in-app message was shown.", "Report")},
    "in_app_page": {
        "POST": _unstored("Report that a page of an in-app message was shown.", "Report")
    },
    "in_app_click": {"POST": _unstored("Report that an in-app message was clicked.", "Report")},
    "in_app_messages": {
        "GET": _unstored("The in-app messages of a device: always none.", answer=NoMessages)
    },
    "user_in_app_messages": {
        "GET": _unstored("The in-app messages of a user: always none.", answer=NoMessages)
    },
    "live_activity_token": {
        "POST": _unstored("Report the token of a live activity. The body is ignored.")
    },
    "live_activity_token_of": {"DELETE": _unstored("Report that the live activity ended.")},
    "activity_start_token": {
        "PUT": _unstored(_START),
        "DELETE": _unstored("Report that live activities of this type may no longer be started."),
    },
    "activity_update_token": {
        "PUT": _unstored(_UPDATE),
        "DELETE": _unstored("Report that the live activity ended."),
    },
    "sdk_features": {
        "GET": _unstored(
            "The features that the SDK should turn on: always none.",
            answer=NoFeatures,
        )
    },
    "usage": {"POST": _unstored("Report which features of the SDK the app uses.", "Report")},
    "page_config": {
        "GET": Operation(
            "The settings that the web SDK asks for at its start. With `callback` in the query (a JavaScript "
            "name) the answer is a script that calls it; an error then has status 200 and success false.",
            {200: PageConfig},
            key=KeyNeeded.NEVER,
            errors=ERRORS,
        )
    },
}
_OURS: Final[Mapping[str, Mapping[str, Operation]]] = {
    "batch": {
        "POST": Operation(
            "Send many updates of one app.",
            {202: BatchAnswer},
            "Batch",
            key=KeyNeeded.ALWAYS,
            errors=BODY_ERRORS,
            parameters=("idempotency_key",),
            tag="batch",
        )
    },
    "live": {"GET": _probe("Whether the process answers at all.")},
    "ready": {"GET": _probe("Whether this process can accept updates.")},
    "pipeline": {"GET": _probe("Whether accepted updates are applied.")},
    "metrics": {"GET": _probe("Metrics, for Prometheus.", {"type": "string"}, "text/plain")},
    "openapi": {"GET": _probe("This document.", _OPENAPI)},
}

#: By the route's name, then by method.
OPERATIONS: Final[Mapping[str, Mapping[str, Operation]]] = {
    **_PLAYERS,
    **_USERS,
    **_UNSTORED,
    **_OURS,
}
