"""Writes what each client sends into tests/fixtures/onesignal_clients.

`python -m tests.qa.clients.record [CLIENT...]`: those named, or all that this machine can run.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.qa.clients.drivers import COMMANDS, Driver, Missing, Raised, driver
from tests.qa.clients.operations import operation_of
from tests.qa.clients.steps import APP, KEY, STEPS, Step
from tests.qa.clients.stub import Request, Stub, stub

FIXTURES: Final = Path(__file__).parents[2] / "fixtures" / "onesignal_clients"
#: Those that an API could look at; what is left out is of the connection, or of the runtime's version.
_HEADERS: Final = (
    "authorization",
    "content-type",
    "accept",
    "accept-encoding",
    "os-usage-data",
    "user-agent",
)


def recorded(client: Driver, server: Stub, step: Step) -> dict[str, Any]:
    """What the client sent for the step, or what it raised instead of sending anything."""
    server.requests.clear()
    call: dict[str, Any] = {"step": step.name, "operation": step.operation}
    call |= {"arguments": [_placed(each) for each in step.path], "body": step.body}
    raised = None
    try:
        client.call(server.url, step.key, step.operation, *step.path, body=step.body)
    except Raised as error:
        raised = {"kind": error.kind, "status": error.status}
    if not server.requests:
        assert raised is not None
        return call | {"refused_by_the_client": raised["kind"]}
    (request,) = server.requests
    asked = operation_of(request.method, request.path)
    assert asked == step.operation or asked is None, (asked, step)
    return call | {"request": _request(request), "is_route": asked is not None}


def recording(client: Driver) -> dict[str, Any]:
    """All of a fixture. Of a body, `text` is what was sent where the usual ways to write it differ."""
    with stub() as server:
        steps = [recorded(client, server, step) for step in STEPS]
    return {"client": client.name, "version": client.version, "steps": steps}


def _request(request: Request) -> dict[str, Any]:
    found = {name.lower(): value for name, value in request.headers.items()}
    headers = {name: found[name] for name in _HEADERS if name in found}
    if "authorization" in headers:
        headers["authorization"] = headers["authorization"].replace(KEY, "{KEY}")
    made: dict[str, Any] = {
        "method": request.method,
        "path": _placed(request.path),
        "headers": headers,
        "body": json.loads(request.body) if request.body else None,
    }
    text = request.body.decode()
    if text not in {"", json.dumps(made["body"]), json.dumps(made["body"], separators=(",", ":"))}:
        made["text"] = text
    return made


def _placed(text: str) -> str:
    return text.replace(APP, "{APP_ID}")


def same(one: Any, other: Any) -> bool:
    """Whether two recordings differ in nothing but the order of keys, which Rust's have at random."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = (one.keys() | other.keys()) - {"text"}
        return all(key in one and key in other and same(one[key], other[key]) for key in keys)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(type(one) is type(other) and one == other)


def main(names: Sequence[str]) -> int:
    """Record; 1 where one that was named could not be run."""
    missing = 0
    for name in names or COMMANDS:
        try:
            with driver(name) as client:
                found = recording(client)
        except Missing as lacking:
            print(f"{name}: {lacking}", file=sys.stderr)
            missing += bool(names)
            continue
        FIXTURES.mkdir(exist_ok=True)
        path = FIXTURES / f"{name}.json"
        if not path.exists() or not same(json.loads(path.read_text()), found):
            path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        print(f"{path}: {len(found['steps'])} calls of {name} {found['version']} on {client.on}")
    return min(missing, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
