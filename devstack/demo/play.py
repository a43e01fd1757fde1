"""The play: normal traffic, the incident, the cure, a backlog, and the comparison at the end."""

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
    Counts,
    Incident,
    Load,
    Normal,
)
from devstack.oracle.compare import compare
from devstack.stack import Stack
from devstack.state import given

APPS: Final = 20
CULPRIT: Final = "Closely"
#: High enough to let the incident happen; the default of 100 would have prevented it.
INCIDENT_LIMIT: Final = 1_000_000
CURE_LIMIT: Final = 10
NORMAL_S: Final = 8
INCIDENT_S: Final = 20
CURE_S: Final = 8
#: How long the record's writes may go on after the cure, and the culprit stay unnamed.
STOPPED_WITHIN_S: Final = 15
DRAIN_S: Final = 240
WATCHED: Final = "the record"


@dataclass(slots=True)
class Demo:
    """The running stack, and what was found so far. `failures` empty at the end: all held."""

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
        """Sample and draw for so long, or until it holds; whether it came to hold."""
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
        """Note what was to be shown, and whether it was."""
        self.screen.note(("held: " if held else "DID NOT HOLD: ") + what)
        if not held:
            self.failures.append(what)


def main(*, exits: bool) -> int:
    """0 if all held (or the user ended it), 1 if something did not, 130 on Ctrl-C before the end."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    directory = Path(tempfile.mkdtemp(prefix="notify-demo-"))
    directory.chmod(0o711)
    with Screen() as screen:
        screen.say("[bold]notify demo[/bold]: the incident, live. Ctrl-C ends it at any time.")
        stack = Stack(
            directory, environ=given(os.environ), say=lambda line: screen.say("  " + line)
        )
        stack.remove_at_end()
        try:
            return _play(stack, screen, exits=exits)
        except KeyboardInterrupt:
            screen.say("\nstopping…")
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
            screen.say(f"[bold red]did not hold: {failure}")
        if not demo.failures:
            screen.say("[bold green]all held")
        if not exits:
            screen.say("The stack stays up until Ctrl-C.")
            while True:
                time.sleep(3600)
        return 1 if demo.failures else 0
    finally:
        demo.sampler.close()


def _start(stack: Stack, screen: Screen) -> Demo:
    screen.say("starting the services …")
    product.configure(stack)
    stack.start_services()
    screen.say("making tables, topic and apps …")
    product.prepare(stack)
    apps = _make_apps(stack)
    screen.say("starting web, bridge, two workers, watch and Flower …")
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
    screen.say(f"ready: {web_url}/admin/ and {flower_url} (demo / demo)")
    return Demo(stack, screen, web_url, flower_url, sampler, apps)


def _make_apps(stack: Stack) -> dict[str, str]:
    """20 customers by name. They have no key: old SDKs send none."""
    apps = {f"App {number:02d}": str(uuid.uuid4()) for number in range(1, APPS)}
    apps[CULPRIT] = str(uuid.uuid4())
    with psycopg.connect(stack.env["DATABASE_URL"], autocommit=True) as sql:
        for name, app in apps.items():
            sql.execute(
                "INSERT INTO app (id, name, requires_key, enabled, created_at) "
                "VALUES (%s, %s, false, true, now())",
                (app, name),
            )
    time.sleep(1.5)  # web reads the apps every second
    return apps


def _incident(demo: Demo) -> None:
    counts = Counts()
    staff = Staff(demo.web_url + "/admin")
    staff.limit(CULPRIT, label="email", children=INCIDENT_LIMIT, reason="demo: as it was that day")
    normal = [app for name, app in demo.apps.items() if name != CULPRIT]
    loads = [Load(Normal(normal).act, demo.web_url, counts, per_s=NORMAL_PER_S)]
    try:
        demo.screen.phase("1 of 5: a normal day", f"{APPS} apps; their devices open and set tags.")
        demo.watch(NORMAL_S)
        demo.screen.phase(
            "2 of 5: the incident",
            f"{CULPRIT}'s new version calls `set email` with {ADMIN_EMAIL} on every device: every "
            "update of every device is mirrored to one record.",
        )
        incident = Incident(demo.apps[CULPRIT], counts)
        loads.append(Load(incident.act, demo.web_url, counts, per_s=INCIDENT_PER_S))
        named = demo.watch(INCIDENT_S, until=lambda sample: _is_named(sample, incident))
        demo.check("the culprit is named by app and record", held=named)
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
        "3 of 5: the cure",
        "Support sets a link limit, then skips the record, in the admin. No restart, no deploy.",
    )
    demo.watch(4)
    staff.limit(CULPRIT, label="email", children=CURE_LIMIT, reason="demo: one row took it all")
    demo.screen.note(f"link limit of {CULPRIT} set to {CURE_LIMIT}: mirroring stops")
    demo.watch(CURE_S)
    staff.skip(CULPRIT, incident.email_id, reason="demo: mirrored from every device")
    demo.screen.note("skip rule set: direct updates of the record stop too")
    began = time.monotonic()
    stopped = demo.watch(STOPPED_WITHIN_S, until=lambda _: _is_quiet(demo.sampler))
    took = time.monotonic() - began
    demo.check(
        f"the record's writes stopped ({took:.0f} s after the rule, 2 s quiet)", held=stopped
    )
    demo.watch(3)


def _is_quiet(sampler: Sampler) -> bool:
    last = list(sampler.history)[-5:]
    return len(last) == 5 and all(sample.watched_per_s == 0 for sample in last)


def _backlog(demo: Demo) -> None:
    demo.sampler.watch = ""
    demo.screen.phase(
        "4 of 5: a backlog",
        f"Preloaded: {backlog.UPDATES:,} updates, half of them of one row. Beside it a plain Celery "
        f"worker with the first {backlog.PLAIN_UPDATES:,} of the same updates, a task each.",
    )
    env = demo.stack.env
    demo.stack.kill("bridge", signal.SIGTERM)
    demo.stack.child("bridge").wait(20)
    demo.screen.note("bridge stopped; writing the backlog to Kafka")
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
    demo.check(f"the backlog was applied ({progress.remark()})", held=drained)
    demo.stack.kill("plain")


class _Progress:
    """How far the backlog and plain Celery are."""

    def __init__(self, demo: Demo) -> None:
        self._sql = psycopg.connect(demo.stack.env["DATABASE_URL"], autocommit=True)
        self._began = time.monotonic()
        self._plain_began = 0.0
        self._first = demo.sampler.history[-1].applied
        self._rates = (0.0, 0.0)
        self.drained = False

    def bars(self, sample: Sample) -> list[tuple[str, int, int, str]]:
        """One for us, one for plain Celery."""
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
        """Both rates."""
        ours, plain = self._rates
        return f"{ours:,.0f} updates/s; plain Celery beside it {plain:,.0f}/s"


def _partitions(demo: Demo) -> int:
    with psycopg.connect(demo.stack.env["DATABASE_URL"]) as sql:
        ((partitions,),) = sql.execute("SELECT partitions FROM topic WHERE active").fetchall()
    return int(partitions)


def _compare(demo: Demo) -> None:
    demo.screen.phase(
        "5 of 5: is it right?",
        "An independent interpreter replays the topic, one message at a time, and compares.",
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
        demo.failures.append("PostgreSQL equals the serial replay of the topic")


def _pages(demo: Demo) -> None:
    staff = Staff(demo.web_url + "/admin")
    admin = staff.can_see("/notify/hot/")
    flower = product.answers(demo.flower_url, status=401)
    demo.screen.say(f"admin  {demo.web_url}/admin/   {'works' if admin else 'DOES NOT ANSWER'}")
    demo.screen.say(f"Flower {demo.flower_url}/   {'works' if flower else 'DOES NOT ANSWER'}")
    demo.screen.say(f"log in {product.USER} / {product.PASSWORD}")
    if not (admin and flower):
        demo.failures.append("admin and Flower answer")
