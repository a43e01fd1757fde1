"""A user as GET shows it, in the form in which tests compare users."""

from collections.abc import Callable
from typing import Any

from tests.running import Running


def seen(answered: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    """Of an answer to GET user, what the SDKs' requests determine; nothing before there is one."""
    status, user = answered
    if status != 200:
        return {}
    properties = user["properties"]
    return {
        "aliases": {k: v for k, v in user["identity"].items() if k != "onesignal_id"},
        "tags": properties.get("tags"),
        "language": properties.get("language"),
        "amount_spent": properties.get("amount_spent"),
        "subscriptions": {
            (each["id"], each["type"], each.get("token"), each.get("enabled"))
            for each in user["subscriptions"]
        },
    }


def until(run: Running, look: Callable[[], Any], wanted: Any) -> None:
    """Wait until `look()` is what is wanted; fails with what it is instead."""
    try:
        run.wait("what was sent is there", lambda: look() == wanted)
    except AssertionError as error:
        raise AssertionError(f"wanted {wanted}\nthere is {look()}") from error
