"""The commands as they are called: text, JSON, exit codes."""

import gc
import json
import logging
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import SystemCheckError
from django.utils import timezone
from pytest_django import Settings

from notify.domain.engine.lanes import lane_of
from notify.domain.engine.stream import upgrade_reason
from notify.domain.records import plan as plans
from notify.domain.records.decide import Decision
from notify.domain.records.patch import SET, Patch
from notify.domain.records.update import Update, encode
from notify.kafka.topic import TopicRefused, Topics
from notify.management import exit_codes
from notify.management.table import duration, table
from notify.models import App, AppKey, Hot, Lane, Plan, PlanLog, Stream, StreamSample, Topic
from notify.security.keys import digest_of
from tests.sampled_incident import sampled

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _pepper(settings: Settings) -> None:
    """Keys of apps are made."""
    settings.NOTIFY_KEY_PEPPER = "a pepper"


@pytest.fixture
def topic(kafka: list[str], namespace: str, settings: Settings) -> str:
    """A name that no topic has yet, in the settings."""
    settings.KAFKA_BOOTSTRAP_SERVERS = kafka
    settings.NOTIFY_TOPIC = namespace
    settings.NOTIFY_PARTITIONS = 2
    settings.NOTIFY_LANES = 4
    # What is so when a test begins is so at the end of a slow one; what is old is a minute old.
    settings.NOTIFY_STALLED_AFTER_MS = 30_000
    settings.NOTIFY_START_GRACE_S = 200
    return namespace


@pytest.fixture
def no_kafka(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """No broker answers. kafka-python leaves refused sockets to the garbage collector: it runs while
    that is expected, and no captured log holds them."""
    caplog.set_level(logging.CRITICAL, logger="kafka")
    settings.KAFKA_BOOTSTRAP_SERVERS = ["127.0.0.1:1"]
    monkeypatch.setattr(Topics.__init__, "__kwdefaults__", {"timeout_ms": 200, "security": None})
    yield
    gc.collect()


REFUSED_SOCKETS = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)


def call(*arguments: str) -> tuple[int, str]:
    """The exit code of the command, and the error that Django would print."""
    try:
        call_command(*arguments)
    except SystemExit as ended:
        return int(ended.code or 0), ""
    except CommandError as error:
        return error.returncode, str(error)
    return exit_codes.OK, ""


def run(*arguments: str, code: int = exit_codes.OK, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command prints, its error included; it must end with `code`."""
    capsys.readouterr()
    ended, error = call(*arguments)
    assert ended == code, error
    return capsys.readouterr().out + error


def run_json(
    *arguments: str, code: int = exit_codes.OK, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """The object that the command prints with --json, or the error's."""
    capsys.readouterr()
    ended, error = call(*arguments, "--json")
    assert ended == code, error
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def streams_for(topic_id: uuid.UUID, **fields: Any) -> Stream:
    """One stream of four lanes of a topic that is active."""
    Topic.objects.create(id=topic_id, name="elsewhere", partitions=1)
    positions = {"planned": 0, "frontier": 0, "lanes": 4, "lanes_wanted": 4}
    stream = Stream.objects.create(topic_id=topic_id, partition=0, **(positions | fields))
    Lane.objects.bulk_create(Lane(stream=stream.id, lane=n, last=-1) for n in range(4))
    return stream


def bridge_is_well() -> None:
    """Every stream is ticked and sampled now, as a bridge does that has all it needs."""
    now = timezone.now()
    Stream.objects.update(ticked_at=now)
    StreamSample.objects.all().delete()
    for stream in Stream.objects.all():
        sampled(stream, bucket=now, at=now)


class TestApp:
    def test_create_shows_the_key_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        text = run("app", "create", "Closely", capsys=capsys)
        app = App.objects.get()
        key = AppKey.objects.get()
        secret = next(line.split()[1] for line in text.splitlines() if line.startswith("Key"))
        assert key.digest == digest_of(secret)
        assert str(app.id) in text
        listed = run("app", "list", capsys=capsys)
        assert secret not in listed
        assert "Closely" in listed
        assert not app.requires_key

    def test_create_says_that_an_app_is_open_and_how_to_close_it(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text = run("app", "create", "Closely", capsys=capsys)
        app = App.objects.get()
        assert "This app is open: anybody who has its id" in text
        assert f"manage.py app require-identity {app.id} on" in text
        assert "open" not in run("app", "create", "Keyed", "--requires-key", capsys=capsys)
        found = run_json("app", "list", capsys=capsys)["apps"]
        assert [each["open"] for each in found] == [True, False]
        App.objects.update(requires_key=False, requires_identity=True)
        assert not any(each["open"] for each in run_json("app", "list", capsys=capsys)["apps"])

    def test_create_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        made = run_json("app", "create", "Closely", "--requires-key", capsys=capsys)
        app = App.objects.get()
        assert (made["id"], made["name"], made["requires_key"]) == (str(app.id), "Closely", True)
        assert AppKey.objects.get().digest == digest_of(made["key"])
        assert made["key"].startswith(made["key_prefix"])
        assert made["revoked_key_prefixes"] == []

    @pytest.mark.parametrize(
        ("name", "code", "said"),
        [
            ("Closely", exit_codes.ATTENTION, "already"),
            ("", exit_codes.USAGE, "blank"),
            ("x" * 101, exit_codes.USAGE, "100"),
        ],
    )
    def test_create_refuses(
        self, name: str, code: int, said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        App.objects.create(name="Closely")
        assert said in run("app", "create", name, code=code, capsys=capsys)
        assert App.objects.count() == 1
        error = run_json("app", "create", name, code=code, capsys=capsys)
        assert error["exit_code"] == code
        assert said in error["error"]

    def test_two_keys_live(self, capsys: pytest.CaptureFixture[str]) -> None:
        first = run_json("app", "create", "Closely", capsys=capsys)
        second = run_json("app", "rotate-key", "Closely", capsys=capsys)
        assert second["revoked_key_prefixes"] == []
        third = run_json("app", "rotate-key", first["id"], capsys=capsys)
        assert third["revoked_key_prefixes"] == [first["key_prefix"]]
        live = set(AppKey.objects.filter(revoked_at=None).values_list("prefix", flat=True))
        assert live == {second["key_prefix"], third["key_prefix"]}
        text = run("app", "rotate-key", "Closely", capsys=capsys)
        assert f"Revoked: {second['key_prefix']}…" in text

    @pytest.mark.parametrize("app", ["nobody", "04613efc-69a8-4dea-90bf-6e57903711a5"])
    def test_rotate_of_no_app(self, app: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert "app list" in run("app", "rotate-key", app, code=exit_codes.USAGE, capsys=capsys)

    def test_list(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert "app create" in run("app", "list", capsys=capsys)
        assert run_json("app", "list", capsys=capsys) == {"apps": []}
        run("app", "create", "Zulu", capsys=capsys)
        run("app", "create", "Alpha", capsys=capsys)
        App.objects.filter(name="Zulu").update(enabled=False)
        found = run_json("app", "list", capsys=capsys)["apps"]
        assert [(app["name"], app["enabled"], app["live_keys"]) for app in found] == [
            ("Alpha", True, 1),
            ("Zulu", False, 1),
        ]
        lines = run("app", "list", capsys=capsys).splitlines()
        assert [line.split()[-2:] for line in lines[1:]] == [["on", "Alpha"], ["off", "Zulu"]]


class TestTopic:
    def test_create_then_check(self, topic: str, capsys: pytest.CaptureFixture[str]) -> None:
        made = run_json("topic", "create", capsys=capsys)
        assert (made["topic"], made["partitions"]) == (topic, 2)
        assert made["changed_partitions"] == [0, 1]
        assert made["abandoned"] == []
        assert [stream.lanes for stream in Stream.objects.all()] == [4, 4]
        checked = run_json("topic", "check", capsys=capsys)
        assert checked["topic_id"] == made["topic_id"]
        assert checked["problems"] == []
        text = run("topic", "check", capsys=capsys)
        assert "the topic that the streams belong to" in text

    def test_create_passes_its_options_to_kafka(
        self, topic: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        asked: dict[str, Any] = {}

        def create(topics: Topics, name: str, **options: Any) -> None:
            asked.update(options)
            raise TopicRefused("enough")

        monkeypatch.setattr(Topics, "create", create)
        words = ("--min-insync", "2", "--retention-hours", "50", "--replication", "3")
        run("topic", "create", *words, code=exit_codes.ATTENTION, capsys=capsys)
        assert asked == {
            "partitions": 2,
            "replication": 3,
            "min_insync": 2,
            "retention_hours": 50,
        }

    def test_create_where_it_exists(self, topic: str, capsys: pytest.CaptureFixture[str]) -> None:
        first = run_json("topic", "create", "--partitions", "3", capsys=capsys)
        refused = run("topic", "create", code=exit_codes.ATTENTION, capsys=capsys)
        assert "topic adopt" in refused
        again = run_json("topic", "create", "--if-missing", capsys=capsys)
        assert again["topic_id"] == first["topic_id"]
        assert again["changed_partitions"] == []

    def test_create_of_nothing(self, topic: str, capsys: pytest.CaptureFixture[str]) -> None:
        run("topic", "create", "--partitions", "0", code=exit_codes.USAGE, capsys=capsys)
        with Topics(os.environ["KAFKA_BOOTSTRAP_SERVERS"].split(",")) as topics:
            made = topics.create(f"{topic}-other", partitions=1, replication=1)
        text = run("topic", "adopt", "--name", made.name, capsys=capsys)
        assert f"Topic {made.name} ({made.id}) is active, with 1 partitions." in text

    def test_an_undrained_topic_is_kept(
        self, topic: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run("topic", "create", capsys=capsys)
        Stream.objects.filter(partition=1).update(planned=5)
        other = f"{topic}-next"
        refused = run("topic", "create", "--name", other, code=exit_codes.ATTENTION, capsys=capsys)
        assert f"{topic} partition 1: offsets 0-4" in refused
        assert "--abandon" in refused
        missing = run("topic", "adopt", "--name", other, code=exit_codes.ATTENTION, capsys=capsys)
        assert "no topic" in missing
        done = run_json("topic", "create", "--name", other, "--abandon", capsys=capsys)
        assert done["abandoned"] == [{"topic": topic, "partition": 1, "first": 0, "next": 5}]
        assert Topic.objects.get(active=True).name == other

    def test_messages_that_nobody_planned_count_while_their_topic_exists(
        self, topic: str, kafka: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        from kafka import KafkaProducer

        run("topic", "create", capsys=capsys)
        producer = KafkaProducer(bootstrap_servers=kafka)
        for _ in range(3):
            producer.send(topic, b"{}", partition=0).get(180)
        producer.close()
        create = ("topic", "create", "--name", f"{topic}-next")
        refused = run(*create, code=exit_codes.ATTENTION, capsys=capsys)
        assert f"{topic} partition 0: offsets 0-2" in refused
        Topic.objects.update(name=f"{topic}-deleted")
        assert run_json(*create, capsys=capsys)["abandoned"] == []

    def test_a_topic_made_again_needs_to_be_adopted(
        self, topic: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        made = run_json("topic", "create", capsys=capsys)
        another = uuid.uuid4()
        Topic.objects.update(active=False)
        Topic.objects.create(id=another, name=topic, partitions=2)
        Stream.objects.update(topic_id=another)
        Topic.objects.filter(id=made["topic_id"]).delete()
        checked = run_json("topic", "check", code=exit_codes.ATTENTION, capsys=capsys)
        assert "deleted and made again" in checked["problems"][0]
        assert run_json("topic", "adopt", capsys=capsys)["topic_id"] == made["topic_id"]
        assert run_json("topic", "check", capsys=capsys)["problems"] == []

    def test_check_names_what_is_wrong(
        self, topic: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run("topic", "create", capsys=capsys)
        Stream.objects.filter(partition=0).update(halted="bad deploy")
        Stream.objects.filter(partition=1).update(planned=5)
        checked = run_json("topic", "check", code=exit_codes.ATTENTION, capsys=capsys)
        assert checked["problems"][0] == "partition 0 is halted: bad deploy"
        assert checked["problems"][1].startswith("partition 1 cannot continue: the log ends at 0")
        Topic.objects.update(name="other", partitions=1)
        text = run("topic", "check", code=exit_codes.ATTENTION, capsys=capsys)
        assert "the active topic is other, not" in text
        assert "2 streams are stored for 1 partitions" in text
        assert "Note: Kafka has 2 partitions, but 1 are used" in text

    @REFUSED_SOCKETS
    def test_kafka_away(self, no_kafka: None, capsys: pytest.CaptureFixture[str]) -> None:
        said = run("topic", "create", code=exit_codes.AWAY, capsys=capsys)
        assert "Kafka at 127.0.0.1:1 does not answer" in said


class TestStreamAndLanes:
    def test_list_and_resume(self, capsys: pytest.CaptureFixture[str]) -> None:
        streams_for(uuid.uuid4(), halted="bad deploy", planned=5, lanes_wanted=8)
        text = run("stream", "list", capsys=capsys)
        assert "4, draining to 8" in text
        assert "Partition 0 is halted: bad deploy" in text
        listed = run_json("stream", "list", capsys=capsys)
        assert listed["streams"][0]["halted"] == "bad deploy"
        assert listed["streams"][0]["planned"] == 5
        with pytest.raises(CommandError, match=r"no partition 3"):
            call_command("stream", "resume", "3")
        assert "bad deploy" in run("stream", "resume", "0", capsys=capsys)
        assert Stream.objects.get().halted is None
        assert "Nothing was halted" in run("stream", "resume", "--all", capsys=capsys)
        assert run_json("stream", "resume", "--all", capsys=capsys) == {"resumed": []}

    def test_lanes(self, capsys: pytest.CaptureFixture[str]) -> None:
        streams_for(uuid.uuid4())
        assert "1 to 64" in run("lanes", "--to", "65", code=exit_codes.USAGE, capsys=capsys)
        assert "drain" in run("lanes", "--to", "8", capsys=capsys)
        assert Stream.objects.get().lanes_wanted == 8
        done = run_json("lanes", "--to", "4", capsys=capsys)
        assert done["partitions"] == [{"partition": 0, "lanes": 4, "draining": False}]
        assert "already" in run("lanes", "--to", "4", capsys=capsys)

    @pytest.mark.parametrize(
        "command",
        [("stream", "list"), ("lanes", "--to", "4"), ("status",), ("stream", "resume", "--all")],
    )
    def test_without_a_topic(
        self, command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert "topic create" in run(*command, code=exit_codes.USAGE, capsys=capsys)


class TestStatus:
    def test_fine_until_nobody_ticks(
        self, topic: str, settings: Settings, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run("topic", "create", capsys=capsys)
        stalled = run_json("status", code=exit_codes.ATTENTION, capsys=capsys)
        assert [each["state"] for each in stalled["partitions"]] == ["starting", "starting"]
        assert not stalled["fine"]
        Topic.objects.update(adopted_at=timezone.now() - timedelta(minutes=5))
        stalled = run_json("status", code=exit_codes.ATTENTION, capsys=capsys)
        assert [each["state"] for each in stalled["partitions"]] == ["stalled", "stalled"]
        bridge_is_well()
        status = run_json("status", capsys=capsys)
        assert status["fine"]
        first = status["partitions"][0]
        assert (first["lag_messages"], first["lag_seconds"], first["lanes_behind"]) == (0, 0.0, [])
        text = run("status", capsys=capsys)
        assert "all well" in text
        assert "Lag 0 messages, time lag 0.0 s" in text
        settings.NOTIFY_STALLED_AFTER_MS = 0
        text = run("status", code=exit_codes.ATTENTION, capsys=capsys)
        assert re.search(r"Partitions 0-1 are stalled: no bridge has been active for \d+ s", text)
        assert "`manage.py bridge`" in text

    def test_lag_and_the_lane_that_holds_it(
        self, topic: str, kafka: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        from kafka import KafkaProducer

        run("topic", "create", "--partitions", "1", capsys=capsys)
        app = App.objects.create(name="Closely")
        record, parent = str(uuid.uuid4()), str(uuid.uuid4())
        now = timezone.now()
        producer = KafkaProducer(bootstrap_servers=kafka)
        for age_s in (90, 60, 55, 50, 45):
            update = Update(
                app=str(app.id),
                record=record,
                at=int((now.timestamp() - age_s) * 1000),
                message_id="m",
                patch=Patch(False, {"tags.a": (SET, 1)}),
            )
            producer.send(topic, encode(update), partition=0).get(180)
        producer.close()
        stream = Stream.objects.get()
        decisions = {1: Decision(own=True, mirrors=(parent,))}
        Plan.objects.create(stream=stream.id, first=0, next=3, decisions=plans.encode(0, decisions))
        PlanLog.objects.create(stream=stream.id, first=0, next=3, policy_version=0, at=now)
        Stream.objects.update(planned=3, frontier=1)
        bridge_is_well()
        own, mirror = lane_of(str(app.id), record, 4), lane_of(str(app.id), parent, 4)
        Lane.objects.filter(lane=own).update(last=0, tries=2)
        status = run_json("status", capsys=capsys)["partitions"][0]
        assert (status["planned"], status["frontier"], status["log_end"]) == (3, 1, 5)
        assert (status["lag_messages"], status["unplanned_messages"]) == (4, 2)
        assert status["window_offsets"] == 2
        assert 60 <= status["lag_seconds"] < 90
        behind = {lane["lane"]: lane for lane in status["lanes_behind"]}
        assert set(behind) == {own, mirror}
        assert behind[own]["record"] == record
        assert behind[own]["app_name"] == "Closely"
        assert (behind[own]["offset"], behind[own]["tries"]) == (1, 2)
        Lane.objects.filter(lane=own).update(last=1)
        text = run("status", capsys=capsys)
        landed = run_json("status", capsys=capsys)["partitions"][0]["lanes_behind"]
        assert {lane["lane"] for lane in landed} == {mirror} - {own}
        assert max(map(len, text.splitlines())) <= 80
        PlanLog.objects.update(at=now - timedelta(seconds=60))
        bridge_is_well()
        moves = run_json("status", capsys=capsys)["partitions"][0]
        assert (moves["state"], moves["waiting_seconds"]) == (
            "ok",
            0,
        )  # late, and its frontier moves
        Stream.objects.update(waiting_since=timezone.now() - timedelta(seconds=90), waiting_at=1)
        stuck = run_json("status", code=exit_codes.ATTENTION, capsys=capsys)["partitions"][0]
        assert stuck["state"] == "stuck"
        assert stuck["waiting_seconds"] >= 60
        assert "workers" in run("status", code=exit_codes.ATTENTION, capsys=capsys)
        Plan.objects.update(decisions=b"\xff")
        unreadable = run_json("status", code=exit_codes.ATTENTION, capsys=capsys)["partitions"][0]
        assert unreadable["lanes_behind"] is None
        # All that was planned is applied, and the log went on long ago: nobody reads it.
        Stream.objects.update(frontier=3)
        bridge_is_well()
        unread = run_json("status", code=exit_codes.ATTENTION, capsys=capsys)["partitions"][0]
        assert (unread["state"], unread["unplanned_messages"]) == ("unread", 2)
        text = " ".join(run("status", code=exit_codes.ATTENTION, capsys=capsys).split())
        assert "is unread: Kafka has sent no messages to bridge host:7" in text
        assert "2 messages wait" in text
        PlanLog.objects.update(at=timezone.now())
        assert run_json("status", capsys=capsys)["partitions"][0]["state"] == "ok"

    def test_top_records(self, topic: str, capsys: pytest.CaptureFixture[str]) -> None:
        run("topic", "create", capsys=capsys)
        streams = list(Stream.objects.all())
        bridge_is_well()
        app = App.objects.create(name="A name much longer than its column")
        hot, other = uuid.uuid4(), uuid.uuid4()
        now = timezone.now()
        for stream, bucket, record, direct, mirrored in (
            (streams[0].id, now, hot, 10, 90_000),
            (streams[1].id, now, hot, 0, 10_000),
            (streams[0].id, now, other, 70, 0),
            (streams[0].id, now - timedelta(minutes=2), other, 10**6, 0),
            (10**6, now, other, 10**6, 0),
        ):
            Hot.objects.create(
                bucket=bucket,
                stream=stream,
                app=app.id,
                record=record,
                direct=direct,
                mirrored=mirrored,
                error=0,
            )
        top = run_json("status", capsys=capsys)["top_records"]
        assert [(row["record"], row["direct"], row["mirrored"]) for row in top] == [
            (str(hot), 10, 100_000),
            (str(other), 70, 0),
        ]
        assert top[0]["app_name"] == app.name
        text = run("status", capsys=capsys)
        assert "100,010" in text
        assert "A name much longer…" in text
        assert max(map(len, text.splitlines())) <= 80

    @REFUSED_SOCKETS
    def test_kafka_away_shows_what_postgres_knows(
        self, no_kafka: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        streams_for(uuid.uuid4(), planned=9, frontier=4, halted="bad deploy", lanes_wanted=2)
        status = run_json("status", code=exit_codes.AWAY, capsys=capsys)
        assert "does not answer" in status["kafka_error"]
        first = status["partitions"][0]
        assert first["state"] == "halted"
        assert first["window_offsets"] == 5
        for unknown in ("log_end", "lag_messages", "lag_seconds", "lanes_behind"):
            assert first[unknown] is None
        text = run("status", code=exit_codes.AWAY, capsys=capsys)
        assert "Lag unknown, time lag unknown" in text
        assert "Partition 0 is halted: bad deploy." in text
        assert "Lanes behind: unknown for partition 0" in text
        assert "4 to 2" in text

    @REFUSED_SOCKETS
    def test_only_a_halt_that_an_operator_ends_says_how_to_resume(
        self, no_kafka: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        streams_for(uuid.uuid4(), halted="bad deploy")
        text = run("status", code=exit_codes.AWAY, capsys=capsys)
        assert "When the cause is fixed, run `manage.py stream resume`" in " ".join(text.split())
        Stream.objects.update(halted=upgrade_reason(7, 2, reads=1))
        text = " ".join(run("status", code=exit_codes.AWAY, capsys=capsys).split())
        assert "Partition 0 is halted: needs an upgrade: the message at offset 7 has v 2" in text
        assert "When the cause is fixed" not in text

    def test_another_topic_under_the_name_is_told(
        self, topic: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run("topic", "create", capsys=capsys)
        Topic.objects.update(active=False)
        another = uuid.uuid4()
        Stream.objects.update(ticked_at=timezone.now(), topic_id=another)
        Topic.objects.create(id=another, name=topic, partitions=2)
        status = run_json("status", code=exit_codes.AWAY, capsys=capsys)
        assert "was replaced" in status["kafka_error"]


class TestErrors:
    def shell(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def test_postgres_away(self) -> None:
        ended = self.shell("app", "list", DATABASE_URL="postgresql://127.0.0.1:1/none")
        assert ended.returncode == exit_codes.AWAY
        assert "PostgreSQL does not answer" in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_a_database_without_tables(self, postgres: str) -> None:
        empty = urlsplit(postgres)._replace(path="/postgres").geturl()
        ended = self.shell("stream", "list", "--json", DATABASE_URL=empty)
        assert ended.returncode == exit_codes.USAGE
        assert "manage.py migrate" in ended.stderr
        assert "manage.py migrate" in json.loads(ended.stdout)["error"]

    def test_wrong_settings(self) -> None:
        ended = self.shell("app", "list", NOTIFY_LANES="65")
        assert ended.returncode == exit_codes.USAGE
        assert "notify.E003" in ended.stderr

    @pytest.mark.parametrize("arguments", [("app",), ("stream", "resume"), ("lanes", "--to", "x")])
    def test_wrong_arguments(self, arguments: tuple[str, ...]) -> None:
        ended = self.shell(*arguments, "--skip-checks")
        assert ended.returncode == exit_codes.USAGE
        assert "usage:" in ended.stderr

    def test_the_help_names_the_exit_codes(self) -> None:
        assert "exit codes: 0 success" in self.shell("status", "--help").stdout

    def test_system_check_errors_are_usage_errors(self, settings: Settings) -> None:
        settings.NOTIFY_LANES = 65
        with pytest.raises(SystemCheckError) as failed:
            call_command("app", "list", skip_checks=False)
        assert failed.value.returncode == exit_codes.USAGE


def test_a_table_is_aligned() -> None:
    assert table(("N", "NAME", "X"), [("1", "a", "x"), ("10", "bcdef", "")], right=(0,)) == (
        " N  NAME   X\n 1  a      x\n10  bcdef"
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (9.94, "9.9 s"),
        (42.9, "42 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_199, "119 min"),
        (7_200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
    ],
)
def test_a_duration_is_short(seconds: float, said: str) -> None:
    assert duration(seconds) == said
