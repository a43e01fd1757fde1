"""Calls the official Python client as told on standard input, a JSON object a line; see drivers.py."""

import json
import platform
import sys
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Final

import onesignal
from onesignal.api.default_api import DefaultApi
from onesignal.exceptions import ApiException
from onesignal.model.properties_deltas import PropertiesDeltas
from onesignal.model.properties_object import PropertiesObject
from onesignal.model.purchase import Purchase
from onesignal.model.subscription import Subscription
from onesignal.model.subscription_body import SubscriptionBody
from onesignal.model.transfer_subscription_request_body import TransferSubscriptionRequestBody
from onesignal.model.update_user_request import UpdateUserRequest
from onesignal.model.user import User
from onesignal.model.user_identity_body import UserIdentityBody

_BODIES: Final[dict[str, Any]] = {
    "create_user": User,
    "update_user": UpdateUserRequest,
    "create_alias": UserIdentityBody,
    "create_alias_by_subscription": UserIdentityBody,
    "create_subscription": SubscriptionBody,
    "update_subscription": SubscriptionBody,
    "update_subscription_by_token": SubscriptionBody,
    "transfer_subscription": TransferSubscriptionRequestBody,
}
_FIELDS: Final[dict[str, Any]] = {
    "properties": PropertiesObject,
    "deltas": PropertiesDeltas,
    "purchases": Purchase,
    "subscription": Subscription,
    "subscriptions": Subscription,
}


def typed(model: Callable[..., Any], fields: dict[str, Any]) -> Any:
    """The client's own object with these fields, as a program that uses it would make it."""
    return model(**{key: _field(key, value) for key, value in fields.items()})


def _field(key: str, value: Any) -> Any:
    model = _FIELDS.get(key)
    if model is None or value is None:
        return value
    return [typed(model, one) for one in value] if isinstance(value, list) else typed(model, value)


def called(call: dict[str, Any]) -> dict[str, Any]:
    """What came of the call."""
    configuration = onesignal.Configuration(host=call["host"], rest_api_key=call["key"])
    with onesignal.ApiClient(configuration) as client:
        try:
            body = call["body"]
            given = [] if body is None else [typed(_BODIES[call["operation"]], body)]
            answer = getattr(DefaultApi(client), call["operation"])(*call["path"], *given)
        except ApiException as error:
            return _raised(error, error.status, error.error_messages)
        except Exception as error:  # noqa: BLE001 - which one is what a test wants to know
            return _raised(error, None, [str(error)])
        finally:
            client.rest_client.pool_manager.clear()
    return {"answer": answer.to_dict() if hasattr(answer, "to_dict") else answer}


def _raised(error: Exception, status: int | None, messages: list[str]) -> dict[str, Any]:
    return {"raised": type(error).__name__, "status": status, "messages": messages}


def _as_text(value: date | datetime) -> str:
    return value.isoformat()


if __name__ == "__main__":
    on = f"Python {platform.python_version()}"
    print(json.dumps({"version": onesignal.__version__, "on": on}), flush=True)
    for line in sys.stdin:
        print(json.dumps(called(json.loads(line)), default=_as_text), flush=True)
