"""What each route does with each method, by the route's name in notify.web.urls.

A route that is added there needs a line here: a test is red until it has one. A line for a route
that is not in urls is not in the document.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from notify.domain.update import KEY_CHARS_MAX
from notify.web import subscriptions
from notify.web.auth import KeyNeeded
from notify.web.endpoint import IDEMPOTENCY_KEY_CHARS_MAX
from notify.web.openapi.schemas import Schema, any_case, opened, ref, some_text, text

JSON: Final = "application/json"
#: Errors of every route for apps, and of those with a body.
ERRORS: Final = (400, 401, 403, 404, 429, 503)
BODY_ERRORS: Final = (*ERRORS, 413)
#: Errors of what is for operators.
PROBE_ERRORS: Final = (403, 503)

_OBJECT: Final[Schema] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of a route. `answers` are the successes by status, `errors` the statuses of the
    others. `body` names a component; `key` says when a request must carry the app's key."""

    summary: str
    answers: Mapping[int, Schema | None]
    body: str | None = None
    key: KeyNeeded = KeyNeeded.BY_APP
    errors: tuple[int, ...] = ()
    parameters: tuple[str, ...] = ()
    media_type: str = JSON
    tag: str = "user model"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: those in paths by the name that urls gives them, others by our own."""

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
        "What the alias is called: external_id, onesignal_id or a name of yours.",
        required=True,
    ),
    "name": Parameter("name", "path", some_text(), "The alias.", required=True),
    "external_id": Parameter(
        "external_id", "path", some_text(), "The user's external id.", required=True
    ),
    "alias": Parameter(
        "alias", "path", some_text(KEY_CHARS_MAX), "The label of the alias.", required=True
    ),
    "type_": Parameter(
        "type_", "path", any_case(subscriptions.TYPES), "A subscription's type.", required=True
    ),
    "token": Parameter("token", "path", some_text(), "The subscription's token.", required=True),
    "app_id_in_query": Parameter("app_id", "query", ref("AppId"), required=True),
    "idempotency_key": Parameter(
        "Idempotency-Key",
        "header",
        {"type": "string", "pattern": f"^[!-~]{{1,{IDEMPOTENCY_KEY_CHARS_MAX}}}$"},
        "The ids of the request's updates follow from it: the same for a request sent again.",
    ),
    "sdk_version": Parameter(
        "SDK-Version",
        "header",
        {"type": "string", "pattern": "^onesignal/(android|ios|web)/[0-9]{6}$"},
        "SDKs send it with every request. Without it the answer is 404: nothing of this is stored.",
        required=True,
    ),
    "if_none_match": Parameter("If-None-Match", "header", text(), "The ETag of the last answer."),
}

_WARNINGS: Final[Mapping[str, Schema]] = {
    "warnings": {"type": "array", "items": {"type": "string"}}
}
_SUCCESS: Final = opened(
    {"success": {"type": "boolean", "enum": [True]}, **_WARNINGS}, required=["success"]
)
_CREATED: Final = opened(
    {"success": {"type": "boolean", "enum": [True]}, "id": ref("StoredId"), **_WARNINGS},
    required=["success", "id"],
)
_IDENTITY: Final = opened(
    {"identity": {"type": "object", "additionalProperties": {"type": "string"}}, **_WARNINGS},
    required=["identity"],
)
_SUBSCRIPTION: Final = opened({"id": ref("StoredId"), "type": {"type": "string"}}, required=["id"])
_USER: Final = opened(
    {
        **_IDENTITY["properties"],
        "properties": _OBJECT,
        "subscriptions": {"type": "array", "items": _SUBSCRIPTION},
    },
    required=["identity"],
)
_STATUS: Final = opened({"status": {"type": "string", "enum": ["ok"]}}, required=["status"])
_PLAYER: Final = opened(
    {
        "id": ref("StoredId"),
        "tags": _OBJECT,
        "identifier": {"type": "string"},
        "session_count": {"type": "integer"},
        "playtime": {"type": "integer", "description": "Seconds."},
        "amount_spent": {"type": "number"},
        "created_at": {"type": "integer", "description": "Seconds since 1970."},
        **_WARNINGS,
    },
    required=["id", "tags"],
)
_RESULT: Final[Schema] = {
    "anyOf": [
        opened({"id": ref("StoredId")}, required=["id"]),
        opened({"errors": {"type": "array", "items": {"type": "string"}}}, required=["errors"]),
    ]
}
_BATCH: Final = opened(
    {
        "accepted": {"type": "integer", "minimum": 1},
        "rejected": {"type": "integer", "minimum": 0},
        "results": {"type": "array", "items": _RESULT},
    },
    required=["accepted", "rejected", "results"],
)
_PARAMS: Final = opened(
    {
        "outcomes": {"type": "object"},
        "jwt_required": {"type": "boolean"},
        "chnl_lst": {"type": "array"},
    },
    required=["outcomes", "jwt_required"],
)
#: Every error answer. A batch of which no item is good has its results here too.
ERROR: Final = opened(
    {
        "errors": {
            "type": "array",
            "minItems": 1,
            "items": {"anyOf": [{"type": "string"}, {"type": "object"}]},
            "description": "What is wrong, and what to do next.",
        },
        "request_id": {"type": "string", "description": "It is in our logs too."},
        "results": {"type": "array", "items": _RESULT},
    },
    required=["errors", "request_id"],
)
ERROR_MEANINGS: Final[Mapping[int, str]] = {
    400: "The request cannot be accepted as it is: do not send it again.",
    401: "A key is needed.",
    403: "The app is unknown or disabled, the key is not its key, or the request is not over TLS.",
    404: "There is no such thing, or no such route.",
    409: "The alias belongs to somebody else.",
    413: "The body, or the update as stored, is too large.",
    429: "Too many requests: send it again after Retry-After seconds.",
    503: "Nothing is wrong with the request: send it again after Retry-After seconds.",
}
#: Those that say when to send the request again.
LATER: Final = (429, 503)


def _players(summary: str, body: str, answer: Schema = _SUCCESS) -> Operation:
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
            f"What an SDK on {platform} asks for before anything else.",
            {200: _PARAMS, 304: None},
            key=KeyNeeded.NEVER,
            errors=ERRORS,
            parameters=("if_none_match",),
            tag="players",
        )
    }


def _change(
    summary: str,
    body: str | None,
    answers: Mapping[int, Schema],
    key: KeyNeeded = KeyNeeded.BY_APP,
) -> Operation:
    errors = ERRORS if body is None else BODY_ERRORS
    return Operation(summary, answers, body, key, errors, parameters=("idempotency_key",))


def _read(summary: str, answer: Schema, key: KeyNeeded = KeyNeeded.BY_APP) -> Operation:
    return Operation(summary, {200: answer}, key=key, errors=ERRORS)


def _probe(summary: str, answer: Schema = _STATUS, media_type: str = JSON) -> Operation:
    return Operation(
        summary,
        {200: answer},
        key=KeyNeeded.NEVER,
        errors=PROBE_ERRORS,
        media_type=media_type,
        tag="operations",
    )


_PLAYERS: Final[Mapping[str, Mapping[str, Operation]]] = {
    "players": {"POST": _players("Register a push, email or SMS player.", "NewPlayer", _CREATED)},
    "player": {
        "PUT": _players("Say what changed.", "Player"),
        "GET": Operation(
            "The player, as far as its updates have been applied; with a key all of it.",
            {200: _PLAYER},
            errors=ERRORS,
            parameters=("app_id_in_query",),
            tag="players",
        ),
        "DELETE": Operation(
            "Delete the player: the subscription with this id.",
            {200: _SUCCESS},
            errors=ERRORS,
            parameters=("app_id_in_query", "idempotency_key"),
            tag="players",
        ),
    },
    "on_session": {"POST": _players("A session began; and what changed.", "Player")},
    "on_focus": {"POST": _players("Seconds in the foreground.", "Focus")},
    "on_purchase": {"POST": _players("Purchases and money.", "Purchases")},
    "email_logout": {"POST": _players("Unlink the device's email player.", "EmailLogout")},
    "android_params": _params("Android"),
    "ios_params": _params("iOS"),
}
_USERS: Final[Mapping[str, Mapping[str, Operation]]] = {
    "users": {"POST": _change("Create a user.", "NewUser", dict.fromkeys((200, 202), _USER))},
    "user": {
        "GET": _read(
            "The user, as far as updates have been applied. Without a key or a token only by the "
            "onesignal_id that a device was answered.",
            _USER,
        ),
        "PATCH": _change("Change the user.", "UserChange", {202: _OBJECT}),
        "DELETE": _change("Delete the user.", None, {200: _OBJECT}, KeyNeeded.BY_USER),
    },
    "user_tags": {
        "PUT": _change(
            "Change the tags of the user with this external id.", "UserTags", {200: _SUCCESS}
        )
    },
    "user_identity": {
        "GET": _read("The user's aliases.", _IDENTITY, KeyNeeded.BY_USER),
        "PATCH": _change("Give the user aliases.", "IdentityChange", {200: _IDENTITY}),
    },
    "user_alias": {"DELETE": _change("Take an alias away.", None, {200: _IDENTITY})},
    "user_subscriptions": {
        "POST": _change(
            "Give the user a subscription.",
            "NewSubscription",
            dict.fromkeys((200, 202), opened({"subscription": _SUBSCRIPTION, **_WARNINGS})),
        )
    },
    "subscription": {
        "PATCH": _change("Change a subscription.", "SubscriptionChange", {200: _OBJECT}),
        "DELETE": _change("Delete a subscription.", None, {202: _OBJECT}),
    },
    "subscription_owner": {
        "PATCH": _change("Give the subscription to a user.", "Owner", {200: _IDENTITY})
    },
    "subscription_identity": {
        "GET": _read(
            "The aliases of the subscription's user. In an open app without a key its onesignal_id "
            "alone, and not by the id of an email or SMS subscription.",
            _IDENTITY,
        ),
        "PATCH": _change("Give its user aliases.", "IdentityChange", {200: _IDENTITY}),
    },
    "subscription_by_token": {
        "PATCH": _change(
            "Change the subscription with this token.", "SubscriptionChange", {202: _OBJECT}
        )
    },
}


def _unstored(summary: str, body: str | None = None, answer: Schema = _SUCCESS) -> Operation:
    """What SDKs are answered and nobody stores."""
    return Operation(
        summary,
        {200: answer},
        body,
        errors=ERRORS if body is None else BODY_ERRORS,
        parameters=("sdk_version",),
        tag="not stored",
    )


_LIST: Final[Schema] = {"type": "array", "maxItems": 0}
_NO_MESSAGES: Final = opened({"in_app_messages": _LIST}, required=["in_app_messages"])
_START: Final = "The token that starts an activity of this type. The body is not looked at."
_UPDATE: Final = "The token of one activity. The body is not looked at."
_UNSTORED: Final[Mapping[str, Mapping[str, Operation]]] = {
    "custom_events": {"POST": _unstored("Events of the app's own. The body is not looked at.")},
    "sdk_custom_events": {"POST": _unstored("The same, from earlier iOS SDKs.")},
    "outcome": {"POST": _unstored("What a notification led to.", "Report")},
    "outcome_sources": {"POST": _unstored("The same, from SDKs of version 4.x.", "Report")},
    "notification_opened": {"PUT": _unstored("A notification was opened.", "Report")},
    "notification_received": {"PUT": _unstored("A notification arrived.", "Report")},
    "in_app_impression": {"POST": _unstored("An in-app message was shown.", "Report")},
    "in_app_page": {"POST": _unstored("A page of it was shown.", "Report")},
    "in_app_click": {"POST": _unstored("It was clicked.", "Report")},
    "in_app_messages": {
        "GET": _unstored("The in-app messages of a device: none.", answer=_NO_MESSAGES)
    },
    "user_in_app_messages": {
        "GET": _unstored("The same, where identities are verified.", answer=_NO_MESSAGES)
    },
    "live_activity_token": {
        "POST": _unstored("The token of a live activity. The body is not looked at.")
    },
    "live_activity_token_of": {"DELETE": _unstored("The live activity ended.")},
    "activity_start_token": {
        "PUT": _unstored(_START),
        "DELETE": _unstored("It may not be started."),
    },
    "activity_update_token": {"PUT": _unstored(_UPDATE), "DELETE": _unstored("It ended.")},
    "sdk_features": {
        "GET": _unstored(
            "Features that the SDK should turn on: none.",
            answer=opened({"features": _LIST}, required=["features"]),
        )
    },
    "usage": {"POST": _unstored("What the app uses of the SDK.", "Report")},
    "page_config": {
        "GET": Operation(
            "What the web SDK asks for first. With a callback in the query (a JavaScript name) the "
            "answer is a script that calls it, with status 200 and success false for an error.",
            {
                200: opened(
                    {
                        "success": {"type": "boolean", "enum": [True]},
                        "app_id": ref("AppId"),
                        "config": _OBJECT,
                        "features": _OBJECT,
                    },
                    required=["success", "app_id", "config", "features"],
                )
            },
            key=KeyNeeded.NEVER,
            errors=ERRORS,
        )
    },
}
_OURS: Final[Mapping[str, Mapping[str, Operation]]] = {
    "batch": {
        "POST": Operation(
            "Many updates of one app.",
            {202: _BATCH},
            "Batch",
            key=KeyNeeded.ALWAYS,
            errors=BODY_ERRORS,
            parameters=("idempotency_key",),
            tag="batch",
        )
    },
    "live": {"GET": _probe("Does the process answer at all.")},
    "ready": {"GET": _probe("Can this process accept updates.")},
    "pipeline": {"GET": _probe("Do accepted updates become rows.")},
    "metrics": {"GET": _probe("Metrics, for Prometheus.", {"type": "string"}, "text/plain")},
    "openapi": {"GET": _probe("This document.", opened({"openapi": {"type": "string"}}))},
}

#: By the route's name, then by method.
OPERATIONS: Final[Mapping[str, Mapping[str, Operation]]] = {
    **_PLAYERS,
    **_USERS,
    **_UNSTORED,
    **_OURS,
}
