"""The rehearsals: steady load of many apps, then one of them goes wrong, and support cures it.

Each returns what it measured; nothing in here judges a time, `__main__` prints them beside the goals.
"""

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from kafka import KafkaProducer
from playwright.sync_api import Browser

from devstack import product
from devstack.demo.traffic import DemoClient, Incident, Load, Normal, TrafficCounts
from notify.domain.engine.lanes import partition_of
from notify.domain.records.patch import ADD, SET, Patch
from notify.domain.records.update import Update, encode
from tests.qa.rehearsal.probes import Probes
from tests.qa.rehearsal.staff import MAKE, Staff
from tests.qa.rehearsal.told import Told
from tests.running import PARTITIONS, Running, running

#: Longest that anything is waited for.
WAIT_S = 180.0
#: A record that was not written to for so long is not written to any more.
QUIET_S = 3.0
#: What of a row changes with every write, and with every mirrored one.
WHOLE = "xmin::text, updated_at, mirrored_updates"
MIRRORED = "mirrored_updates"
#: High enough for the incident to happen: the default of 100 prevents it.
INCIDENT_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of it: apps, requests a second of all others and of the culprit, before and during
    the incident; seconds of each phase; updates of a backlog."""

    apps: int = 50
    normal_per_s: float = 80
    culprit_per_s: float = 50
    phase_s: float = 40
    backlog: int = 300_000


#: For the acceptance test.
QUICK = Scale(apps=20, normal_per_s=60, culprit_per_s=38, phase_s=5, backlog=40_000)


@dataclass(slots=True)
class Measured:
    """Seconds from the incident, or from the click, until something was so; None: not in time."""

    culprit: str = ""
    record: str = ""
    page_s: float | None = None
    log_s: float | None = None
    webhook_s: float | None = None
    mail_s: float | None = None
    #: The alert, as the webhook got it.
    alert: dict[str, Any] = field(default_factory=dict)
    cured_s: float | None = None
    #: Seconds from the click until a backlog is worked off at the normal rate.
    drains_s: float | None = None
    #: Seconds from the cure until the Overview says what the limit refuses.
    refuses_s: float | None = None
    p99_before_s: float = 0
    p99_during_s: float = 0
    p99_after_s: float = 0
    drained_per_s: dict[str, float] = field(default_factory=dict)


class Stage:
    """A running product with its apps, load and probes, and someone who is told."""

    def __init__(self, run: Running, told: Told, scale: Scale) -> None:
        self.run, self.told, self.scale = run, told, scale
        self.apps = {f"App {number:02d}": str(uuid.uuid4()) for number in range(1, scale.apps + 1)}
        for name, app in self.apps.items():
            run.sql.execute(
                "INSERT INTO app (id, name, requires_key, requires_identity, enabled, created_at) "
                "VALUES (%s, %s, false, false, true, now())",
                (app, name),
            )
        for role in ("support",):
            product.manage(run.stack, "shell", "-c", MAKE.format(group=role))
        self.web_url = product.start_web(run.stack)
        product.start_bridge(run.stack)
        for name in ("worker-1", "worker-2"):
            product.start_worker(run.stack, name)
        product.start_watch(run.stack, env={"NOTIFY_ADMIN_URL": self.web_url})
        product.wait_ready(run.stack, self.web_url, timeout_s=300)
        self.counts = TrafficCounts()
        self._loads: list[Load] = []

    def pick(self) -> tuple[str, str]:
        """A random app's name and id."""
        return random.choice(list(self.apps.items()))

    def load(self, act: Callable[[DemoClient], None], per_s: float) -> Load:
        """More traffic, until it is stopped or the end."""
        self._loads.append(Load(act, self.web_url, self.counts, per_s=per_s))
        return self._loads[-1]

    def stop(self) -> None:
        """No more traffic."""
        for load in self._loads:
            load.stop()
        self._loads.clear()

    def raise_limit(self, app: str) -> None:
        """As a customer asked for once: the incident needs it."""
        self.run.limit_links(INCIDENT_LIMIT, author="ada", reason="the customer asked", app=app)

    def logged(self, began: float, app: str, record: str | None) -> float | None:
        """Seconds from `began` until a line of the logs names app and record."""
        while time.monotonic() - began < WAIT_S:
            for path in self.run.logs():
                if path.stem == "watch" and _names(path, app, record):
                    return time.monotonic() - began
            time.sleep(0.2)
        return None

    def told_of(self, measured: Measured, began: float, record: str) -> None:
        """Note when each way of telling named the record."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            posts = [(at, post) for at, post in self.told.posts if record in json.dumps(post)]
            mails = [at for at, mail in self.told.mails if record in mail.replace("=\n", "")]
            if posts and mails:
                measured.webhook_s, measured.alert = posts[0][0] - began, posts[0][1]
                measured.mail_s = mails[0] - began
                return
            time.sleep(0.1)


class Writes:
    """A thread that looks at a record's row many times a second, and knows when it last changed."""

    def __init__(self, stage: Stage, app: str, record: str, *, mirrored_only: bool = False) -> None:
        self.changed = 0.0
        self._stopped = threading.Event()
        query = (
            f"SELECT {MIRRORED if mirrored_only else WHOLE} FROM record WHERE app = %s AND id = %s"
        )
        url = stage.run.stack.env["DATABASE_URL"]
        self._thread = threading.Thread(
            target=self._run, args=(url, query, (app, record)), daemon=True
        )
        self._thread.start()

    def _run(self, url: str, query: str, key: tuple[str, str]) -> None:
        last: object = None
        with psycopg.connect(url, autocommit=True) as sql:
            while not self._stopped.wait(0.02):
                now = sql.execute(query, key).fetchone()
                if now != last:
                    last, self.changed = now, time.monotonic()

    def ended_after(self, clicked: float) -> float | None:
        """Seconds from the click to the last write, once there was none for QUIET_S; ends the looking."""
        while time.monotonic() - clicked < WAIT_S:
            time.sleep(0.1)
            if time.monotonic() - max(self.changed, clicked) > QUIET_S:
                break
        else:
            return None
        self._stopped.set()
        self._thread.join()
        return max(0.0, self.changed - clicked)


def _names(path: Path, app: str, record: str | None) -> bool:
    for line in path.read_text(errors="replace").splitlines():
        if "finding_opened" not in line:
            continue
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if fields.get("app") == app and (record is None or fields.get("record") == record):
            return True
    return False


@contextmanager
def staged(directory: Path, scale: Scale) -> Iterator[Stage]:
    """A stage on the services of the environment, gone at the end."""
    with Told() as told:
        environ = {
            "NOTIFY_ALERT_WEBHOOK_URL": told.webhook,
            "NOTIFY_ALERT_EMAILS": "night@example.com",
            "NOTIFY_EMAIL_URL": f"smtp://127.0.0.1:{told.smtp}",
        }
        with running(directory, f"r{uuid.uuid4().hex[:10]}", environ=environ) as run:
            stage = Stage(run, told, scale)
            try:
                yield stage
            finally:
                stage.stop()


def one_record(
    stage: Stage, browser: Browser, *, cure: str, pictures: Path | None = None
) -> Measured:
    """A random app links its devices to one record; `cure` is "skip" or "limit".

    Before the cure, Overview and Hot records are drawn into the folder `pictures`.
    """
    name, app = stage.pick()
    measured = Measured(culprit=name)
    stage.raise_limit(app)
    others = [each for each in stage.apps.values() if each != app]
    stage.load(Normal(others).act, stage.scale.normal_per_s)
    staff = Staff(browser, stage.web_url)
    probes = Probes(stage.web_url, stage.run.stack.env["DATABASE_URL"], others)
    usual = stage.load(Normal([app]).act, stage.scale.culprit_per_s)
    calm = time.monotonic()
    time.sleep(stage.scale.phase_s + random.random() * 3)
    usual.stop()
    began = time.monotonic()
    incident = Incident(app, stage.counts)
    stage.load(incident.act, stage.scale.culprit_per_s / incident.REQUESTS)
    while not incident.email_id:
        time.sleep(0.01)
    measured.record = incident.email_id
    page = f"/admin/notify/hot/?app={app}&record={incident.email_id}"
    if (
        staff.reads(
            page,
            within_s=WAIT_S,
            app=name,
            record=measured.record,
            why="linked to it by email address",
        )
        is not None
    ):
        measured.page_s = time.monotonic() - began
    measured.log_s = stage.logged(began, app, measured.record)
    stage.told_of(measured, began, measured.record)
    time.sleep(stage.scale.phase_s)
    if pictures is not None:
        staff.draw("/admin/", pictures / "overview.png")
        staff.draw(page, pictures / "hot-records.png")
    # What devices send straight to the record is not mirrored: a limit leaves it.
    writes = Writes(stage, app, measured.record, mirrored_only=cure == "limit")
    clicked = staff.skip(measured.record) if cure == "skip" else staff.limit(measured.record, 5)
    measured.cured_s = writes.ended_after(clicked)
    cured = time.monotonic()
    time.sleep(stage.scale.phase_s)
    probes.stop()
    measured.p99_before_s = probes.p99(calm, began)
    measured.p99_during_s = probes.p99(began, clicked)
    measured.p99_after_s = probes.p99(cured, time.monotonic())
    staff.page.context.close()
    stage.stop()
    return measured


class Flood:
    """An app whose devices, very many, all send at once."""

    def __init__(self, app: str) -> None:
        self._app = app

    def act(self, client: DemoClient) -> None:
        """One update of a device that nobody saw before."""
        body = {"app_id": self._app, "tags": {"flood": "1"}}
        client.call("PUT", f"/players/{uuid.uuid4()}", body)


def one_app(stage: Stage, browser: Browser) -> Measured:
    """A random app floods over many records; an admin sets its requests a second."""
    name, app = stage.pick()
    measured = Measured(culprit=name)
    others = [each for each in stage.apps.values() if each != app]
    stage.load(Normal(others).act, stage.scale.normal_per_s)
    product.manage(
        stage.run.stack, "shell", "-c",
        "from django.contrib.auth.models import Group, User; "
        "User.objects.get(username='grace').groups.set([Group.objects.get(name='admin')])",
    )  # fmt: skip
    staff = Staff(browser, stage.web_url)
    time.sleep(stage.scale.phase_s)
    began = time.monotonic()
    stage.load(Flood(app).act, stage.scale.culprit_per_s * 2)
    if staff.reads("/admin/", within_s=WAIT_S, app=name, why="over many records") is not None:
        measured.page_s = time.monotonic() - began
    measured.log_s = stage.logged(began, app, None)
    clicked = staff.rate(app, 5)
    while time.monotonic() - clicked < WAIT_S:
        before = _accepted(stage, app)
        time.sleep(2)
        if _accepted(stage, app) - before <= 2 * 5 * 2:
            measured.cured_s = time.monotonic() - 2 - clicked
            break
    measured.refuses_s = staff.reads(
        "/admin/", within_s=WAIT_S, app=name, why="are refused with 429"
    )
    staff.page.context.close()
    stage.stop()
    return measured


def _accepted(stage: Stage, app: str) -> int:
    ((count,),) = stage.run.rows("SELECT count(*) FROM record WHERE app = %s", app)
    return int(count)


def behind(stage: Stage, browser: Browser) -> Measured:
    """The same, met with a backlog: Kafka holds it before the bridge starts."""
    name, app = stage.pick()
    measured = Measured(culprit=name, record=str(uuid.uuid4()))
    staff = Staff(browser, stage.web_url)
    with _backlog(stage, _uniform(app, stage.scale.backlog)) as usual:
        usual.wait()
    normal = measured.drained_per_s["many records"] = usual.rate(usual.began, usual.ended)
    stage.raise_limit(app)
    with _backlog(stage, _mirrored(app, measured.record, stage.scale.backlog)) as drain:
        began = drain.wait_begun()
        writes = Writes(stage, app, measured.record)
        path = f"/admin/notify/hot/?app={app}&record={measured.record}"
        if staff.reads(path, within_s=WAIT_S, app=name, record=measured.record) is not None:
            measured.page_s = time.monotonic() - began
        clicked = staff.skip(measured.record)
        drain.wait()
    measured.drained_per_s["one record, before the click"] = drain.rate(began, clicked)
    measured.drained_per_s["one record, after it"] = drain.rate(clicked, drain.ended)
    measured.cured_s = writes.ended_after(clicked)
    measured.drains_s = drain.reached(normal, since=clicked)
    staff.page.context.close()
    return measured


def _uniform(app: str, count: int) -> Iterator[Update]:
    dice = random.Random(7)
    for number in range(count):
        record = str(uuid.UUID(int=dice.getrandbits(128)))
        patch = Patch(False, {"tags.level": (SET, number), "session_count": (ADD, 1)})
        yield Update(app, record, _now(), "u", kind="push", patch=patch)


def _mirrored(app: str, parent: str, count: int) -> Iterator[Update]:
    """Updates of 20,000 devices of the app, each linked to the one record first."""
    devices = [str(uuid.uuid4()) for _ in range(min(20_000, count // 10))]
    patch = Patch(False, {"tags.level": (SET, 1)})
    yield Update(app, parent, _now(), "e", kind="email", patch=patch)
    for device in devices:
        yield Update(app, device, _now(), "l", kind="push", patch=patch, links={"email": parent})
    for number in range(count - len(devices) - 1):
        patch = Patch(False, {"tags.level": (SET, number)})
        yield Update(app, devices[number % len(devices)], _now(), "m", kind="push", patch=patch)


def _now() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def _backlog(stage: Stage, updates: Iterator[Update]) -> Iterator["Drain"]:
    """The updates in Kafka while no bridge runs; then one runs, and is looked at."""
    run = stage.run
    run.stack.child("bridge").stop()
    producer = KafkaProducer(
        bootstrap_servers=run.stack.env["KAFKA_BOOTSTRAP_SERVERS"].split(","),
        linger_ms=50,
        batch_size=512 * 1024,
    )
    count = 0
    for update in updates:
        producer.send(run.topic, encode(update), partition=partition_of(update.app, PARTITIONS))
        count += 1
    producer.flush()
    producer.close()
    drain = Drain(run.stack.env["DATABASE_URL"], count)
    product.start_bridge(run.stack)
    try:
        yield drain
    finally:
        drain.stop()


class Drain:
    """A thread that looks how many of the messages are applied, ten times a second."""

    def __init__(self, database_url: str, count: int) -> None:
        self._count = count
        self._applied: list[tuple[float, int]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(database_url,), daemon=True)
        self._thread.start()

    def _run(self, url: str) -> None:
        query = "SELECT coalesce(sum(frontier), 0)::bigint FROM stream"
        first = None
        with psycopg.connect(url, autocommit=True) as sql:
            while not self._stopped.is_set():
                ((total,),) = sql.execute(query).fetchall()
                first = total if first is None else first
                self._applied.append((time.monotonic(), total - first))
                self._stopped.wait(0.1)

    @property
    def began(self) -> float:
        """When the first message was applied."""
        return next(at for at, applied in self._applied if applied)

    @property
    def ended(self) -> float:
        """When all were."""
        return next(at for at, applied in self._applied if applied >= self._count)

    def wait_begun(self) -> float:
        """Returns `began`."""
        self._until(1)
        return self.began

    def wait(self) -> None:
        """Returns when all are applied. Raises AssertionError if they are not in time."""
        self._until(self._count)

    def _until(self, count: int) -> None:
        deadline = time.monotonic() + 6 * WAIT_S
        while not self._applied or self._applied[-1][1] < count:
            time.sleep(0.05)
            if time.monotonic() > deadline:
                raise AssertionError(f"{self._applied[-1:]} of {self._count} are applied")

    def rate(self, since: float, until: float) -> float:
        """Messages a second in between."""
        before = max((each for each in self._applied if each[0] <= since), default=(since, 0))
        after = max(each for each in self._applied if each[0] <= until)
        return (after[1] - before[1]) / max(0.1, after[0] - before[0])

    def reached(self, rate: float, *, since: float) -> float | None:
        """Seconds from `since` until a second began in which messages were applied at nine tenths of
        the rate; None: not before the end."""
        for at, _ in self._applied:
            if at >= since and at + 1 <= self.ended and self.rate(at, at + 1) >= 0.9 * rate:
                return at - since
        return None

    def stop(self) -> None:
        """No more looking."""
        self._stopped.set()
        self._thread.join()
