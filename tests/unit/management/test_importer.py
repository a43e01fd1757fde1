"""An import against a log in memory: what is there afterwards, whatever came before, between and twice."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import pytest
from django.db import OperationalError

from notify.domain.records import idempotency, ids
from notify.domain.records import patch as patches
from notify.domain.records.decide import decide, writes
from notify.domain.records.links import Links
from notify.domain.records.patch import Value
from notify.domain.records.policy import Policy
from notify.domain.records.update import UPDATE_BYTES_MAX, Update
from notify.kafka.producer import KafkaUnavailable, Overloaded
from notify.management.onesignal import importer
from notify.management.onesignal.export_file import Line, open_export
from notify.management.onesignal.importer import Dependencies, Importer
from notify.management.onesignal.progress import (
    Checkpoint,
    CheckpointMismatch,
    ImportCounts,
    ImportProgress,
    NotImported,
)
from notify.management.onesignal.stored import StoredRecord, StoredState
from notify.management.onesignal.updates import IMPORTED_AT
from tests.fake_web import APP, PLAYER, Web

COLUMNS = (
    "id", "identifier", "device_type", "tags", "session_count", "external_user_id", "onesignal_id",
)  # fmt: skip
USER_ID = "22222222-2222-4222-8222-222222222222"
ANN = ids.alias_id(APP, "user", "external_id", "ann")
EMAIL = ids.record_id(APP, "email", "ann@example.org")
States = Mapping[str, Mapping[str, Value]]


def player(number: int) -> str:
    return f"11111111-1111-4111-8111-{number:012d}"


def row(record: str = PLAYER, **cells: str) -> dict[str, str]:
    return {"id": record, "identifier": f"token-{record}", "device_type": "1"} | cells


def rows(count: int) -> list[dict[str, str]]:
    """Devices with a session count, a tag and a user each."""
    return [
        row(player(n), tags=f'{{"n": {n}}}', session_count="3", external_user_id=f"user {n % 7}")
        for n in range(count)
    ]


@dataclass
class World:
    """The API and its log, one import's file, and a clock that only sleeping moves."""

    web: Web
    file: Path
    remembers: bool = True
    fails: list[Exception] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    now: float = 100.0

    def export(self, *lines: Mapping[str, str]) -> None:
        """Write a CSV."""
        text = io.StringIO()
        table = csv.DictWriter(text, COLUMNS, restval="")
        table.writeheader()
        table.writerows(lines)
        self.file.write_text(text.getvalue())

    def export_users(self, *users: object) -> None:
        """Write JSON, a line a user."""
        self.file.write_text("".join(f"{json.dumps(user)}\n" for user in users))

    def send(self, values: Sequence[bytes]) -> None:
        if self.fails:
            raise self.fails.pop(0)
        self.batches.append(len(values))
        self.web.producer.send(APP, values, partitions=8, traceparent="")

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def progress(self, app: str = APP, *, dry: bool = False) -> ImportProgress:
        path = None if dry else self.file.with_suffix(".progress")
        return ImportProgress(self.file, app, path=path, listed=self.file.with_suffix(".refused"))

    def run(
        self,
        *,
        start: Checkpoint | None = None,
        progress: ImportProgress | None = None,
        per_second: int = 0,
        batches: int | None = None,
    ) -> Checkpoint:
        """Import the file, or so many batches of it; what is noted then."""
        dependencies = Dependencies(
            send=self.send,
            read_stored=self.look,
            say=self.said.append,
            clock=lambda: self.now,
            sleep=self.sleep,
            now_ms=lambda: 1_800_000_000_000,
        )
        progress = progress or self.progress()
        checkpoint = start or progress.checkpoint()
        with open_export(self.file) as export:
            steps = Importer(APP, dependencies, progress, per_second=per_second).run(
                export.lines(), checkpoint, fraction=lambda: export.fraction, is_csv=export.is_csv
            )
            for step in islice(steps, batches):
                checkpoint = step
        return checkpoint

    def listed(self) -> list[list[str]]:
        """The list of what was not taken, without its header."""
        path = self.file.with_suffix(".refused")
        if not path.exists():
            return []
        with path.open(newline="") as file:
            header, *found = list(csv.reader(file))
        assert header == ["line", "what", "reason"]
        return found

    def applied(self) -> tuple[States, Links]:
        """All that stands in the log, decided and applied one after the other."""
        states: dict[str, dict[str, Value]] = {}
        links, seen = Links(), set[idempotency.SeenKey]()
        for update in self.web.sent():
            key = idempotency.key_of(update)
            decision, changes = decide(update, links, Policy(), repeated=key in seen)
            links.put(changes)
            if key is not None and self.remembers:
                seen.add(key)
            for write in writes(update, decision):
                states[write.record] = patches.apply(states.get(write.record, {}), write.patch)
        return states, links

    def states(self) -> States:
        return self.applied()[0]

    def look(self, updates: Iterable[Update]) -> StoredState:
        states, links = self.applied()
        found = {
            record: StoredRecord(
                "identifier" in state,
                f"properties.{IMPORTED_AT}" in state,
                bool(state.get("deleted")),
            )
            for record, state in states.items()
        }
        return StoredState(links, found)

    def user_of(self, record: str) -> str | None:
        """The user that the record is linked to."""
        return self.applied()[1].parent(APP, record, "user")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    return World(Web.with_fakes(monkeypatch), tmp_path / "users.csv")


class TestOnce:
    @pytest.mark.parametrize("remembers", [True, False])
    def test_a_second_import_changes_nothing(self, world: World, remembers: bool) -> None:
        """Also where message ids are no longer remembered."""
        world.remembers = remembers
        world.export(*rows(20), row(player(99), identifier="a@b.c", device_type="11"))
        world.run()
        first, links = world.applied()
        assert first[player(3)]["session_count"] == 3
        assert first[player(3)]["tags.n"] == 3
        world.run()
        assert world.applied() == (first, links)
        assert world.applied()[1].counts == links.counts

    def test_a_batch_of_unknown_outcome_counts_once(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Kafka has it and the ack is lost, before a worker has applied any of it."""
        world.export(*rows(20))
        send, fails = world.send, [KafkaUnavailable("no ack")]

        def lost(values: Sequence[bytes]) -> None:
            send(values)
            if fails:
                raise fails.pop()

        monkeypatch.setattr(world, "send", lost)
        monkeypatch.setattr(world, "look", lambda updates: StoredState(Links(), {}))
        world.run()
        assert len(world.web.sent()) == 2 * 40
        assert {world.states()[player(n)]["session_count"] for n in range(20)} == {3}

    def test_an_export_that_is_newer_adds_its_totals_no_second_time(self, world: World) -> None:
        world.export(row(session_count="3"))
        world.run()
        world.remembers = False
        world.export(row(session_count="5"), row(player(2), session_count="7"))
        world.run()
        assert world.states()[PLAYER]["session_count"] == 3
        assert world.states()[player(2)]["session_count"] == 7

    def test_a_device_of_both_exports_is_counted_once(self, world: World) -> None:
        world.export(row(session_count="3", onesignal_id=USER_ID))
        world.run()
        world.remembers = False
        subscription = {"id": PLAYER, "type": "AndroidPush", "session_count": 3}
        world.export_users(
            {
                "identity": {"onesignal_id": USER_ID, "external_id": "ann"},
                "properties": {"amount_spent": 2},
                "subscriptions": [subscription],
            }
        )
        world.run()
        assert world.states()[PLAYER]["session_count"] == 3
        assert world.states()[USER_ID]["spent_micros"] == 2_000_000
        assert world.states()[USER_ID]["properties.alias:external_id"] == "ann"


class TestRestart:
    @pytest.fixture(autouse=True)
    def _small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(importer, "BATCH_LINES", 10)

    @pytest.mark.parametrize("batches", [1, 2, 3])
    def test_it_goes_on_where_it_was(self, world: World, batches: int) -> None:
        lines = rows(35)
        lines[4] |= {"id": "17"}
        lines[22] |= {"tags": '{"n": [1]}'}
        lines[33] |= {"device_type": ""}
        world.export(*lines)
        stopped = world.run(batches=batches)
        assert (stopped.entries, stopped.line) == (10 * batches, 1 + 10 * batches)
        sent = len(world.web.sent())
        done = world.run()
        assert (done.counts.lines, done.counts.refused, done.counts.partly) == (35, 2, 1)
        assert done.counts.updates == len(world.web.sent())
        assert [line[:2] for line in world.listed()] == [
            ["6", "refused"],
            ["24", "partly"],
            ["35", "refused"],
        ]
        assert len({update.message_id for update in world.web.sent()[sent:]}) <= 33 * 2 - sent
        assert not world.file.with_suffix(".progress").exists()
        assert world.states().keys() >= {player(n) for n in range(35) if n not in (4, 33)}

    def test_a_kill_before_the_note_repeats_the_batch_and_lists_it_once(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines = rows(30)
        lines[2] |= {"id": "17"}
        lines[15] |= {"id": "17"}
        world.export(*lines)
        world.run(batches=1)

        def killed(path: Path, target: Path) -> Path:
            raise SystemError("killed")

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", killed)
            with pytest.raises(SystemError):
                world.run()
        assert [line[0] for line in world.listed()] == ["4", "17"]
        done = world.run()
        assert [line[0] for line in world.listed()] == ["4", "17"]
        assert (done.counts.lines, done.counts.refused) == (30, 2)
        assert {
            world.states()[player(n)]["session_count"] for n in range(30) if n not in (2, 15)
        } == {3}

    def test_a_list_that_somebody_emptied_meanwhile_stays_a_list(self, world: World) -> None:
        lines = rows(30)
        lines[2] |= {"id": "17"}
        lines[25] |= {"id": "17"}
        world.export(*lines)
        world.run(batches=1)
        world.file.with_suffix(".refused").write_text("line,what,reason\n")
        world.run()
        assert [line[0] for line in world.listed()] == ["27"]

    def test_from_a_line(self, world: World) -> None:
        world.export(*rows(30))
        world.run(batches=2)
        before = len(world.web.sent())
        progress = world.progress()
        done = world.run(progress=progress, start=progress.from_line(30))
        assert done.counts.lines == 2
        assert {update.record for update in world.web.sent()[before:]} >= {player(28), player(29)}
        assert player(27) not in world.states()

        assert world.run(start=progress.from_line(30), batches=1).entries == 30

    def test_users_in_one_line(self, world: World) -> None:
        users = [{"identity": {"external_id": f"u{n}"}, "properties": {}} for n in range(30)]
        world.file.write_text(json.dumps([*users, {"identity": {}}]))
        stopped = world.run(batches=2)
        assert (stopped.entries, stopped.line) == (20, 1)
        assert world.run().counts.lines == 31
        assert len(world.web.sent()) == 30
        assert [line[0] for line in world.listed()] == ["1"]

    def test_progress_of_another_import_is_refused(self, world: World) -> None:
        world.export(*rows(30))
        world.run(batches=1)
        with pytest.raises(CheckpointMismatch, match="another app"):
            world.progress(app=USER_ID).checkpoint()
        world.export(*rows(31))
        with pytest.raises(CheckpointMismatch, match="has changed"):
            world.run()
        for text in ("{", "{}", "[]", '{"counts": {}}'):
            world.file.with_suffix(".progress").write_text(text)
            with pytest.raises(CheckpointMismatch, match="is not a progress file"):
                world.run()

    def test_without_a_path_nothing_is_noted(self, world: World) -> None:
        world.export(*rows(30))
        world.run(progress=world.progress(dry=True), batches=1)
        assert not world.file.with_suffix(".progress").exists()


class TestAway:
    def test_it_waits_longer_and_longer_and_loses_nothing(self, world: World) -> None:
        world.export(*rows(3))
        world.fails = [KafkaUnavailable("no broker"), Overloaded("full")] * 3 + [
            OperationalError("no route")
        ]
        world.run()
        assert world.slept == [1, 2, 4, 8, 16, 30, 30]
        assert world.states().keys() >= {player(n) for n in range(3)}
        assert "Kafka does not answer, trying again in 1 s: no broker" in world.said[0]
        assert "continues after line 0." in world.said[0]
        assert "PostgreSQL does not answer, trying again in 30 s: no route" in world.said[6]

    def test_postgresql_is_waited_for_too(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.export(*rows(3))
        look, fails = world.look, [OperationalError("no route")]

        def away(updates: Iterable[Update]) -> StoredState:
            if fails:
                raise fails.pop()
            return look(updates)

        monkeypatch.setattr(world, "look", away)
        world.run()
        assert world.slept == [1]
        assert world.states()[player(1)]["session_count"] == 3

    def test_what_is_no_outage_ends_it(self, world: World) -> None:
        world.export(*rows(3))
        world.fails = [RuntimeError("a bug")]
        with pytest.raises(RuntimeError):
            world.run()


class TestPace:
    def test_no_more_than_so_many_a_second(self, world: World) -> None:
        world.export(*rows(40))
        began = world.now
        world.run(per_second=10)
        # A user and a device a line.
        assert world.batches == [20] * 4
        assert world.now - began == pytest.approx(80 / 10)

    def test_a_wait_is_not_made_up_for(self, world: World) -> None:
        world.export(*rows(40))
        world.fails = [KafkaUnavailable("no broker")] * 5
        world.run(per_second=10)
        waited, paced = world.slept[:5], world.slept[5:]
        assert sum(waited) == 31
        assert sum(paced) >= 80 / 10 - 1 - 0.001

    def test_no_bound(self, world: World) -> None:
        world.export(*rows(importer.BATCH_LINES + 1))
        world.run()
        assert world.slept == []
        assert world.batches == [2 * importer.BATCH_LINES, 2]

    def test_it_says_how_far_it_is(self, world: World) -> None:
        world.export(row("17"), *rows(40))
        world.run(per_second=4)
        assert len(world.said) == 3
        assert re.fullmatch(
            r" *\d+%  16 lines, 3 a second, 1 refused, 0 imported in part", world.said[0]
        )


class TestRefused:
    def test_a_line_is_listed_with_its_reason(self, world: World) -> None:
        world.export(row("17"), row(device_type=""), row(tags='{"a": [1]}'), row(player(5)))
        with world.file.open("a") as file:
            file.write("a,b\n")
        done = world.run()
        assert world.listed() == [
            ["2", "refused", "id must be the id of a player"],
            ["3", "refused", "device_type is missing"],
            ["4", "partly", "left out: tags.a must be a string, a boolean or a number"],
            ["6", "refused", "it has 2 cells, but the first line has 7"],
        ]
        assert (done.counts.lines, done.counts.refused, done.counts.partly) == (5, 3, 1)

    def test_an_update_that_no_bridge_would_read(self, world: World) -> None:
        wide = "\U0001f600" * 1000
        columns = [
            *("device_os", "device_model", "language", "country", "carrier", "sdk", "ad_id"),
            *("game_version", "timezone_id"),
        ]
        world.file.write_text(
            f"id,identifier,device_type,{','.join(columns)}\n{PLAYER},t,1{f',{wide}' * len(columns)}\n"
        )
        world.run()
        assert world.listed() == [
            [
                "2",
                "refused",
                f"the update is stored in more than {UPDATE_BYTES_MAX} bytes: send it in parts",
            ]
        ]
        assert world.web.sent() == []

    def test_a_line_in_part_is_counted_once(self, world: World) -> None:
        listed = [
            NotImported(2, "partly", "a"),
            NotImported(2, "refused", "b"),
            NotImported(3, "partly", "a"),
            NotImported(3, "partly", "b"),
        ]
        now = ImportCounts().plus(lines=4, listed=listed, updates=1)
        assert (now.lines, now.refused, now.partly, now.updates) == (4, 1, 1, 1)


class TestWhatCameBefore:
    """An SDK was here first: what it said is newer than the export."""

    def test_tags_tokens_and_counts(self, world: World) -> None:
        web = world.web
        path = f"/players/{PLAYER}"
        body = {"app_id": APP, "device_type": 1, "identifier": "newer", "tags": {"a": "live"}}
        assert web.call("PUT", path, body).status == 200
        assert web.call("POST", f"{path}/on_session", {"app_id": APP}).status == 200
        world.export(row(tags='{"a": "old", "b": "old"}', session_count="3"))
        world.run()
        state = world.states()[PLAYER]
        assert state["identifier"] == "newer"
        assert (state["tags.a"], state["tags.b"]) == ("live", "old")
        assert state["session_count"] == 4
        assert state["properties.last_active"]

    def test_a_device_without_a_token_gets_it(self, world: World) -> None:
        """What a session of an unknown device makes."""
        path = f"/players/{PLAYER}/on_session"
        assert world.web.call("POST", path, {"app_id": APP}).status == 200
        world.export(row(external_user_id="ann"))
        world.run()
        assert world.states()[PLAYER]["identifier"] == f"token-{PLAYER}"
        assert world.states()[PLAYER]["kind"] == "push"
        assert world.user_of(PLAYER)

    def test_a_login(self, world: World) -> None:
        path = f"/apps/{APP}/users"
        body = {"identity": {"external_id": "bob"}, "subscriptions": [{"id": PLAYER}]}
        assert world.web.call("POST", path, body).status == 202
        bob = world.user_of(PLAYER)
        assert bob
        world.export(row(external_user_id="ann"))
        world.run()
        assert world.user_of(PLAYER) == bob

    def test_an_installation_that_has_the_token(self, world: World) -> None:
        path = f"/apps/{APP}/users"
        subscription = {"type": "AndroidPush", "token": f"token-{PLAYER}"}
        body = {"identity": {"external_id": "ann"}, "subscriptions": [subscription]}
        answer = world.web.call("POST", path, body)
        installed = answer.body["subscriptions"][0]["id"]
        ann = world.user_of(installed)
        world.export(row(external_user_id="ann"))
        world.run()
        assert world.user_of(installed) == ann
        assert "identifier" not in world.states()[PLAYER]

    def test_a_token_that_another_device_took_over(self, world: World) -> None:
        other = player(7)
        path = f"/apps/{APP}/subscriptions/{other}"
        fields = {"type": "AndroidPush", "token": f"token-{PLAYER}"}
        assert world.web.call("PATCH", path, {"subscription": fields}).status == 200
        world.export(row())
        world.run()
        assert "identifier" not in world.states()[PLAYER]
        by_token = f"/apps/{APP}/subscriptions_by_token/AndroidPush/token-{PLAYER}"
        fields = {"app_version": "9"}
        assert world.web.call("PATCH", by_token, {"subscription": fields}).status == 202
        assert world.states()[other]["properties.app_version"] == "9"

    def test_a_device_that_was_deleted(self, world: World) -> None:
        assert world.web.call("DELETE", f"/apps/{APP}/subscriptions/{PLAYER}").status == 202
        world.export(row(session_count="3"), row("17"), row(player(2)))
        done = world.run()
        assert world.states()[PLAYER]["deleted"] is True
        assert done.counts.refused == 2
        assert [line[0] for line in world.listed()] == ["2", "3"]
        assert "was deleted on this server" in world.listed()[0][2]
        assert PLAYER in world.listed()[0][2]

    def test_a_user_that_was_deleted(self, world: World) -> None:
        web = world.web
        path = f"/apps/{APP}/users"
        body = {"identity": {"external_id": "ann"}}
        assert web.call("POST", path, body).status == 202
        gone = f"{path}/by/external_id/ann"
        assert web.call("DELETE", gone, key=web.secret).status == 200
        before = {record: state for record, state in world.states().items() if state["deleted"]}
        assert before
        world.export(row(external_user_id="ann", tags='{"a": 1}'))
        done = world.run()
        after = world.states()
        assert {record: after[record] for record in before} == before
        assert world.user_of(PLAYER) is None
        assert after[PLAYER]["tags.a"] == 1
        assert (done.counts.refused, done.counts.partly) == (0, 1)

    def test_a_name_that_a_user_has_here(self, world: World) -> None:
        """The user of the export is that user from then on."""
        path = f"/apps/{APP}/users"
        body = {"identity": {"external_id": "ann"}, "properties": {"tags": {"a": "live"}}}
        assert world.web.call("POST", path, body).status == 202
        world.export(row(external_user_id="ann", onesignal_id=USER_ID, tags='{"a": "old"}'))
        world.run()
        ann = world.user_of(PLAYER)
        assert ann != USER_ID
        assert ann is not None
        assert world.states()[ann]["tags.a"] == "live"
        assert USER_ID not in world.states()


class TestWhatComesAfter:
    """SDKs and servers go on with the ids and names that they have."""

    @pytest.fixture
    def imported(self, world: World) -> World:
        email = {"identifier": "Ann@Example.org", "device_type": "11"}
        world.export(
            row(external_user_id="ann", onesignal_id=USER_ID, session_count="3"),
            row(player(2), external_user_id="ann", onesignal_id=USER_ID, **email),
        )
        world.run()
        return world

    def test_a_device_of_4_x(self, imported: World) -> None:
        path = f"/players/{PLAYER}/on_session"
        assert imported.web.call("POST", path, {"app_id": APP, "tags": {"a": 1}}).status == 200
        state = imported.states()[PLAYER]
        assert (state["session_count"], state["tags.a"]) == (4, 1)
        assert state["identifier"] == f"token-{PLAYER}"

    def test_an_address_by_the_id_of_before_and_by_itself(self, imported: World) -> None:
        path = f"/players/{player(2)}"
        assert imported.web.call("PUT", path, {"app_id": APP, "tags": {"a": 1}}).status == 200
        body = {"app_id": APP, "device_type": 11, "identifier": "ann@example.org", "tags": {"b": 2}}
        assert imported.web.call("POST", "/players", body).body["id"] == EMAIL
        state = imported.states()[EMAIL]
        assert (state["tags.a"], state["tags.b"]) == (1, 2)
        assert (state["kind"], state["identifier"]) == ("email", "ann@example.org")

    @pytest.mark.parametrize(("label", "name"), [("onesignal_id", USER_ID), ("external_id", "ann")])
    def test_a_user_by_its_id_and_by_its_name(self, imported: World, label: str, name: str) -> None:
        path = f"/apps/{APP}/users/by/{label}/{name}"
        body = {"properties": {"tags": {"a": 1}}}
        assert imported.web.call("PATCH", path, body).status == 202
        assert imported.states()[USER_ID]["tags.a"] == 1
        shown = imported.web.call("GET", path, key=imported.web.secret).body
        assert shown["identity"] == {"onesignal_id": USER_ID, "external_id": "ann"}
        assert {(each["id"], each["type"]) for each in shown["subscriptions"]} == {
            (PLAYER, "AndroidPush"),
            (EMAIL, "Email"),
        }

    def test_a_token_refresh_and_a_look_by_token(self, imported: World) -> None:
        by_token = f"/apps/{APP}/subscriptions_by_token/AndroidPush/token-{PLAYER}"
        fields = {"token": "newer", "app_version": "9"}
        assert imported.web.call("PATCH", by_token, {"subscription": fields}).status == 202
        state = imported.states()[PLAYER]
        assert (state["identifier"], state["properties.app_version"]) == ("newer", "9")
        assert imported.user_of(PLAYER) == USER_ID


def test_lines_before_the_start_are_left_out(world: World) -> None:
    world.export(*rows(2))
    checkpoint = replace(world.progress().checkpoint(), from_line=4)
    assert world.run(start=checkpoint).counts.lines == 0
    assert Line(1, None).error == ""
