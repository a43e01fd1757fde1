"""`manage.py import` into the real topic, by the real processes, to the rows."""

import csv
import gzip
import json
import signal
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from devstack import ROOT, product
from devstack.oracle.compare import compare
from notify.domain.records import ids
from notify.domain.records.patch import SET, Patch
from notify.domain.records.update import DELETE, Update
from notify.kafka.topic import Topics
from notify.management import exit_codes
from tests.running import PARTITIONS, Running, running

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

COLUMNS = (
    "id", "identifier", "session_count", "language", "timezone", "game_version", "device_os",
    "device_type", "device_model", "ad_id", "tags", "last_active", "playtime", "amount_spent",
    "created_at", "invalid_identifier", "badge_count", "external_user_id",
)  # fmt: skip
LINES = 1_500


@pytest.fixture(scope="module")
def pipeline(
    postgres: str, redis_url: str, kafka: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A bridge and a worker."""
    with running(tmp_path_factory.mktemp("stack"), f"t{uuid.uuid4().hex[:10]}") as run:
        product.start_bridge(run.stack, "bridge")
        run.wait_settled()
        product.start_worker(run.stack, "worker-1")
        yield run


def command(run: Running, file: Path, *words: str) -> list[str]:
    return [product.PYTHON, "manage.py", "import", "--app", run.app.app_id, str(file), *words]


def environ(run: Running) -> dict[str, str]:
    """The command's: it needs no more rights in PostgreSQL than web has."""
    user = f"{run.stack.env['NOTIFY_NAMESPACE']}_web"
    password = product.login_password(run.stack)
    url = make_conninfo(run.stack.env["DATABASE_URL"], user=user, password=password)
    return {**run.stack.env, "DATABASE_URL": url}


def imported(run: Running, file: Path, *words: str, code: int = exit_codes.OK) -> str:
    """What the command prints, its errors included; it must end with `code`."""
    done = subprocess.run(
        command(run, file, *words),
        cwd=ROOT,
        env=environ(run),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def rows(run: Running) -> dict[str, tuple[Any, ...]]:
    """What is to be the same after a second import, by record."""
    found = run.rows(
        "SELECT id::text, kind, identifier, tags, properties, session_count, session_time_s,"
        " purchase_count, spent_micros, created_at, deleted FROM record WHERE app = %s",
        run.app.app_id,
    )
    return {record: tuple(rest) for record, *rest in found}


def links(run: Running) -> set[tuple[Any, ...]]:
    return set(
        run.rows("SELECT child::text, label, parent::text FROM link WHERE app = %s", run.app.app_id)
    )


def written(file: Path, lines: Sequence[Mapping[str, object]]) -> Path:
    """A CSV as OneSignal packs it."""
    with gzip.open(file, "wt", newline="") as text:
        table = csv.DictWriter(text, COLUMNS, restval="")
        table.writeheader()
        table.writerows(lines)
    return file


def devices(count: int) -> list[dict[str, object]]:
    """Devices, every tenth line an address, every hundredth one that cannot be taken."""
    made: list[dict[str, object]] = []
    made_by = uuid.uuid4().hex
    for n in range(count):
        line: dict[str, object] = {
            "id": str(uuid.uuid4()),
            "identifier": f"token {n} {made_by}",
            "device_type": 1,
            "session_count": n % 5,
            "playtime": 10,
            "tags": json.dumps({"n": n, "plan": 'a "quoted", one'}),
            "created_at": "2023-11-14 22:13:20",
            "last_active": "2024-11-14 22:13:20.123",
            "invalid_identifier": "f",
            "external_user_id": f"user {n // 3}",
        }
        if n % 10 == 5:
            line |= {"identifier": f"User{n}@{made_by}.org", "device_type": 11, "session_count": ""}
        if n % 100 == 99:
            line["id"] = "none"
        made.append(line)
    return made


def entries(noted: Path) -> int:
    """How many lines are done."""
    return int(json.loads(noted.read_text())["entries"]) if noted.exists() else 0


def is_past(noted: Path, before: int) -> bool:
    return entries(noted) > before


def test_an_import_that_is_killed_goes_on_and_counts_once(
    pipeline: Running, tmp_path: Path
) -> None:
    lines = devices(LINES)
    file = written(tmp_path / "users.csv.gz", lines)
    noted = tmp_path / "users.csv.gz.progress"
    for stop in (signal.SIGKILL, signal.SIGINT):
        before = entries(noted)
        running_one = subprocess.Popen(
            command(pipeline, file, "--per-second", "150"),
            cwd=ROOT,
            env=environ(pipeline),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        with running_one:
            pipeline.wait("some lines are noted", partial(is_past, noted, before))
            running_one.send_signal(stop)
            _, error = running_one.communicate(timeout=180)
        if stop == signal.SIGINT:
            assert running_one.returncode == exit_codes.ATTENTION
            assert "stopped: run the same command again to continue after line" in error
        assert before < entries(noted) < LINES
    said = imported(pipeline, file, "--per-second", "0", code=exit_codes.ATTENTION)
    assert "continuing after line" in said
    assert "columns that are not imported: badge_count" in said
    assert f"{LINES - LINES // 100:,} of {LINES:,} lines imported" in said
    assert not noted.exists()
    with (tmp_path / "users.csv.gz.refused").open(newline="") as listed:
        assert list(csv.reader(listed)) == [
            ["line", "what", "reason"],
            *(
                [str(n + 2), "refused", "id must be the id of a player"]
                for n in range(99, LINES, 100)
            ),
        ]

    pipeline.wait_drained()
    app, found, linked = pipeline.app.app_id, rows(pipeline), links(pipeline)
    for n, line in enumerate(lines):
        record = str(line["id"])
        if record == "none":
            continue
        user = ids.named_user(app, ids.alias_id(app, "user", "external_id", f"user {n // 3}"), 0)
        if line["device_type"] == 11:
            address = ids.record_id(app, "email", str(line["identifier"]))
            assert (record, "email", address) in linked
            record = address
        assert (record, "user", user) in linked
        kind, identifier, tags, properties, sessions, seconds, *_ = found[record]
        assert (kind, identifier) == (
            ("email", str(line["identifier"]).lower())
            if n % 10 == 5
            else ("push", line["identifier"])
        )
        assert tags == {"n": n, "plan": 'a "quoted", one'}
        assert properties["first_active"] == 1_700_000_000
        assert properties["enabled"] is True
        assert sessions == (0 if n % 10 == 5 else n % 5)
        assert seconds == 10
        assert found[user][3]["alias:external_id"] == f"user {n // 3}"

    # Again, whole, with no message id remembered: the rows say what was counted.
    pipeline.sql.execute("DELETE FROM seen")
    imported(pipeline, file, "--per-second", "0", code=exit_codes.ATTENTION)
    pipeline.wait_drained()
    assert rows(pipeline) == found
    assert links(pipeline) == linked
    env = pipeline.stack.env
    report = compare(env["DATABASE_URL"], env["KAFKA_BOOTSTRAP_SERVERS"], pipeline.topic)
    assert report.equal, str(report)


def test_users_in_json(pipeline: Running, tmp_path: Path) -> None:
    device, email, user = (str(uuid.uuid4()) for _ in range(3))
    file = tmp_path / "users.json"
    file.write_text(
        json.dumps(
            [
                {
                    "identity": {"onesignal_id": user, "external_id": "grace"},
                    "properties": {"tags": {"plan": "pro"}, "amount_spent": 2.5},
                    "subscriptions": [
                        {"id": device, "type": "iOSPush", "token": "t1", "session_count": 4},
                        {"id": email, "type": "Email", "token": "Grace@example.org"},
                    ],
                },
                {"errors": ["no such user"]},
            ]
        )
    )
    imported(pipeline, file, code=exit_codes.ATTENTION)
    assert "it is an error answer of the API" in ((tmp_path / "users.json.refused").read_text())
    pipeline.wait_drained()
    found, app = rows(pipeline), pipeline.app.app_id
    assert found[user][2] == {"plan": "pro"}
    assert found[user][3]["alias:external_id"] == "grace"
    assert found[user][7] == 2_500_000
    assert found[device][:2] == ("push", "t1")
    assert found[device][4] == 4
    address = ids.record_id(app, "email", "grace@example.org")
    assert found[address][:2] == ("email", "Grace@example.org".lower())
    assert links(pipeline) >= {
        (device, "user", user),
        (address, "user", user),
        (email, "email", address),
    }


def test_what_came_before_is_kept(pipeline: Running, tmp_path: Path) -> None:
    app = pipeline.app.app_id
    live, gone, other, taken = (str(uuid.uuid4()) for _ in range(4))
    bob = ids.alias_id(app, "user", "external_id", "bob")
    token = {"kind": "push", "links": {"user": bob}}

    def update(record: str, **fields: Any) -> Update:
        return Update(app, record, 1_700_000_000_000, uuid.uuid4().hex, **fields)

    def has(identifier: str) -> dict[str, Any]:
        ops = {"identifier": (SET, identifier), "tags.a": (SET, "live")}
        return token | {"aliases": {"token": identifier}, "patch": Patch(False, ops)}

    pipeline.produce(
        [
            update(live, **has("newer")),
            update(gone, op=DELETE),
            update(other, **has("moved")),
        ]
    )
    pipeline.wait_drained()
    named = {"device_type": 0, "external_user_id": "ann", "tags": '{"a": "old", "b": "old"}'}
    file = written(
        tmp_path / "users.csv.gz",
        [
            {"id": live, "identifier": "older", **named},
            {"id": gone, "identifier": "of a deleted one", **named},
            {"id": taken, "identifier": "moved", **named},
        ],
    )
    imported(pipeline, file, code=exit_codes.ATTENTION)
    assert f"{gone}: The record was deleted on this server" in (
        (tmp_path / "users.csv.gz.refused").read_text()
    )
    pipeline.wait_drained()
    found = rows(pipeline)
    assert found[live][1:3] == ("newer", {"a": "live", "b": "old"})
    assert found[gone][-1] is True
    assert found[other][1] == "moved"
    assert found[taken][1] is None
    linked = {(child, parent) for child, label, parent in links(pipeline) if label == "user"}
    user = ids.named_user(app, bob, 0)
    assert (live, user) in linked
    assert (other, user) in linked


def test_a_dry_run_sends_nothing_and_lists(pipeline: Running, tmp_path: Path) -> None:
    file = written(tmp_path / "users.csv.gz", devices(200))
    noted = tmp_path / "users.csv.gz.progress"
    noted.write_text("of an import that is under way")
    before = ends(pipeline)
    said = imported(pipeline, file, "--dry-run", code=exit_codes.ATTENTION)
    assert "198 of 200 lines could be imported" in said
    assert ends(pipeline) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "users.csv.gz",
        "users.csv.gz.dry-run.refused",
        noted.name,
    ]
    assert noted.read_text() == "of an import that is under way"
    assert "101,refused" in (tmp_path / "users.csv.gz.dry-run.refused").read_text()


def ends(run: Running) -> object:
    with Topics(run.stack.env["KAFKA_BOOTSTRAP_SERVERS"].split(",")) as topics:
        return topics.extents(run.topic, range(PARTITIONS))


def test_the_apps_own_list_of_names_that_are_nobodys(pipeline: Running, tmp_path: Path) -> None:
    pipeline.sql.execute("UPDATE app SET nobody_names = 'guest'")
    file = written(tmp_path / "users.csv.gz", [devices(1)[0] | {"external_user_id": "guest"}])
    imported(pipeline, file, "--dry-run", "--refused", str(tmp_path / "listed"), code=1)
    assert 'partly,"left out: external_id: the name' in (tmp_path / "listed").read_text()
    pipeline.sql.execute("UPDATE app SET nobody_names = NULL")


def test_the_answer_for_programs(pipeline: Running, tmp_path: Path) -> None:
    file = written(tmp_path / "users.csv.gz", devices(3))
    listed = tmp_path / "listed"
    said = imported(pipeline, file, "--json", "--refused", str(listed), "--progress", str(listed))
    assert json.loads(said[said.index("{") : said.rindex("}") + 1]) == {
        "dry_run": False,
        "lines": 3,
        "refused": 0,
        "partly": 0,
        "updates": 6,
        "listed": None,
    }


@pytest.mark.parametrize(
    ("content", "words", "reason"),
    [
        ("a,b\n", (), "neither the CSV of POST"),
        (None, (), "No such file"),
        ("a,b\n", ("--app", "nobody"), "there is no app 'nobody'"),
        ("a,b\n", ("--per-second", "-1"), "--per-second must be at least 0"),
        ("a,b\n", ("--from-line", "0"), "--from-line at least 1"),
    ],
)
def test_a_wrong_call(
    pipeline: Running, tmp_path: Path, content: str | None, words: Sequence[str], reason: str
) -> None:
    file = tmp_path / "users.csv"
    if content is not None:
        file.write_text(content)
    assert reason in imported(pipeline, file, *words, code=exit_codes.USAGE)


def test_kafka_away_is_waited_for(pipeline: Running, tmp_path: Path) -> None:
    file = written(tmp_path / "users.csv.gz", devices(3))
    waiting = subprocess.Popen(
        command(pipeline, file),
        cwd=ROOT,
        env=environ(pipeline) | {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with waiting:
        assert waiting.stderr is not None
        said = ""
        while "continues after line 0." not in said:
            line = waiting.stderr.readline()
            assert line, said
            said += line
        waiting.kill()
        assert waiting.stdout is not None
        assert waiting.stdout.read() == ""
    assert "Kafka does not answer, trying again in 1 s" in said
    assert "3 of 3 lines imported" in imported(pipeline, file)
