"""F8: an address changes hands, from the requests of SDKs of version 4.x to the rows."""

import uuid
from typing import Any

import pytest

from tests.acceptance.devices import http
from tests.running import Running

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


def test_an_address_changes_hands(stack: tuple[Running, str]) -> None:
    run, url = stack
    app = run.app.app_id

    def send(method: str, path: str, **fields: Any) -> Any:
        status, answer = http(url, method, path, {"app_id": app, **fields})
        assert status == 200
        return answer.get("id")

    def rows(record: str) -> list[tuple[Any, ...]]:
        return run.rows("SELECT identifier, tags FROM record WHERE id = %s::uuid", record)

    old = {"device_type": 11, "identifier": "old@example.org"}
    first = send("POST", "/players", **old, tags={"whose": "first"})
    send("PUT", f"/players/{first}", identifier="New@example.org")
    wanted = [("new@example.org", {"whose": "first"})]
    run.wait("the first has the new address", lambda: rows(first) == wanted)
    second = send("POST", "/players", **old, tags={"whose": "second"})
    assert second != first
    send("PUT", f"/players/{uuid.uuid4()}", parent_player_id=second, tags={"device": "second"})
    newcomers = [("old@example.org", {"whose": "second", "device": "second"})]
    run.wait("the second has the old one", lambda: rows(second) == newcomers)
    assert rows(first) == wanted
    assert send("POST", "/players", **old) == second
    assert send("POST", "/players", device_type=11, identifier="new@example.org") == first
    # The first takes the old address back: the second has none, and who comes next is the first.
    send("PUT", f"/players/{first}", identifier="old@example.org")
    run.wait("it has it", lambda: rows(first) == [("old@example.org", {"whose": "first"})])
    assert send("POST", "/players", **old) == first
