"""/openapi.json: what this API takes and answers, in OpenAPI 3.1.

Paths and methods are those of notify.web.urls, fields and bounds of requests those of the parsers, and the
bodies of answers are the types that views build. Only what the routes are for is written by hand, in
`operations`.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from django.http import HttpResponse
from django.urls import URLPattern, URLResolver, get_resolver
from msgspec.json import schema_components

from notify.web.access.auth import KeyNeeded
from notify.web.http.answer_bodies import Error
from notify.web.http.answers import ok
from notify.web.http.endpoint import Call
from notify.web.openapi import requests
from notify.web.openapi.operations import (
    ERROR_MEANINGS,
    JSON,
    LATER,
    OPERATIONS,
    PARAMETERS,
    AnswerBody,
    Operation,
)
from notify.web.openapi.schemas import COMPONENTS, Schema, ref

Patterns = Sequence[URLPattern | URLResolver]

#: Paths below this prefix are pages for people and not part of the API.
_PAGES: Final = "admin/"
_CONVERTED: Final = re.compile(r"<(?:\w+:)?(\w+)>")
_KEY: Final = "appKey"
_TOKEN: Final = "identityToken"  # noqa: S105 - a name


class Route(NamedTuple):
    """One path with its name and methods. `prefixes` are those that it is served under; `path` has its
    parameters as `{name}`."""

    path: str
    name: str
    methods: tuple[str, ...]
    prefixes: tuple[str, ...]


def show(call: Call) -> HttpResponse:
    """GET /openapi.json: the document. It is public and contains nothing secret."""
    return ok(_served())


@cache
def _served() -> Schema:
    return document(get_resolver().url_patterns)


def document(patterns: Patterns) -> Schema:
    """The OpenAPI document of the routes in `patterns` that `OPERATIONS` describes."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Notify",
            "version": "1",
            "description": "Accepts updates of devices and users from SDKs and servers. When the "
            "server answers, the update is stored in Kafka; it is applied a moment later. Every "
            "answer except that of /metrics is a JSON object. Later versions may add keys to it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {route.path: _path_item(route) for route in routes(patterns)},
        "components": {
            "schemas": {**COMPONENTS, **requests.bodies(), **_answer_bodies()},
            "responses": {str(status): _error(status) for status in ERROR_MEANINGS},
            "securitySchemes": {
                _KEY: {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Key`, a space and the app's key; `Basic` instead of `Key` works too.",
                },
                _TOKEN: {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "A JWT of the app's server, if the app verifies identities.",
                },
            },
        },
    }


def _answer_bodies() -> dict[str, Schema]:
    """The component schemas of answers, made from the types that views build them of."""
    operations = [operation for methods in OPERATIONS.values() for operation in methods.values()]
    bodies = [body for operation in operations for body in operation.answers.values()]
    types = {body.__name__: body for body in bodies if isinstance(body, type)} | {"Error": Error}
    _, schemas = schema_components(types.values(), ref_template="#/components/schemas/{name}")
    return schemas


def routes(patterns: Patterns) -> list[Route]:
    """Every route except the admin's pages, in the order of urls, each path once."""
    found: dict[str, Route] = {}
    for prefix, pattern in _leaves(patterns, ""):
        path = "/" + _CONVERTED.sub(r"{\1}", str(pattern.pattern))
        view: Any = pattern.callback
        before = found[path].prefixes if path in found else ()
        found[path] = Route(path, view.route, view.methods, (*before, "/" + prefix.rstrip("/")))
    return list(found.values())


def _leaves(patterns: Patterns, prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        if isinstance(pattern, URLPattern):
            yield prefix, pattern
        elif str(pattern.pattern) != _PAGES:
            yield from _leaves(pattern.url_patterns, prefix + str(pattern.pattern))


def _path_item(route: Route) -> Schema:
    described = OPERATIONS.get(route.name, {})
    names = re.findall(r"{(\w+)}", route.path)
    item: Schema = {
        method.lower(): _operation(route, method, described[method])
        for method in route.methods
        if method in described
    }
    if names:
        item["parameters"] = [_parameter(name) for name in names]
    if route.prefixes != ("/",):
        item["servers"] = [{"url": prefix} for prefix in route.prefixes]
    return item


def _operation(route: Route, method: str, operation: Operation) -> Schema:
    made: Schema = {
        "operationId": f"{route.name}_{method.lower()}",
        "summary": operation.summary,
        "tags": [operation.tag],
        "responses": {
            **{
                str(status): _answer(status, body, operation)
                for status, body in operation.answers.items()
            },
            **{
                str(status): {"$ref": f"#/components/responses/{status}"}
                for status in sorted(operation.errors)
            },
        },
        "security": _security(operation.key),
    }
    if operation.parameters:
        made["parameters"] = [_parameter(name) for name in operation.parameters]
    if operation.body is not None:
        example = requests.EXAMPLES[operation.body]
        made["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": ref(operation.body), "example": example}},
        }
    return made


def _parameter(name: str) -> Schema:
    """The parameter of this name. One without a line in `PARAMETERS` is a path parameter of any text."""
    known = PARAMETERS.get(name)
    if known is None:
        return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "name": known.name,
        "in": known.place,
        "required": known.required,
        "schema": known.schema,
        **({"description": known.description} if known.description else {}),
    }


def _answer(status: int, body: AnswerBody, operation: Operation) -> Schema:
    phrase = HTTPStatus(status).phrase
    if body is None:
        return {"description": phrase}
    schema = ref(body.__name__) if isinstance(body, type) else body
    return {"description": phrase, "content": {operation.media_type: {"schema": schema}}}


def _error(status: int) -> Schema:
    made: Schema = {
        "description": ERROR_MEANINGS[status],
        "content": {JSON: {"schema": ref("Error")}},
    }
    if status in LATER:
        made["headers"] = {
            "Retry-After": {
                "required": True,
                "schema": {"type": "integer", "minimum": 0},
                "description": "Seconds.",
            }
        }
    return made


def _security(key: KeyNeeded) -> list[dict[str, list[str]]]:
    with_key: dict[str, list[str]] = {_KEY: []}
    if key is KeyNeeded.ALWAYS:
        return [with_key]
    if key is KeyNeeded.BY_USER:
        return [with_key, {_TOKEN: []}]
    return [{}] if key is KeyNeeded.NEVER else [{}, with_key, {_TOKEN: []}]
