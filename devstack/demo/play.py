"""The demo's five phases: normal traffic, the incident, the fix, a backlog, and a final comparison."""

import os
import signal
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

import psycopg

from devstack import product
from devstack.demo import backlog
from devstack.demo.sample import Sample, Sampler
from devstack.demo.screen import DOMINATES, Screen
from devstack.demo.staff import Staff
from devstack.demo.traffic import (
    ADMIN_EMAIL,
    INCIDENT_PER_S,
    NORMAL_PER_S,
    Incident,
    Load,
    Normal,
    TrafficCounts,
)
from devstack.oracle.compare import compare
from devstack.stack import Stack
from devstack.state import inherited_environ

APPS: Final = 20
CULPRIT: Final = "Closely"
#: High enough for the incident to happen: the default limit of 100 would prevent it.
INCIDENT_LIMIT: Final = 1_000_000
CURE_LIMIT: Final = 10
NORMAL_S: Final = 8
INCIDENT_S: Final = 20
CURE_S: Final = 8
#: How long the record's writes may continue after it is skipped.
STOPPED_WITHIN_S: Final = 15
DRAIN_S: Final = 240
WATCHED: Final = "the record"


@dataclass(slots=True)
class Demo:
    """The running stack and the results so far. `failures` are the checks that failed."""

    stack: Stack
    screen: Screen
    web_url: str
    flower_url: str
    sampler: Sampler
    apps: dict[str, str]
    failures: list[str] = field(default_factory=list)

    def watch(
        self,
        seconds: float,
        *,
        until: Callable[[Sample], bool] = lambda _: False,
        bars: Callable[[Sample], list[tuple[str, int, int, str]]] = lambda _: [],
    ) -> bool:
        """Samples and draws for `seconds`, or until `until` is true. Returns whether it became true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            sample = self.sampler.read()
            watched = WATCHED if self.sampler.watch else ""
            self.screen.show(self.sampler.history, watched=watched, bars=bars(sample))
            if until(sample):
                return True
            time.sleep(0.5)
        return False

    def check(self, what: str, *, held: bool) -> None:
        """Shows the result of a check and counts failures."""
        self.screen.note(("ok: " if held else "FAILED: ") + what)
        if not held:
            self.failures.append(what)


def main(*, exits: bool) -> int:
    """Returns 0 if all checks passed, 1 if one failed, 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix="notify-demo-"))
    directory.chmod(0o711)
    with Screen() as screen:
        screen.say("[bold]notify demo[/bold]: a replay of the incident. Press Ctrl-C to stop.")
        stack = Stack(
            directory,
            environ=inherited_environ(os.environ),
            say=lambda line: screen.say("  " + line),
        )
        stack.remove_at_end()
        try:
            return _play(stack, screen, exits=exits)
        except KeyboardInterrupt:
            screen.say("\nstopping …")
            return 130
        finally:
            screen.rest()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            stack.stop()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _play(stack: Stack, screen: Screen, *, exits: bool) -> int:
    demo = _start(stack, screen)
    try:
        _incident(demo)
        _backlog(demo)
        _compare(demo)
        _pages(demo)
        screen.rest()
        for failure in demo.failures:
            screen.say(f"[bold red]failed: {failure}")
        if not demo.failures:
            screen.say("[bold green]all checks passed")
        if not exits:
            screen.say("The stack keeps running until you press Ctrl-C.")
            while True:
                time.sleep(3600)
        return 1 if demo.failures else 0
    finally:
        demo.sampler.close()


def _start(stack: Stack, screen: Screen) -> Demo:
    screen.say("starting the services …")
    product.configure(stack)
    stack.start_services()
    screen.say("creating tables, topic and apps …")
    product.prepare(stack)
    apps = _make_apps(stack)
    screen.say("starting web, the bridge, two workers, the watcher and Flower …")
    web_url = product.start_web(stack)
    product.start_watch(stack, env={"NOTIFY_ADMIN_URL": web_url})
    product.start_bridge(stack)
    for name in ("worker-1", "worker-2"):
        product.start_worker(stack, name)
    flower_url = product.start_flower(stack)
    product.wait_ready(stack, web_url, flower_url=flower_url)
    sampler = Sampler(
        stack.env["DATABASE_URL"],
        stack.env["KAFKA_BOOTSTRAP_SERVERS"],
        f"{stack.env.get('NOTIFY_NAMESPACE', 'notify')}-sdk-updates",
    )
    screen.say(
        f"ready: admin {web_url}/admin/, Flower {flower_url}/ "
        f"(login {product.USER} / {product.PASSWORD})"
    )
    return Demo(stack, screen, web_url, flower_url, sampler, apps)


def _make_apps(stack: Stack) -> dict[str, str]:
    """Creates APPS apps and returns their ids by name. They need no key, since old SDKs send none."""
    apps = {f"App {number:02d}": str(uuid.uuid4()) for number in range(1, APPS)}
    apps[CULPRIT] = str(uuid.uuid4())
    with psycopg.connect(stack.env["DATABASE_URL"], autocommit=True) as sql:
        for name, app in apps.items():
            sql.execute(
                "INSERT INTO app (id, name, requires_key, enabled, created_at) "
                "VALUES (%s, %s, false, true, now())",
                (app, name),
            )
    time.sleep(1.5)  # web reads the list of apps every second
    return apps


def _incident(demo: Demo) -> None:
    counts = TrafficCounts()
    staff = Staff(demo.web_url + "/admin")
    staff.limit(
        CULPRIT,
        label="email",
        children=INCIDENT_LIMIT,
        reason="demo: the limit on the day of the incident",
    )
    normal = [app for name, app in demo.apps.items() if name != CULPRIT]
    loads = [Load(Normal(normal).act, demo.web_url, counts, per_s=NORMAL_PER_S)]
    try:
        demo.screen.phase(
            "1 of 5: a normal day", f"The devices of {APPS} apps start sessions and set tags."
        )
        demo.watch(NORMAL_S)
        demo.screen.phase(
            "2 of 5: the incident",
            f"A new version of {CULPRIT} calls `set email` with {ADMIN_EMAIL} on every device. So each "
            "update of each device is also written to one record.",
        )
        incident = Incident(demo.apps[CULPRIT], counts)
        loads.append(Load(incident.act, demo.web_url, counts, per_s=INCIDENT_PER_S))
        named = demo.watch(INCIDENT_S, until=lambda sample: _is_named(sample, incident))
        demo.check("Notify names the app and the record that cause the load", held=named)
        demo.watch(6)
        demo.sampler.watch = incident.email_id
        _cure(demo, staff, incident)
    finally:
        for load in loads:
            load.stop()
    demo.check(f"{counts.accepted:,} requests accepted, none refused", held=counts.refused == 0)


def _is_named(sample: Sample, incident: Incident) -> bool:
    culprit = sample.culprit
    return (
        culprit is not None
        and culprit.share >= DOMINATES
        and culprit.app == CULPRIT
        and culprit.record == incident.email_id
    )


def _cure(demo: Demo, staff: Staff, incident: Incident) -> None:
    demo.screen.phase(
        "3 of 5: the fix",
        "In the admin, support sets a link limit, then skips the record. Nothing is restarted.",
    )
    demo.watch(4)
    staff.limit(
        CULPRIT, label="email", children=CURE_LIMIT, reason="demo: one row got almost all writes"
    )
    demo.screen.note(f"link limit of {CULPRIT} set to {CURE_LIMIT}: mirroring to the record stops")
    demo.watch(CURE_S)
    staff.skip(CULPRIT, incident.email_id, reason="demo: mirrored from every device")
    demo.screen.note("record skipped: direct updates of it stop too")
    began = time.monotonic()
    stopped = demo.watch(STOPPED_WITHIN_S, until=lambda _: _is_quiet(demo.sampler))
    took = time.monotonic() - began
    demo.check(
        f"writes to the record stopped ({took:.0f} s after the skip, with 2 s without one)",
        held=stopped,
    )
    demo.watch(3)


def _is_quiet(sampler: Sampler) -> bool:
    last = list(sampler.history)[-5:]
    return len(last) == 5 and all(sample.watched_per_s == 0 for sample in last)


def _backlog(demo: Demo) -> None:
    demo.sampler.watch = ""
    demo.screen.phase(
        "4 of 5: a backlog",
        f"{backlog.UPDATES:,} updates wait in Kafka, half of them for one row. At the same time a plain "
        f"Celery worker applies the first {backlog.PLAIN_UPDATES:,} of them, one task per update.",
    )
    env = demo.stack.env
    demo.stack.kill("bridge", signal.SIGTERM)
    demo.stack.child("bridge").wait(20)
    demo.screen.note("bridge stopped; the demo writes the backlog to Kafka")
    demo.sampler.read()
    backlog.preload(
        env["KAFKA_BOOTSTRAP_SERVERS"],
        demo.sampler.topic,
        list(demo.apps.values()),
        partitions=_partitions(demo),
    )
    backlog.preload_plain(env["DATABASE_URL"], env["REDIS_URL"], list(demo.apps.values()))
    demo.screen.note("bridge started again")
    demo.stack.restart("bridge")
    demo.watch(30, until=lambda sample: sample.rate > 0)
    demo.stack.spawn(
        "plain",
        [product.PYTHON, "-m", "celery", "-A", "devstack.demo.plain", "worker", "--concurrency=1"],
    )
    progress = _Progress(demo)
    drained = demo.watch(DRAIN_S, until=lambda _: progress.drained, bars=progress.bars)
    demo.check(f"the backlog is applied ({progress.remark()})", held=drained)
    demo.stack.kill("plain")


class _Progress:
    """The progress of Notify and of plain Celery with the backlog."""

    def __init__(self, demo: Demo) -> None:
        self._sql = psycopg.connect(demo.stack.env["DATABASE_URL"], autocommit=True)
        self._began = time.monotonic()
        self._plain_began = 0.0
        self._first = demo.sampler.history[-1].applied
        self._rates = (0.0, 0.0)
        self.drained = False

    def bars(self, sample: Sample) -> list[tuple[str, int, int, str]]:
        """One progress bar for Notify, one for plain Celery."""
        now = time.monotonic()
        done = backlog.UPDATES - min(sample.lag_messages, backlog.UPDATES)
        plain = backlog.plain_applied(self._sql)
        if plain and not self._plain_began:
            self._plain_began = now
        if not self.drained and sample.applied > self._first:
            passed = max(now - self._began, 0.1)
            plain_passed = max(now - self._plain_began, 0.1) if self._plain_began else 1.0
            self._rates = ((sample.applied - self._first) / passed, plain / plain_passed)
        self.drained = sample.lag_messages == 0
        return [
            ("notify", done, backlog.UPDATES, f"{self._rates[0]:,.0f}/s"),
            ("plain Celery", plain, backlog.PLAIN_UPDATES, f"{self._rates[1]:,.0f}/s"),
        ]

    def remark(self) -> str:
        """Both rates, as text."""
        ours, plain = self._rates
        return f"{ours:,.0f} updates/s; plain Celery at the same time: {plain:,.0f}/s"


def _partitions(demo: Demo) -> int:
    with psycopg.connect(demo.stack.env["DATABASE_URL"]) as sql:
        ((partitions,),) = sql.execute("SELECT partitions FROM topic WHERE active").fetchall()
    return int(partitions)


def _compare(demo: Demo) -> None:
    demo.screen.phase(
        "5 of 5: the result",
        "A second, independent implementation replays the topic, message by message, and compares.",
    )
    demo.watch(30, until=lambda sample: sample.lag_messages == 0)
    report = compare(
        demo.stack.env["DATABASE_URL"],
        demo.stack.env["KAFKA_BOOTSTRAP_SERVERS"],
        demo.sampler.topic,
    )
    demo.screen.rest()
    demo.screen.say(str(report))
    if not report.equal:
        demo.failures.append("PostgreSQL must equal the serial replay of the topic")


def _pages(demo: Demo) -> None:
    staff = Staff(demo.web_url + "/admin")
    admin = staff.can_see("/notify/hot/")
    flower = product.answers(demo.flower_url, status=401)
    demo.screen.say(f"admin  {demo.web_url}/admin/   {'ok' if admin else 'DOES NOT ANSWER'}")
    demo.screen.say(f"Flower {demo.flower_url}/   {'ok' if flower else 'DOES NOT ANSWER'}")
    demo.screen.say(f"login  {product.USER} / {product.PASSWORD}")
    if not (admin and flower):
        demo.failures.append("admin and Flower must answer")
