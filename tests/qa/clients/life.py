"""One customer's life as a server client plays it on the running product: each operation called,
its typed answer looked at, and its effect waited for, in the rows or in what is read next."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.qa.clients.drivers import Driver, Raised
from tests.qa.clients.operations import OPERATIONS
from tests.running import Running

WAIT_S: Final = 180
_COLUMNS: Final = (
    "kind", "identifier", "properties", "deleted",
    "session_count", "session_time_s", "purchase_count", "spent_micros",
)  # fmt: skip
_ROW: Final = (
    "SELECT kind, identifier, properties, deleted, session_count, session_time_s, purchase_count,"
    " spent_micros FROM record WHERE app = %s AND id = %s"
)


@dataclass
class Life:
    """The customer is the client's own: no two lives share a name, an address or a token."""

    client: Driver
    run: Running
    url: str
    app: str
    key: str
    me: str = ""
    other: str = ""
    email: str = ""
    token: str = ""
    crm: str = ""
    subscription: str = ""
    email_id: str = ""

    def __post_init__(self) -> None:
        unique = uuid.uuid4().hex[:8]
        # The server sees a path decoded, so the plus that Rust writes for a space stays a plus.
        space = "" if self.client.name == "rust" else " "
        self.me = f"me{space}1/é+&@%{unique}"
        self.other = f"other-{unique}"
        self.crm = f"crm{space}{unique}"
        self.email = f"a+b-{unique}@example.com"
        self.token = f"push:{unique}/x"

    def call(self, operation: str, *path: str, body: Any = None) -> Any:
        """The client's answer."""
        return self.client.call(self.url, self.key, operation, self.app, *path, body=body)

    def found(self, operation: str, *path: str) -> dict[str, Any] | None:
        """What a read answers, None where the client says 404, with a message in it."""
        try:
            answer: dict[str, Any] = self.call(operation, *path)
        except Raised as raised:
            if raised.status == 404 and raised.messages:
                return None
            raise
        return answer

    def user(self, label: str, name: str) -> dict[str, Any] | None:
        """The user that has this alias."""
        return self.found("get_user", label, name)

    def mine(self) -> dict[str, Any] | None:
        """The customer."""
        return self.user("external_id", self.me)

    def owner(self, subscription: str) -> str | None:
        """The external id of the subscription's user."""
        found = self.found("get_aliases_by_subscription", subscription)
        return None if found is None else found["identity"].get("external_id")

    def row(self, record: str) -> dict[str, Any] | None:
        """The record's row."""
        rows = self.run.rows(_ROW, self.app, record)
        return dict(zip(_COLUMNS, rows[0], strict=True)) if rows else None

    def wait(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until it is so: an accepted update is applied later."""
        self.run.wait(what, holds, timeout_s=WAIT_S)


@dataclass(frozen=True, slots=True)
class Check:
    """A chapter of the life, for one operation. `checked` and `differs` are columns of the page."""

    operation: str
    checked: str
    differs: str
    play: Callable[[Life], None]


CHECKS: Final[list[Check]] = []


def checks(operation: str, checked: str, differs: str = "") -> Callable[..., Any]:
    """Adds the function as the next chapter."""
    assert operation in OPERATIONS

    def add(play: Callable[[Life], None]) -> Callable[[Life], None]:
        CHECKS.append(Check(operation, checked, differs, play))
        return play

    return add


@checks(
    "create_user",
    "the answer names the user; the user, its tags and its email subscription can be read by its "
    "external id, which has a space, a slash, a plus and an é in it; the subscription's row",
    "The `onesignal_id` of the answer is a handle: it stands for the user in all calls, but a read "
    "may show another one, since whose the external id is, is decided in Kafka's order. A user with "
    "this external id that was there is updated",
)
def _create_user(life: Life) -> None:
    answer = life.call(
        "create_user",
        body={
            "identity": {"external_id": life.me},
            "properties": {
                "tags": {"plan": "gold", "visits": 3, "town": "Zürich"},
                "language": "de",
                "timezone_id": "Europe/Zurich",
                "lat": 47.5,
                "long": 8.5,
            },
            "subscriptions": [{"type": "Email", "token": life.email, "enabled": True}],
        },
    )
    handle = answer["identity"]["onesignal_id"]
    assert answer["identity"]["external_id"] == life.me

    def read() -> bool:
        user = life.mine()
        return user is not None and bool(user.get("subscriptions"))

    life.wait("the user can be read", read)
    user = life.mine()
    assert user is not None
    assert user["identity"]["external_id"] == life.me
    assert user["properties"]["tags"] == {"plan": "gold", "visits": 3, "town": "Zürich"}
    assert user["properties"]["language"] == "de"
    assert (user["properties"]["lat"], user["properties"]["long"]) == (47.5, 8.5)
    (subscription,) = user["subscriptions"]
    assert (subscription["type"], subscription["token"]) == ("Email", life.email)
    life.email_id = subscription["id"]
    row = life.row(life.email_id)
    assert row is not None
    assert (row["kind"], row["identifier"], row["deleted"]) == ("email", life.email, False)
    by_handle = life.user("onesignal_id", handle)
    assert by_handle is not None
    assert by_handle["identity"]["external_id"] == life.me


@checks(
    "get_user",
    "read by `external_id` and by the `onesignal_id` that it shows; a name that nobody has is the "
    "client's 404, with a message",
    "Shows what has been applied so far: 404 before, and what was accepted a moment ago may lack",
)
def _get_user(life: Life) -> None:
    user = life.mine()
    assert user is not None
    again = life.user("onesignal_id", user["identity"]["onesignal_id"])
    assert again is not None
    assert again["identity"] == user["identity"]
    assert again["properties"]["tags"] == user["properties"]["tags"]
    assert life.user("external_id", f"nobody-{life.crm}") is None


@checks(
    "update_user",
    "a tag set, one removed with an empty string and one with null; sessions, seconds and purchases "
    "of the deltas in the user's row, added once",
    "An alias that nobody has makes a user (no 404). A purchase's `count` is not looked at",
)
def _update_user(life: Life) -> None:
    user = life.mine()
    assert user is not None
    record = user["identity"]["onesignal_id"]
    life.call(
        "update_user",
        "external_id",
        life.me,
        body={
            "properties": {
                "tags": {"plan": "silver", "visits": "", "town": None},
                "language": "fr",
            },
            "deltas": {
                "session_time": 75,
                "session_count": 2,
                "purchases": [{"sku": "coins", "amount": "4.99", "iso": "EUR", "count": 2}],
            },
            "refresh_device_metadata": True,
        },
    )

    def read() -> bool:
        user = life.mine()
        return user is not None and user["properties"].get("language") == "fr"

    life.wait("the update can be read", read)
    user = life.mine()
    assert user is not None
    assert user["properties"]["tags"] == {"plan": "silver"}
    row = life.row(record)
    assert row is not None
    assert (row["session_count"], row["session_time_s"]) == (2, 75)
    assert (row["purchase_count"], row["spent_micros"]) == (1, 4_990_000)
    life.call(
        "update_user",
        "external_id",
        life.other,
        body={"properties": {"tags": {"made": "by an update"}}},
    )
    life.wait(
        "an update has made the user", lambda: life.user("external_id", life.other) is not None
    )


@checks(
    "create_alias",
    "the answer has the alias; the user can be read by it; another user that asks for it too does not "
    "get it",
    "An alias that another user has is refused later, in Kafka's order: there is no 409",
)
def _create_alias(life: Life) -> None:
    answer = life.call("create_alias", "external_id", life.me, body={"identity": {"crm": life.crm}})
    assert answer["identity"]["crm"] == life.crm

    def read() -> bool:
        user = life.user("crm", life.crm)
        return user is not None and {"external_id": life.me, "crm": life.crm}.items() <= (
            user["identity"].items()
        )

    life.wait("the user can be read by the alias", read)


@checks("get_aliases", "all aliases and the `onesignal_id`", "Shows what has been applied so far")
def _get_aliases(life: Life) -> None:
    identity = life.call("get_aliases", "crm", life.crm)["identity"]
    user = life.mine()
    assert user is not None
    assert identity == user["identity"]
    assert (identity["external_id"], identity["crm"]) == (life.me, life.crm)


@checks(
    "create_subscription",
    "the answer has its id; the row of that id; the user's subscriptions have it",
    "A token that has a subscription keeps its id, and the subscription moves to this user",
)
def _create_subscription(life: Life) -> None:
    answer = life.call(
        "create_subscription",
        "crm",
        life.crm,
        body={
            "subscription": {
                "type": "AndroidPush",
                "token": life.token,
                "enabled": True,
                "notification_types": 1,
                "device_os": "14",
                "rooted": False,
            }
        },
    )
    life.subscription = answer["subscription"]["id"]

    def read() -> bool:
        user = life.mine()
        assert user is not None
        return life.subscription in {each["id"] for each in user["subscriptions"]}

    life.wait("the user has the subscription", read)
    row = life.row(life.subscription)
    assert row is not None
    assert (row["kind"], row["identifier"], row["deleted"]) == ("push", life.token, False)
    assert row["properties"]["device_os"] == "14"


@checks("update_subscription", "the fields in the row of its id")
def _update_subscription(life: Life) -> None:
    life.call(
        "update_subscription",
        life.subscription,
        body={"subscription": {"enabled": False, "notification_types": -2, "device_os": "15"}},
    )

    def applied() -> bool:
        row = life.row(life.subscription)
        assert row is not None
        properties = row["properties"]
        return bool(
            (properties["enabled"], properties["notification_types"], properties["device_os"])
            == (False, -2, "15")
        )

    life.wait("the row has it", applied)


@checks(
    "update_subscription_by_token",
    "the fields in the row of the subscription that has the token: an address with a plus and an at",
    "A token that nobody has makes a subscription (no 404)",
)
def _update_subscription_by_token(life: Life) -> None:
    life.call(
        "update_subscription_by_token",
        "Email",
        life.email,
        body={"subscription": {"enabled": False, "app_version": "8"}},
    )

    def applied() -> bool:
        row = life.row(life.email_id)
        assert row is not None
        return bool(row["properties"].get("app_version") == "8")

    life.wait("the row has it", applied)


@checks(
    "create_alias_by_subscription",
    "the user of the subscription can be read by the alias",
    "The answer need not name the user: whose the subscription is, is decided in Kafka's order",
)
def _create_alias_by_subscription(life: Life) -> None:
    name = f"{life.crm}-by-subscription"
    life.call(
        "create_alias_by_subscription", life.subscription, body={"identity": {"device": name}}
    )

    def read() -> bool:
        user = life.user("device", name)
        return user is not None and {"external_id": life.me, "device": name}.items() <= (
            user["identity"].items()
        )

    life.wait("the user can be read by the alias", read)


@checks(
    "get_aliases_by_subscription",
    "all aliases of the subscription's user",
    "Shows what has been applied so far",
)
def _get_aliases_by_subscription(life: Life) -> None:
    identity = life.call("get_aliases_by_subscription", life.subscription)["identity"]
    assert identity == life.call("get_aliases", "external_id", life.me)["identity"]
    assert identity["external_id"] == life.me


@checks(
    "transfer_subscription",
    "the subscription's user is the other one; the first user has it no more",
    "The answer repeats the identity that was asked for: whose it is, is decided in Kafka's order",
)
def _transfer_subscription(life: Life) -> None:
    life.call(
        "transfer_subscription", life.subscription, body={"identity": {"external_id": life.other}}
    )
    life.wait("it belongs to the other", lambda: life.owner(life.subscription) == life.other)
    user, other = life.mine(), life.user("external_id", life.other)
    assert user is not None
    assert other is not None
    assert life.subscription not in {each["id"] for each in user["subscriptions"]}
    assert life.subscription in {each["id"] for each in other["subscriptions"]}


@checks(
    "delete_alias",
    "nobody can be read by the alias any more; the user's other aliases stay",
    "The answer need not list the aliases that remain",
)
def _delete_alias(life: Life) -> None:
    life.call("delete_alias", "external_id", life.me, "crm")
    life.wait("the alias leads nowhere", lambda: life.user("crm", life.crm) is None)

    def identity() -> dict[str, str]:
        found: dict[str, str] = life.call("get_aliases", "external_id", life.me)["identity"]
        return found

    life.wait("the user lists it no more", lambda: "crm" not in identity())
    assert {"external_id", "device", "onesignal_id"} == identity().keys()


@checks(
    "delete_subscription",
    "its row is marked deleted; its user has it no more",
    "202 also for one that is not there (no 404)",
)
def _delete_subscription(life: Life) -> None:
    life.call("delete_subscription", life.subscription)

    def applied() -> bool:
        row = life.row(life.subscription)
        assert row is not None
        return bool(row["deleted"])

    life.wait("the row is marked", applied)

    def read() -> bool:
        other = life.user("external_id", life.other)
        assert other is not None
        return life.subscription not in {each["id"] for each in other.get("subscriptions", ())}

    life.wait("the user has it no more", read)


@checks(
    "delete_user",
    "no alias of the user leads to it any more; its row is marked deleted",
    "200 also for one that is not there (no 404)",
)
def _delete_user(life: Life) -> None:
    user = life.mine()
    assert user is not None
    record = user["identity"]["onesignal_id"]
    life.call("delete_user", "external_id", life.me)
    life.wait("the alias leads nowhere", lambda: life.mine() is None)

    def applied() -> bool:
        row = life.row(record)
        return row is not None and bool(row["deleted"])

    life.wait("the row is marked", applied)
    assert life.user("onesignal_id", record) is None
