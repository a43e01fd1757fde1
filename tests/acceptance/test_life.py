"""The lives of devices of each SDK, in random order, on the real product: what a device ends with.

A life is a few devices of both families that share persons, addresses and numbers. They start, log in
and out, set and remove addresses, get other tokens, are deleted by the customer's server, are installed
again and upgraded, and repeat requests whose answers were lost. At its end, in PostgreSQL and over HTTP:

- a device has exactly one live subscription, of the person who logged in last, or of nobody where a
  limit refused;
- an address has one record, however it is spelled;
- what was deleted is whole again, or not there;
- no subscription is shown by two persons;
- no record has more children by a label than its limit.

At the end of all lives the oracle replays the topic and must come to the same rows.

`NOTIFY_LIFE_SEED=N make test ARGS="tests/acceptance/test_life.py -n 0 -s"` repeats the lives of a run;
NOTIFY_LIFE_EXAMPLES plays more of them.
"""

import json
import os
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, LiteralString

import pytest
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from devstack import product
from devstack.oracle.compare import compare
from notify.kafka.topic import Topics
from tests.acceptance.devices import http, to_server
from tests.acceptance.lives import FAMILIES, UPGRADES, Body, NewDevice, OldDevice
from tests.running import PARTITIONS, Running, running

EXAMPLES: Final = int(os.environ.get("NOTIFY_LIFE_EXAMPLES", "40"))
SEED: Final = int(os.environ.get("NOTIFY_LIFE_SEED", random.SystemRandom().randrange(10**9)))
STEPS: Final = 30
#: Links of each label that a parent may have, in the app with low limits.
LOW_LIMIT: Final = 2
LIMITED_LABELS: Final = ("user", "email", "sms")
PHONES_MAX: Final = 4
#: Names within a life.
PERSONS: Final = ("ann", "bob")
#: Of which each is spelled in several ways.
EMAILS: Final = ("post", "shop")
NUMBERS: Final = ("4930", "4822")
#: Play what makes two records of one push token: a player of version 4.x whose token was refreshed by PUT,
#: and that is installed again with it (field report F8). Until that is mended.
MOVED_IDENTIFIERS: Final = os.environ.get("NOTIFY_LIFE_MOVED_IDENTIFIERS") == "1"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 + 10 * EXAMPLES)]

_LIMIT: Final = """
    WITH head AS (UPDATE policy_head SET version = version + 1 RETURNING version)
    INSERT INTO link_limit (version, app_id, label, children, reason, author, at)
    SELECT version, %s, %s, %s, 'test', 'test', now() FROM head
"""
_OF_TOKEN: Final = """
    SELECT id::text FROM record
    WHERE app = %s AND kind = 'push' AND NOT deleted AND identifier = %s ORDER BY id
"""
_OF_ADDRESS: Final = """
    SELECT id::text FROM record WHERE app = %s AND kind = 'email' AND NOT deleted
        AND lower(identifier) = %s
"""
#: Numbers are stored as they were given.
_OF_NUMBER: Final = """
    SELECT id::text FROM record WHERE app = %s AND kind = 'sms' AND NOT deleted
        AND translate(identifier, ' -().', '') = %s
"""
_RECORD: Final = """
    SELECT kind, identifier, tags, properties ->> 'external_user_id'
    FROM record WHERE app = %s AND id = %s AND NOT deleted
"""
_PARENT: Final = """
    SELECT link.parent::text
    FROM link LEFT JOIN parent ON parent.app = link.app AND parent.id = link.parent
    WHERE link.app = %s AND link.child = %s AND link.label = %s
        AND link.parent_gen = coalesce(parent.gen, 0)
"""
_NAME: Final = """
    SELECT properties ->> 'alias:external_id' FROM record WHERE app = %s AND id = %s AND NOT deleted
"""
#: Limits are per parent. A person may show more: the users that logged in as it have children of their own.
_OVER_LIMIT: Final = """
    SELECT link.parent::text, link.label, count(*)
    FROM link LEFT JOIN parent ON parent.app = link.app AND parent.id = link.parent
    WHERE link.app = %s AND link.label = ANY(%s) AND link.parent_gen = coalesce(parent.gen, 0)
    GROUP BY link.parent, link.label HAVING count(*) > %s
"""
_FRONTIERS: Final = "SELECT partition, frontier FROM stream"


@dataclass
class World:
    """The product, with two customers: the second has low limits."""

    run: Running
    url: str
    apps: tuple[product.DemoApp, product.DemoApp]
    topics: Topics
    lives: int = 0

    def drain(self) -> None:
        """Wait until all that was sent is applied."""
        logs = self.topics.extents(self.run.topic, range(PARTITIONS))
        self.run.wait(
            "all is applied",
            lambda: all(at >= logs[partition].end for partition, at in self.run.rows(_FRONTIERS)),
        )


@dataclass
class Phone:
    """Where an app is installed, and what must be true of it."""

    device: OldDevice | NewDevice
    is_started: bool = False
    #: Who may own it: one, unless a server took somebody's name or user away.
    persons: set[str | None] = field(default_factory=lambda: {None})
    #: What a player of version 4.x may be linked to, by label.
    links: dict[str, set[str | None]] = field(
        default_factory=lambda: {"email": {None}, "sms": {None}}
    )
    is_refreshed: bool = False


which_phone = st.integers(0, PHONES_MAX - 1)


class Life(RuleBasedStateMachine):
    """A life. `world` is set before it is run."""

    world: ClassVar[World]

    @initialize(
        families=st.lists(st.sampled_from(sorted(FAMILIES)), min_size=2, max_size=PHONES_MAX),
        is_low=st.booleans(),
    )
    def begin(self, families: list[str], is_low: bool) -> None:
        """Phones on which nothing was started yet."""
        self.world.lives += 1
        self.number = self.world.lives
        self.is_low = is_low
        self.app = self.world.apps[is_low].app_id
        self.key = self.world.apps[is_low].key
        self.tokens = 0
        #: Addresses and numbers that were set, and whether somebody removed them since.
        self.removed: dict[tuple[str, str], bool] = {}
        self.phones = [Phone(self._installed(FAMILIES[each], self._token())) for each in families]

    # -- what the owners of the phones do --------------------------------------------------------------

    @rule(which=which_phone, twice=st.booleans(), token_at_once=st.booleans())
    def start(self, which: int, twice: bool, token_at_once: bool) -> None:
        """Open the app."""
        phone = self._phone(which)
        phone.device.start(token_at_once=token_at_once)
        phone.is_started = True
        self._repeat(phone, twice)

    @rule(
        which=which_phone,
        person=st.sampled_from(PERSONS),
        twice=st.booleans(),
        order=st.integers(0, 2),
    )
    def login(self, which: int, person: str, twice: bool, order: int) -> None:
        """Log in, the players of version 4.x in some order."""
        phone = self._started(which)
        if phone.device.login(self._person(person), order):
            self._repeat(phone, twice)
            phone.persons = {self._person(person)}

    @rule(which=which_phone, twice=st.booleans(), order=st.integers(0, 2))
    def logout(self, which: int, twice: bool, order: int) -> None:
        """Log out."""
        phone = self._started(which)
        if phone.device.logout(order):
            self._repeat(phone, twice)
            phone.persons = {None}

    @rule(
        which=which_phone, name=st.sampled_from(EMAILS), capitals=st.booleans(), twice=st.booleans()
    )
    def set_email(self, which: int, name: str, capitals: bool, twice: bool) -> None:
        """Set an address, in one of its spellings."""
        phone = self._started(which)
        device = phone.device
        if isinstance(device, OldDevice) and not device.can_set_email:
            return
        address = f"{name}{self.number}@example.org"
        device.set_email(address.upper() if capitals else address)
        self._repeat(phone, twice)
        self.removed["email", address] = False
        self._linked(phone, "email", device.known["EMAIL_ID"])

    @rule(which=which_phone, twice=st.booleans())
    def remove_email(self, which: int, twice: bool) -> None:
        """Remove the address: version 5.x deletes its record, version 4.x unlinks the device."""
        phone = self._started(which)
        if "EMAIL_ID" not in phone.device.known:
            return
        gone, address = phone.device.known["EMAIL_ID"], phone.device.known["EMAIL"].lower()
        phone.device.remove_email()
        self._repeat(phone, twice)
        phone.links["email"] = {None}
        if isinstance(phone.device, NewDevice):
            self._address_gone("email", gone, address)

    @rule(
        which=which_phone,
        prefix=st.sampled_from(NUMBERS),
        spaced=st.booleans(),
        twice=st.booleans(),
    )
    def set_sms(self, which: int, prefix: str, spaced: bool, twice: bool) -> None:
        """Set a number, in one of its spellings."""
        phone = self._started(which)
        number = f"{prefix}{self.number:06d}"
        phone.device.set_sms(
            f"+{number[:2]} ({number[2:4]}) {number[4:]}" if spaced else f"+{number}"
        )
        self._repeat(phone, twice)
        self.removed["sms", f"+{number}"] = False
        self._linked(phone, "sms", phone.device.known["SMS_ID"])

    @rule(which=which_phone, twice=st.booleans())
    def refresh_token(self, which: int, twice: bool) -> None:
        """Get another push token."""
        phone = self._started(which)
        phone.device.refresh_token(self._token())
        phone.is_refreshed = True
        self._repeat(phone, twice)

    @rule(which=which_phone, value=st.sampled_from(("", "gold", "tin")), twice=st.booleans())
    def set_tag(self, which: int, value: str, twice: bool) -> None:
        """Set or remove a tag."""
        phone = self._started(which)
        phone.device.set_tag("plan", value)
        self._repeat(phone, twice)

    @rule(which=which_phone)
    def repeat(self, which: int) -> None:
        """The answer to its last request was lost; others did something meanwhile."""
        self._repeat(self._phone(which), True)

    @rule(which=which_phone, same_token=st.booleans(), token_at_once=st.booleans())
    def reinstall(self, which: int, same_token: bool, token_at_once: bool) -> None:
        """Install the app again."""
        phone = self._started(which)
        is_old = isinstance(phone.device, OldDevice)
        if is_old and same_token and phone.is_refreshed and not MOVED_IDENTIFIERS:
            return
        token = phone.device.token if same_token else self._token()
        new = Phone(self._installed(type(phone.device), token))
        if is_old and same_token:
            # The same player: nobody logged out of it.
            new.persons = phone.persons | {None}
            new.links = {label: links | {None} for label, links in phone.links.items()}
        new.device.start(token_at_once=token_at_once)
        if phone.device.is_deleted:
            # The same player: until it is made again its updates are refused (decision 0034), and iOS 3.x
            # does not send them again.
            self.world.drain()
        new.is_started = True
        self.phones[self.phones.index(phone)] = new

    @rule(which=which_phone)
    def upgrade(self, which: int) -> None:
        """The app's next release has the SDK of version 5.x."""
        phone = self._started(which)
        if type(phone.device) in UPGRADES:
            assert isinstance(phone.device, OldDevice)
            to, sequence = UPGRADES[type(phone.device)]
            phone.device = to.upgraded(phone.device, sequence)
            phone.persons = {None}

    # -- what the customer's server does ---------------------------------------------------------------

    @rule(which=which_phone, as_player=st.booleans(), twice=st.booleans())
    def delete_device(self, which: int, as_player: bool, twice: bool) -> None:
        """Delete a device, by either API."""
        phone = self._started(which)
        path = f"/apps/{self.app}/subscriptions/{phone.device.record}"
        if as_player:
            path = f"/players/{phone.device.record}?app_id={self.app}"
        for _ in range(1 + twice):
            self._serve("DELETE", path)
        self.world.drain()  # until then its SDK is not told
        phone.device.is_deleted = True
        self._unlinked(phone)

    @rule(person=st.sampled_from(PERSONS), twice=st.booleans())
    def delete_person(self, person: str, twice: bool) -> None:
        """Delete a user. Its devices are nobody's until they log in or read that it is gone."""
        for _ in range(1 + twice):
            self._serve("DELETE", self._user(person))
        self._unsure(person)

    @rule(person=st.sampled_from(PERSONS), twice=st.booleans())
    def delete_name(self, person: str, twice: bool) -> None:
        """Take a user's name away."""
        for _ in range(1 + twice):
            self._serve("DELETE", f"{self._user(person)}/identity/external_id")
        self._unsure(person)

    # -- what must be true at the end --------------------------------------------------------------------

    def teardown(self) -> None:
        """Check it all, unless something failed before."""
        if not hasattr(self, "phones"):
            return
        self.world.drain()
        if self.is_low:
            limits = (self.app, list(LIMITED_LABELS), LOW_LIMIT)
            assert not (over := self.world.run.rows(_OVER_LIMIT, *limits)), over
        shown = self._shown()
        for phone in self.phones:
            if phone.is_started:
                if isinstance(phone.device, OldDevice):
                    self._check_player(phone, phone.device)
                else:
                    self._check_subscription(phone, phone.device, shown)
        for (kind, identifier), is_removed in self.removed.items():
            query = _OF_ADDRESS if kind == "email" else _OF_NUMBER
            records = self._rows(query, identifier)
            assert len(records) == 1 or (is_removed and not records), (kind, identifier, records)

    def _shown(self) -> dict[str, list[Body]]:
        """The subscriptions that each person shows over HTTP; none is shown by two."""
        shown: dict[str, list[Body]] = {}
        for person in PERSONS:
            status, answer = self._http("GET", self._user(person))
            assert status in (200, 404), answer
            shown[self._person(person)] = answer.get("subscriptions", [])
        ids = [each["id"] for several in shown.values() for each in several]
        assert len(ids) == len(set(ids)), shown
        return shown

    def _check_player(self, phone: Phone, device: OldDevice) -> None:
        records = self._rows(_OF_TOKEN, device.token)
        if not records and device.is_deleted:
            assert not self._rows(_RECORD, device.record), "came back without its token"
            return
        assert records == [device.record], (device.sdk, device.record, records)
        ((_, _, tags, person),) = self.world.run.rows(_RECORD, self.app, device.record)
        assert (person or None) in phone.persons, (person, phone)
        assert device.tags.items() <= tags.items(), (tags, phone)
        for label, allowed in phone.links.items():
            found = self._parent(device.record, label)
            assert found in allowed or (found is None and self.is_low), (label, found, phone)
        status, answer = self._http("GET", f"/players/{device.record}?app_id={self.app}")
        assert (status, answer.get("identifier")) == (200, device.token), answer

    def _check_subscription(
        self, phone: Phone, device: NewDevice, shown: dict[str, list[Body]]
    ) -> None:
        owners = {
            record: owner
            for record in self._rows(_OF_TOKEN, device.token)
            if (owner := self._parent(record, "user")) is not None
        }
        if not owners and device.is_deleted:
            assert not self._rows(_RECORD, device.record), "came back without token or owner"
            return
        if not owners and (self.is_low or len(phone.persons) > 1):
            return
        assert list(owners) == [device.record], (device.sdk, device.record, owners)
        person = self._name(owners[device.record])
        assert person in phone.persons, (device.sdk, person, phone)
        of_token = {
            who
            for who, subscriptions in shown.items()
            for each in subscriptions
            if each.get("token") == device.token
        }
        if person is None:
            # A user that is written by the id of a name that nobody has: found by that name, and nameless.
            assert of_token <= phone.persons, (of_token, phone)
        else:
            assert of_token == {person}, (of_token, person)

    # -- how ---------------------------------------------------------------------------------------------

    def _installed(self, family: type[OldDevice] | type[NewDevice], token: str) -> Any:
        return family(to_server(self.world.url), self.world.drain, self.app, token)

    def _phone(self, which: int) -> Phone:
        return self.phones[which % len(self.phones)]

    def _started(self, which: int) -> Phone:
        phone = self._phone(which)
        if not phone.is_started:
            phone.device.start()
            phone.is_started = True
        return phone

    def _repeat(self, phone: Phone, twice: bool) -> None:
        if twice:
            if phone.device.is_deleted:
                # If this is a first registration, it makes it again without person and links.
                phone.persons.add(None)
                self._unlinked(phone)
            phone.device.again()

    def _linked(self, phone: Phone, label: str, parent: str) -> None:
        phone.links[label] = {parent}
        if phone.device.is_deleted:  # registering again does not carry every link
            phone.links[label].add(None)

    def _unlinked(self, phone: Phone) -> None:
        for parents in phone.links.values():
            parents.add(None)

    def _token(self) -> str:
        self.tokens += 1
        return f"token-{self.number}-{self.tokens}"

    def _person(self, person: str) -> str:
        return f"{person}-{self.number}"

    def _user(self, person: str) -> str:
        return f"/apps/{self.app}/users/by/external_id/{self._person(person)}"

    def _unsure(self, person: str) -> None:
        for phone in self.phones:
            if isinstance(phone.device, NewDevice) and self._person(person) in phone.persons:
                phone.persons.add(None)

    def _address_gone(self, label: str, record: str, identifier: str) -> None:
        self.removed[label, identifier] = True
        for phone in self.phones:
            if record in phone.links[label]:
                phone.links[label].add(None)

    def _http(self, method: str, path: str) -> tuple[int, Body]:
        return http(self.world.url, method, path, headers={"Authorization": f"Key {self.key}"})

    def _serve(self, method: str, path: str) -> None:
        status, answer = self._http(method, path)
        assert status in (200, 202), (method, path, status, answer)

    def _rows(self, query: LiteralString, of: str) -> list[str]:
        return [row[0] for row in self.world.run.rows(query, self.app, of)]

    def _parent(self, child: str, label: str) -> str | None:
        rows = self.world.run.rows(_PARENT, self.app, child, label)
        return rows[0][0] if rows else None

    def _name(self, user: str) -> str | None:
        rows = self._rows(_NAME, self._parent(user, "merged") or user)
        return rows[0] if rows else None


def test_lives(
    postgres: str, redis_url: str, kafka: list[str], tmp_path: Path, namespace: str
) -> None:
    print(f"NOTIFY_LIFE_SEED={SEED} NOTIFY_LIFE_EXAMPLES={EXAMPLES}")
    with (
        running(tmp_path, namespace) as run,
        Topics(run.stack.env["KAFKA_BOOTSTRAP_SERVERS"].split(",")) as topics,
    ):
        low = _low(run)  # before web starts, which reads the apps once a second
        Life.world = World(run, run.start(), (run.app, low), topics)
        seed(SEED)(Life)
        run_state_machine_as_test(
            Life,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                database=None,
                report_multiple_bugs=False,
            ),
        )
        report = compare(
            run.stack.env["DATABASE_URL"], run.stack.env["KAFKA_BOOTSTRAP_SERVERS"], run.topic
        )
    print(f"{Life.world.lives} lives; {report}")
    assert report.equal, str(report)


def _low(run: Running) -> product.DemoApp:
    """A customer whose records may have few links."""
    made = json.loads(product.manage(run.stack, "app", "create", "Low", "--json"))
    run.sql.execute("INSERT INTO policy_head (id, version) VALUES (1, 0) ON CONFLICT DO NOTHING")
    for label in LIMITED_LABELS:
        run.sql.execute(_LIMIT, (made["id"], label, LOW_LIMIT))
    return product.DemoApp(made["id"], made["key"])
