"""Random updates as customers send them, from a seed: batches of servers and the calls of old SDKs.

Half of all updates are of one row. The other half is spread over the apps: sets, unsets, counters,
links within and over the limits, unlinks, deletes and detaches.
"""

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from notify.domain.records import ids

ADMIN_EMAIL: Final = "admin@closely.example"
DEVICES: Final = 400
#: Batches of the hot app, of all batches, and updates of the hot row, of those in such a batch.
HOT_APP_SHARE: Final = 0.6
HOT_ROW_SHARE: Final = 0.84

LABELS: Final = ("email", "sms", "user")

Body = dict[str, Any]
Call = Callable[[str, str, Body], Body]


@dataclass(frozen=True, slots=True)
class Customer:
    """An app and its key."""

    app: str
    key: str

    @property
    def admin_email(self) -> str:
        """The record of the address that all its devices may call `set email` with."""
        return ids.record_id(self.app, "email", ADMIN_EMAIL)


class World:
    """The customers and their records. The first customer has the hot row.

    Without `kinds` no update says one: releases before decision 0028 let the last one win.
    """

    def __init__(self, customers: list[Customer], seed: int, *, kinds: bool = True) -> None:
        self._kinds = kinds
        dice = random.Random(seed)
        self.customers = customers
        self._devices = {
            customer.app: [str(uuid.UUID(int=dice.getrandbits(128))) for _ in range(DEVICES)]
            for customer in customers
        }
        self._parents = {
            customer.app: [
                customer.admin_email,
                *(ids.record_id(customer.app, "email", f"user{n}@example.com") for n in range(12)),
                *(ids.record_id(customer.app, "sms", f"+48 600 000 {n:03d}") for n in range(4)),
                *(str(uuid.UUID(int=dice.getrandbits(128))) for _ in range(6)),
            ]
            for customer in customers
        }

    @property
    def hot_row(self) -> str:
        """The record that half of the traffic updates."""
        return self.customers[0].admin_email

    def batch(self, dice: random.Random, size: int) -> tuple[Customer, list[Body]]:
        """`size` updates of one app, as items of its batch."""
        is_hot = dice.random() < HOT_APP_SHARE
        customer = self.customers[0] if is_hot else dice.choice(self.customers[1:])
        return customer, [
            self._hot_item(dice)
            if is_hot and dice.random() < HOT_ROW_SHARE
            else self._item(dice, customer.app)
            for _ in range(size)
        ]

    def _hot_item(self, dice: random.Random) -> Body:
        if dice.random() < 0.5:
            return {"record": self.hot_row, "tags": _tags(dice)}
        return {"record": self.hot_row, "counters": {"session_count": 1}}

    def _item(self, dice: random.Random, app: str) -> Body:
        parent = dice.choice(self._parents[app])
        device = dice.choice(self._devices[app])
        subject = device if dice.random() < 0.85 else parent
        dot = dice.random()
        if dot < 0.004:
            return {"record": parent, "op": "detach"}
        if dot < 0.02 and subject != self.hot_row:  # a delete takes the counts that the test reads
            return {"record": subject, "op": "delete"}
        item: Body = {"record": subject}
        if dot < 0.25:
            item["links"] = self._links(dice, app, subject)
        if dot < 0.1 or dot > 0.3:
            item["tags"] = _tags(dice)
        if dice.random() < 0.3:
            item["properties"] = _properties(dice)
        if dice.random() < 0.3:
            item["counters"] = _counters(dice)
        if dice.random() < 0.1:
            kind = dice.choice(["push", "email", "sms", "user"])
            item |= {"kind": kind} if self._kinds else {}
        if dice.random() < 0.1:
            item["identifier"] = dice.choice(["", None, f"token-{dice.randrange(50)}"])
        return item

    def _links(self, dice: random.Random, app: str, child: str) -> Body:
        """To the admin's address as often as to all others together; one in five unlinks."""
        links: Body = {}
        for label in dice.choices(LABELS, weights=(3, 1, 1), k=dice.randint(1, 2)):
            parents = self._parents[app]
            parent = parents[0] if dice.random() < 0.5 else dice.choice(parents)
            links[label] = None if dice.random() < 0.2 or parent == child else parent
        return links


class Device:
    """One old SDK, from its first start on. `call(method, path, body)` gives the answer's fields."""

    def __init__(self, app: str, dice: random.Random, call: Call) -> None:
        self._app = app
        self._dice = dice
        self._call = call
        token = f"fcm-{dice.getrandbits(40)}"
        body = {"device_type": 1, "identifier": token, "language": "pl", "sdk": "040812"}
        self._id: str = self._players("POST", "", body)["id"]

    def live(self) -> None:
        """Set the email, do some more, and in one case of five be deleted."""
        self._set_email()
        doings = [self._set_tags, self._start_session, self._focus, self._buy, self._set_email]
        doings += [self._set_tags, self._log_out, self._update_subscription]
        for do in self._dice.choices(doings, k=self._dice.randint(3, 9)):
            do()
        if self._dice.random() < 0.2:
            self._call("DELETE", self._subscription, {})

    @property
    def _subscription(self) -> str:
        return f"/apps/{self._app}/subscriptions/{self._id}"

    def _players(self, method: str, path: str, body: Body) -> Body:
        return self._call(method, f"/players{path}", {"app_id": self._app, **body})

    def _mine(self, method: str, path: str, body: Body) -> None:
        self._players(method, f"/{self._id}{path}", body)

    def _set_email(self) -> None:
        email = _email(self._dice)
        body = {"device_type": 11, "identifier": email, "device_player_id": self._id}
        parent = self._players("POST", "", body)["id"]
        self._mine("PUT", "", {"parent_player_id": parent})

    def _set_tags(self) -> None:
        self._mine("PUT", "", {"tags": _tags(self._dice)})

    def _start_session(self) -> None:
        body = {
            "device_type": 1,
            "game_version": self._dice.randrange(9),
            "tags": _tags(self._dice),
        }
        self._mine("POST", "/on_session", body)

    def _focus(self) -> None:
        body = {"state": "ping", "type": 1, "active_time": self._dice.randint(0, 600)}
        self._mine("POST", "/on_focus", body)

    def _buy(self) -> None:
        amounts = [f"{self._dice.randrange(20)}.{self._dice.randrange(100):02d}" for _ in range(2)]
        bought = [{"sku": "a", "iso": "PLN", "amount": amount} for amount in amounts]
        self._mine("POST", "/on_purchase", {"purchases": bought})

    def _log_out(self) -> None:
        self._mine("POST", "/email_logout", {})

    def _update_subscription(self) -> None:
        body = {"enabled": self._dice.random() < 0.5, "app_version": "1.2"}
        self._call("PATCH", self._subscription, {"subscription": body})


def _email(dice: random.Random) -> str:
    """One device in three says it is the admin's."""
    return ADMIN_EMAIL if dice.random() < 0.3 else f" User{dice.randrange(12)}@Example.com"


def _tags(dice: random.Random) -> Body:
    values = ["", None, "gold", "Zażółć 'gęślą' \\jaźń", 0, 7, -1.5, 1e21, True, False]
    return {f"tag{dice.randrange(8)}": dice.choice(values) for _ in range(dice.randint(1, 3))}


def _properties(dice: random.Random) -> Body:
    values: Body = {
        "language": dice.choice(["pl", "en", None]),
        "country": dice.choice(["PL", "DE", ""]),
        "timezone": dice.choice([3600, 7200]),
        "last_active": 1_700_000_000 + dice.randrange(1000),
        "device_model": dice.choice(["Pixel 9", "", "SM-G991B"]),
    }
    return {name: values[name] for name in dice.sample(sorted(values), dice.randint(1, 3))}


def _counters(dice: random.Random) -> dict[str, int]:
    names = ["session_count", "session_time_s", "purchase_count", "spent_micros"]
    return {name: dice.randint(-1, 90) for name in dice.sample(names, dice.randint(1, 2))}
