"""The product as real processes on the services of the environment, each test with its own database,
topic and Redis keys."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, LiteralString

import psycopg
from kafka import KafkaProducer
from psycopg import sql

from devstack import ROOT, product
from devstack.stack import Stack
from notify.domain.engine.lanes import partition_of
from notify.domain.records.update import Update, encode
from notify.kafka.topic import Topics
from tests.databases import own_database

PARTITIONS = 4
#: Whether the broker is Apache Kafka. Tansu 0.6.0, the embedded one, can lose a group for ever when one of
#: two bridges is killed (docs/reliability.md), so tests kill none there.
IS_APACHE = os.environ.get("NOTIFY_KAFKA") == "apache"


class Running:
    """A stack that is prepared: tables, topic, one app. Processes are started by the test."""

    def __init__(self, stack: Stack, app: product.DemoApp) -> None:
        self.stack = stack
        self.app = app
        self.topic = f"{stack.env['NOTIFY_NAMESPACE']}-sdk-updates"
        self.partitions = int(stack.env["NOTIFY_PARTITIONS"])
        self.sql = psycopg.connect(stack.env["DATABASE_URL"], autocommit=True)
        self._producer = KafkaProducer(
            bootstrap_servers=stack.env["KAFKA_BOOTSTRAP_SERVERS"].split(","), linger_ms=5
        )

    def start(self, *, env: Mapping[str, str] = MappingProxyType({})) -> str:
        """Start one web, one bridge and one worker; returns web's URL when all of them are ready."""
        url = product.start_web(self.stack, env=env)
        product.start_bridge(self.stack, env=env)
        product.start_worker(self.stack, "worker", env=env)
        product.wait_ready(self.stack, url, timeout_s=300)
        return url

    def close(self) -> None:
        """Drop the test's own connections."""
        self._producer.close()
        self.sql.close()

    def produce(self, updates: Sequence[Update]) -> None:
        """Write them to the topic as web would; returns when Kafka has them."""
        for update in updates:
            self.produce_raw(encode(update), partition=partition_of(update.app, PARTITIONS))
        self._producer.flush()

    def produce_raw(self, value: bytes, *, partition: int) -> None:
        """Write any bytes to a partition."""
        self._producer.send(self.topic, value, partition=partition).get(timeout=180)

    def rows(self, query: LiteralString, *parameters: Any) -> list[tuple[Any, ...]]:
        """What a query finds now."""
        return self.sql.execute(query, parameters).fetchall()

    def limit_links(
        self, children: int, *, author: str, reason: str, app: str | None = None
    ) -> None:
        """Sets the limit of links by `email`, as staff do; without an app it is that of all."""
        self.sql.execute(
            "WITH head AS ("
            "INSERT INTO policy_head (id, version) VALUES (1, 1) "
            "ON CONFLICT (id) DO UPDATE SET version = policy_head.version + 1 RETURNING version) "
            "INSERT INTO link_limit (version, reason, author, at, app_id, label, children) "
            "SELECT version, %s, %s, now(), %s, 'email', %s FROM head",
            (reason, author, app, children),
        )

    def wait(self, what: str, holds: Callable[[], bool], *, timeout_s: float = 180) -> None:
        """Wait until `holds()`. Fails with the streams and the logs' ends where it does not."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                streams = self.rows("SELECT partition, frontier, planned, halted FROM stream")
                logs = {path.stem: self.stack.tail(path.stem, 4)[-600:] for path in self.logs()}
                raise AssertionError(f"not within {timeout_s} s: {what}; {streams}; {logs}")
            time.sleep(0.05)

    def wait_applied(self, records: int, *, timeout_s: float = 180) -> None:
        """Wait until so many records exist and all that is planned is applied."""
        self.wait(
            f"{records} records",
            lambda: (
                self.rows("SELECT count(*) FROM record")[0][0] >= records
                and not self.rows("SELECT 1 FROM stream WHERE frontier <> planned")
            ),
            timeout_s=timeout_s,
        )

    def wait_drained(self, *, timeout_s: float = 180) -> None:
        """Wait until every message that the topic has now is applied."""
        self._wait_past("frontier", timeout_s=timeout_s)

    def wait_planned(self, *, timeout_s: float = 180) -> None:
        """Wait until every message that the topic has now is decided."""
        self._wait_past("planned", timeout_s=timeout_s)

    def _wait_past(self, column: Literal["frontier", "planned"], *, timeout_s: float) -> None:
        with Topics(self.stack.env["KAFKA_BOOTSTRAP_SERVERS"].split(",")) as topics:
            logs = topics.extents(self.topic, range(PARTITIONS))
        stands = sql.SQL("SELECT partition, {} FROM stream").format(sql.Identifier(column))

        def is_past() -> bool:
            return all(at >= logs[partition].end for partition, at in self.sql.execute(stands))

        self.wait(f"{column} at the log's ends", is_past, timeout_s=timeout_s)

    def wait_settled(self) -> None:
        """Wait until bridges tick every stream."""
        fresh = "SELECT count(*) FROM stream WHERE ticked_at > now() - interval '2 seconds'"
        self.wait("every stream is ticked", lambda: self.rows(fresh) == [(PARTITIONS,)])

    def wait_shared(self, *bridges: str) -> dict[int, str]:
        """Wait until these have all partitions among them, none of them idle: who has which.

        Tansu 0.6.0 may keep a group waiting for ever after a member that left while another was
        joining, so tests stop no bridge before each has its partitions. That every stream is ticked
        does not say so: those that have them tick on while another joins.
        """
        owners: dict[int, str] = {}

        def shared() -> bool:
            owners.clear()
            owned = [(name, partition) for name in bridges for partition in self._owned(name)]
            owners.update({partition: name for name, partition in owned})
            return len(owned) == len(owners) == PARTITIONS and set(owners.values()) == set(bridges)

        self.wait(f"{' and '.join(bridges)} share the partitions", shared)
        return owners

    def _owned(self, bridge: str) -> set[int]:
        """What the last bridge of this name has, by its log."""
        owned: set[int] = set()
        for line in self.events(
            "bridge_started", "partition_assigned", "partition_revoked", of=bridge
        ):
            match line["event"]:
                case "bridge_started":
                    owned.clear()
                case "partition_assigned":
                    owned.add(line["partition"])
                case "partition_revoked":
                    owned.discard(line["partition"])
        return owned

    def events(self, *names: str, of: str | None = None) -> list[dict[str, Any]]:
        """The lines so far of these events, log by log: of all processes, or of one. What is no JSON,
        as a line that is being written, is left out."""
        found: list[dict[str, Any]] = []
        for path in self.logs() if of is None else [self.stack.log(of)]:
            for text in path.read_text().splitlines():
                with suppress(ValueError):
                    line = json.loads(text)
                    if isinstance(line, dict) and line.get("event") in names:
                        found.append(line)
        return found

    def logs(self) -> list[Path]:
        """The log files so far."""
        return sorted((self.stack.directory / "logs").glob("*.log"))


@contextmanager
def running(
    directory: Path,
    namespace: str,
    *,
    environ: Mapping[str, str] = MappingProxyType({}),
    own: Collection[str] = (),
    code: Path = ROOT,
) -> Iterator[Running]:
    """A prepared stack on the services of the environment, gone at the end. `environ` is added. `code`
    is the checkout whose migrations and commands prepare it.

    `own` names variables of services that it starts for itself: what the test does to such a service
    (it fills it up, or empties it) reaches no other test.
    """
    with own_database(os.environ["DATABASE_URL"], namespace) as url:
        given = {
            **{name: value for name, value in os.environ.items() if name not in own},
            "DATABASE_URL": url,
            "NOTIFY_NAMESPACE": namespace,
            "NOTIFY_PARTITIONS": str(PARTITIONS),
            "NOTIFY_RESEND_AFTER_MS": "500",
            # On a busy machine web must not take an update of a deleted record for want of an answer.
            "NOTIFY_LOOKUP_DEADLINE_MS": "30000",
            # Nor answer 503 because a busy broker or database took its time.
            "NOTIFY_ACK_TIMEOUT_MS": "60000",
            "NOTIFY_READ_DEADLINE_MS": "60000",
            # The oracle names every record.
            "NOTIFY_REFUSED_RECORDS": "1000000",
            "DJANGO_SETTINGS_MODULE": "notify.settings",
            **environ,
        }
        with Stack(directory, environ=given, say=lambda line: None) as stack:
            product.configure(stack)
            stack.start_services()
            run = Running(stack, _prepare(stack, code))
            try:
                yield run
            finally:
                run.close()


def _prepare(stack: Stack, code: Path) -> product.DemoApp:
    """Raises CalledProcessError where it fails; its output is in the test's."""
    words, env = product.grant_logins(stack)
    done = subprocess.run(
        [product.PYTHON, ROOT / "tests" / "prepare.py", *words],
        cwd=code,
        env=stack.env | env | {"PYTHONPATH": str(code)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    made = json.loads(done.stdout)
    return product.DemoApp(made["id"], made["key"])
