"""Model devices for test_life: what the SDKs remember, and what each sends when its app is used.

A device keeps the ids that the server answered, as the SDK does, and nothing else of the server. Every
request is a step of tests/fixtures, sent as it stands there. An answer that an SDK reacts to (docs/sdks.md)
is reacted to; any other than 200 and 202 fails.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Final

from tests.acceptance.devices import Fixtures, Send, filled, found

ACCEPTED: Final = (200, 202)
#: What a fixture calls an id that takes the place of another one.
_TAKES_THE_PLACE_OF: Final = {"ANONYMOUS_ID": "ONESIGNAL_ID", "OTHER_EMAIL_ID": "EMAIL_ID"}

Body = dict[str, Any]
Drain = Callable[[], None]


@lru_cache
def _fixtures(sdk: str) -> Fixtures:
    return Fixtures(sdk)


@dataclass(frozen=True)
class Sent:
    """A request as it was sent, and what the SDK reads in the answer."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]
    saves: Mapping[str, str]
    may_answer: tuple[int, ...]


class Device:
    """One installation of an app."""

    sdk: ClassVar[str]

    def __init__(self, send: Send, drain: Drain, app: str, token: str) -> None:
        """`drain` returns when all that was sent is applied: before what an SDK reads."""
        self._send = send
        self._drain = drain
        self.known: dict[str, str] = {
            "APP_ID": app,
            "PUSH_TOKEN": token,
            "INSTALL_ID": str(uuid.uuid4()),
            "LOCAL_SUBSCRIPTION_ID": f"local-{uuid.uuid4()}",
            "EXTERNAL_ID": "",
        }
        #: Who logged in last and did not log out, as the SDK knows it.
        self.person: str | None = None
        #: Tags that the app set on this installation.
        self.tags: dict[str, str] = {}
        self.last: Sent | None = None
        #: Whether the customer's server deleted it, and the SDK has not made it again.
        self.is_deleted = False

    @property
    def token(self) -> str:
        """The push token that it has now."""
        return self.known["PUSH_TOKEN"]

    def again(self) -> None:
        """The answer to the last request was lost: it is sent again as it was."""
        if self.last is not None:
            gone = (400, 404) if self.is_deleted else ()
            status, _ = self._sent(replace(self.last, may_answer=(*self.last.may_answer, *gone)))
            self._is_gone(status)

    def _is_gone(self, status: int) -> None:
        """React to an answer that says that the push record is gone, as this SDK does."""
        raise NotImplementedError

    def _ask(
        self,
        path: str,
        step: str,
        *,
        change: Callable[[Body], None] | None = None,
        may_answer: tuple[int, ...] = (),
    ) -> tuple[int, Body]:
        """Send a step of the fixtures. Fails for an answer that is neither a success nor one that
        `may_answer` names."""
        if self.is_deleted:
            # A change that comes before what makes it again is applied is answered as if it were still
            # deleted (decision 0034), and iOS 5.6 forgets that change.
            self._drain()
        (each,) = (one for one in _fixtures(self.sdk).part(path)["steps"] if one["name"] == step)
        body = filled(each["body"], self.known)
        if change is not None:
            change(body)
        self.last = Sent(
            each["method"],
            filled(each["path"], self.known),
            body,
            filled(each["headers"], self.known),
            each.get("saves") or {},
            may_answer,
        )
        return self._sent(self.last)

    def _sent(self, sent: Sent) -> tuple[int, Body]:
        status, answer = self._send(sent.method, sent.path, sent.body, sent.headers)
        assert status in (*ACCEPTED, *sent.may_answer), (self.sdk, sent, status, answer)
        if status in ACCEPTED:
            for name, field in sent.saves.items():
                value = found(answer, filled(field, self.known))
                assert value, (self.sdk, sent, answer)
                self.known[_TAKES_THE_PLACE_OF.get(name, name)] = value
            if self.is_deleted and self._registers(sent.body):
                self.is_deleted = False
                self._drain()
        return status, answer

    def _registers(self, body: Body | None) -> bool:
        """Whether this makes the push record again, with its token."""
        body = body or {}
        parts = [body, body.get("subscription", {}), *body.get("subscriptions", ())]
        return self.token in [part.get(name) for part in parts for name in ("identifier", "token")]


class OldDevice(Device):
    """An SDK of version 4.x, which calls itself a player."""

    #: Steps that differ in name only.
    login_steps: ClassVar[Mapping[str, tuple[str, str]]]
    logout_steps: ClassVar[Mapping[str, tuple[str, str]]]
    email_steps: ClassVar[tuple[str, ...]]
    token_step: ClassVar[tuple[str, str]]
    #: Whether a 400 makes it register again, with all that it remembers.
    registers_again: ClassVar[bool]

    @property
    def record(self) -> str:
        """The id of its push record."""
        return self.known["PUSH_ID"]

    def start(self, *, token_at_once: bool = True) -> None:
        """The app is opened."""
        if "PUSH_ID" not in self.known:
            self._ask("first_start", "push_create")
            return
        status, _ = self._ask("session", "push_on_session", may_answer=(400,))
        self._is_gone(status)

    def login(self, person: str, order: int) -> bool:
        """setExternalUserId: sent to each player that it has, by queues of their own."""
        self.person = self.known["EXTERNAL_ID"] = person
        self._each(self.login_steps, order)
        return True

    def logout(self, order: int) -> bool:
        """removeExternalUserId."""
        self.person = None
        self._each(self.logout_steps, order)
        return True

    def set_email(self, address: str) -> None:
        """setEmail."""
        self.known["EMAIL"] = self.known["OTHER_EMAIL"] = address
        for step in self.email_steps:
            status, _ = self._ask("set_email", step, may_answer=(400,) if "put" in step else ())
            self._is_gone(status)

    @property
    def can_set_email(self) -> bool:
        """Whether setEmail makes a record, and does not change the address of the one that there is."""
        return True

    def remove_email(self) -> None:
        """logoutEmail."""
        status, _ = self._ask("logout_email", "push_email_logout", may_answer=(400,))
        self.known.pop("EMAIL_ID")
        self.known.pop("EMAIL")
        self._is_gone(status)

    def set_sms(self, number: str) -> None:
        """setSMSNumber."""
        self.known["SMS_NUMBER"] = number
        self._ask("set_sms", "sms_create")

    def refresh_token(self, token: str) -> None:
        """The push service gives the installation another token."""
        self.known["PUSH_TOKEN"] = self.known["NEW_TOKEN"] = token
        path, step = self.token_step
        status, _ = self._ask(path, step, may_answer=(400,))
        self._is_gone(status)

    def set_tag(self, name: str, value: str) -> None:
        """sendTag; an empty value removes it."""
        if value:
            self.tags[name] = value
        else:
            self.tags.pop(name, None)

        def change(body: Body) -> None:
            body["tags"] = {name: value}

        status, _ = self._ask("send_tags", "push_put_tags", change=change, may_answer=(400,))
        self._is_gone(status)

    def _each(self, steps: Mapping[str, tuple[str, str]], order: int) -> None:
        mine = [kind for kind in ("PUSH_ID", "EMAIL_ID", "SMS_ID") if kind in self.known]
        for kind in mine[order % len(mine) :] + mine[: order % len(mine)]:
            path, step = steps[kind]
            status, _ = self._ask(path, step, may_answer=(400,) if kind == "PUSH_ID" else ())
            if kind == "PUSH_ID":
                self._is_gone(status)

    def _is_gone(self, status: int) -> None:
        if status not in ACCEPTED and self.registers_again:
            self._ask("first_start", "push_create", change=self._remember)
            self.is_deleted = False

    def _remember(self, body: Body) -> None:
        """What first_start/created_again has: all that was set before."""
        if self.tags:
            body["tags"] = dict(self.tags)
        if self.person is not None:
            body["external_user_id"] = self.person
        if "EMAIL_ID" in self.known:
            body |= {"email": self.known["EMAIL"], "parent_player_id": self.known["EMAIL_ID"]}


class Android4(OldDevice):
    """Android 4.8.12."""

    sdk = "android_4_8_12"
    login_steps: ClassVar = {
        "PUSH_ID": ("external_user_id", "push_put_external_id"),
        "EMAIL_ID": ("external_user_id", "email_put_external_id"),
        "SMS_ID": ("external_user_id", "sms_put_external_id"),
    }
    logout_steps: ClassVar = {
        "PUSH_ID": ("external_user_id", "push_put_removal"),
        "EMAIL_ID": ("external_user_id", "email_put_removal"),
        "SMS_ID": ("external_user_id", "sms_put_removal"),
    }
    email_steps = ("push_put_email", "email_create", "push_put_parent")
    token_step = ("first_start/token_comes_later", "push_put_token")
    registers_again = True


class Ios3(OldDevice):
    """iOS 3.12.7. No answer makes it register again: what was deleted stays so until a reinstall."""

    sdk = "ios_3_12_7"
    login_steps: ClassVar = {
        "PUSH_ID": ("external_user_id", "push_set"),
        "EMAIL_ID": ("external_user_id", "email_set"),
        "SMS_ID": ("external_user_id", "sms_set"),
    }
    logout_steps: ClassVar = {
        "PUSH_ID": ("external_user_id/removed", "push_remove"),
        "EMAIL_ID": ("external_user_id/removed", "email_remove"),
        "SMS_ID": ("external_user_id/removed", "sms_remove"),
    }
    email_steps = ("email_create", "push_put_parent")
    token_step = ("token_refresh", "push_put_token")
    registers_again = False

    @property
    def can_set_email(self) -> bool:
        """Whether setEmail makes a record, and does not change the address of the one that there is."""
        return "EMAIL_ID" not in self.known


class NewDevice(Device):
    """An SDK of the user model, version 5.x and web 16."""

    with_token: ClassVar[str]
    without_token: ClassVar[tuple[str, str, str]]
    token_step: ClassVar[tuple[str, str]]
    rebuild: ClassVar[str]
    #: Makes the push subscription again.
    push_again: ClassVar[tuple[str, str]]
    #: Whether it does so for a 404 to a change of the subscription.
    recreates: ClassVar[bool]

    @property
    def record(self) -> str:
        """The id of its push subscription."""
        return self.known["SUBSCRIPTION_ID"]

    @classmethod
    def upgraded(cls, old: OldDevice, sequence: str) -> "NewDevice":
        """The app on the old device has this SDK from now on. It asks who owns its player."""
        new = cls(old._send, old._drain, old.known["APP_ID"], old.token)
        new.is_deleted = old.is_deleted
        new.known["SUBSCRIPTION_ID"] = new.known["PLAYER_ID"] = old.record
        new.known["NEW_TOKEN"] = old.token
        old._drain()
        new._ask(sequence, "identity")
        new.refresh_token(old.token)
        return new

    def start(self, *, token_at_once: bool = True) -> None:
        """The app is opened."""
        if "SUBSCRIPTION_ID" not in self.known:
            if token_at_once:
                self._ask(self.with_token, "create_user")
            else:
                path, create, token = self.without_token
                self._ask(path, create, change=self._anonymous)
                self._ask(path, token)
            return
        self._read_user()
        self._ask("session", "session_start")

    def login(self, person: str, order: int) -> bool:
        """OneSignal.login: whether it sends something. An anonymous user takes the name; somebody else's
        installation asks for another user."""
        if person == self.person:
            return False
        was, self.person = self.person, person
        self.known["EXTERNAL_ID"] = person
        if was is not None:
            self._ask("login/taken_elsewhere", "create_user")
            return True
        self._ask("login", "set_alias")
        self._after_login()
        return True

    def logout(self, order: int) -> bool:
        """OneSignal.logout, and whether it sends something: the subscription moves to a new anonymous
        user."""
        if self.person is None:
            return False
        self.person = None
        self._ask("logout", "create_user")
        return True

    def set_email(self, address: str) -> None:
        """addEmail."""
        self.known["EMAIL"] = address
        self._ask("set_email", "email")

    def remove_email(self) -> None:
        """removeEmail."""
        self._ask("set_email/removed", "email_removed")
        self.known.pop("EMAIL_ID")

    def set_sms(self, number: str) -> None:
        """addSms."""
        self.known["SMS_NUMBER"] = number
        self._ask("set_sms", "sms")

    def refresh_token(self, token: str) -> None:
        """The push service gives the installation another token."""
        self.known["PUSH_TOKEN"] = self.known["NEW_TOKEN"] = token
        path, step = self.token_step
        status, _ = self._ask(path, step, may_answer=(404,))
        self._is_gone(status)

    def set_tag(self, name: str, value: str) -> None:
        """addTag; an empty value removes it."""

        def change(body: Body) -> None:
            body["properties"]["tags"] = {name: value}

        self._ask("tags", "tags", change=change)

    def _read_user(self) -> None:
        self._drain()
        status, answer = self._ask("session", "get_user", may_answer=(404, 503))
        if status not in ACCEPTED:
            self._rebuild()
        elif self.record not in [each["id"] for each in answer["subscriptions"]]:
            self._missing()

    def _is_gone(self, status: int) -> None:
        if status not in ACCEPTED and self.recreates:
            self._make_again()

    def _make_again(self) -> None:
        self._ask(*self.push_again)
        self.is_deleted = False

    def _anonymous(self, body: Body) -> None:
        """Make the first request that of an installation where nobody logged in yet."""

    def _after_login(self) -> None:
        """What follows the login of an anonymous user."""

    def _missing(self) -> None:
        """The user that was read has no such subscription."""

    def _rebuild(self) -> None:
        def change(body: Body) -> None:
            body["identity"] = {} if self.person is None else {"external_id": self.person}

        self.known["EXTERNAL_ID"] = self.person or ""
        self._ask(self.rebuild, "create_user", change=change)
        self.is_deleted = False


class Android5(NewDevice):
    """Android 5.9.9."""

    sdk = "android_5_9_9"
    with_token = "first_start/token_before_create"
    without_token = ("first_start", "create_user", "token")
    token_step = ("first_start", "token")
    rebuild = "rebuild"
    push_again = ("rebuild/subscription_gone", "push_subscription")
    recreates = True

    def _after_login(self) -> None:
        status, _ = self._ask("login", "push_again", may_answer=(404,))
        self._is_gone(status)

    def _missing(self) -> None:
        status, _ = self._ask("session/stuck_push", "push_again", may_answer=(404,))
        self._is_gone(status)


class Ios5(NewDevice):
    """iOS 5.6.1. It makes a missing subscription again when it reads its user."""

    sdk = "ios_5_6_1"
    with_token = "first_start/with_token"
    without_token = ("first_start", "create_user", "token")
    token_step = ("token_refresh", "token")
    rebuild = "rebuild"
    push_again = ("session/push_subscription_gone", "push_again")
    recreates = False

    def _missing(self) -> None:
        self._make_again()


class Web16(NewDevice):
    """The web SDK 16."""

    sdk = "web_16"
    with_token = "first_start"
    without_token = ("first_start/login_first", "create_user", "token")
    token_step = ("first_start/login_first", "token")
    rebuild = "rebuild"
    push_again = ("rebuild/subscription_gone", "push_subscription")
    recreates = True

    def _anonymous(self, body: Body) -> None:
        body["identity"] = {}

    def _read_user(self) -> None:
        """It does so after a login, and when a page is opened reads nothing."""

    def _after_login(self) -> None:
        self._ask("login", "owner", may_answer=(404,))  # which it drops


#: What an app's next release brings, and the sequence in which it takes over.
UPGRADES: Final[Mapping[type[OldDevice], tuple[type[NewDevice], str]]] = {
    Android4: (Android5, "upgrade_from_4"),
    Ios3: (Ios5, "upgrade_from_3"),
}
FAMILIES: Final[Mapping[str, type[OldDevice] | type[NewDevice]]] = {
    each.sdk: each for each in (Android4, Ios3, Android5, Ios5, Web16)
}
