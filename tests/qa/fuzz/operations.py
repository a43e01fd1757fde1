"""The operations of /openapi.json as requests that can be made: paths filled in, bodies that are good."""

import json
import re
from dataclasses import dataclass
from typing import Any

from django.urls import get_resolver

from notify.web.openapi import document, requests

#: Words for the names in paths; others get `any`.
IN_PATH = {
    "player": requests.PLAYER,
    "subscription": requests.PLAYER,
    "label": "external_id",
    "alias": "crm",
    "name": "u1",
    "external_id": "u1",
    "type_": "AndroidPush",
    "token": "push-token",
    "notification": requests.PARENT,
    "message": requests.PARENT,
    "activity": "order 17",
    "platform": "ios",
    "version": "050601",
}
#: For the operations that only SDKs may ask for.
SDK_VERSION = "onesignal/android/050909"


@dataclass(frozen=True)
class Operation:
    """One method of one path, with a body that is accepted, if it takes one."""

    name: str
    method: str
    template: str
    statuses: frozenset[int]
    schema: str | None
    body: Any
    query: str
    headers: dict[str, str]
    #: Whether an accepted request becomes a message.
    is_stored: bool

    def path(self, app: str) -> str:
        """The path and query for this app."""
        words = IN_PATH | {"app_id": app}
        filled = re.sub(r"{(\w+)}", lambda found: words.get(found[1], "any"), self.template)
        return filled + (f"?{self.query}={app}" if self.query else "")

    def json(self, app: str) -> Any:
        """The good body, for this app."""
        return json.loads(json.dumps(self.body).replace(requests.APP, app))


def described() -> dict[str, Any]:
    """The document of all routes."""
    return document.document(get_resolver().url_patterns)


def operations() -> list[Operation]:
    """Every operation in the document."""
    return [
        _operation(path, method, operation)
        for path, item in described()["paths"].items()
        for method, operation in item.items()
        if method not in ("parameters", "servers")
    ]


def _operation(path: str, method: str, operation: dict[str, Any]) -> Operation:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    queries = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
    needed = {"SDK-Version": SDK_VERSION}
    required = [each["name"] for each in operation.get("parameters", []) if each["required"]]
    return Operation(
        name=operation["operationId"],
        method=method.upper(),
        template=path,
        statuses=frozenset(map(int, operation["responses"])),
        schema=content["schema"]["$ref"].rpartition("/")[2] if content else None,
        body=content.get("example"),
        query=queries[0] if queries else "",
        headers={name: needed[name] for name in required if name in needed},
        is_stored="not stored" not in operation["tags"],
    )
