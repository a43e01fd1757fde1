"""`manage.py trail` over web, a bridge and a worker: from the request to the row."""

import json
import secrets
import signal
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest

from devstack import ROOT, product
from devstack.services import DevstackError
from notify.domain.engine.lanes import lane_of, partition_of
from notify.domain.records import ids
from notify.management import exit_codes
from tests.fake_loki import fake_loki
from tests.running import PARTITIONS, Running, running
from tests.waiting import wait_for

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

ADDRESS = "jo@mail.example.com"


@pytest.fixture(scope="module")
def stack(
    postgres: str, redis_url: str, kafka: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, str]]:
    """Web, a bridge and a worker, and web's URL."""
    with running(tmp_path_factory.mktemp("stack"), f"t{uuid.uuid4().hex[:10]}") as run:
        web = run.start(env={"NOTIFY_LOG_LEVEL": "DEBUG"})
        run.wait_settled()
        yield run, web


def put(stack: tuple[Running, str], record: str, **body: Any) -> str:
    """Send an update with a traceparent: its trace id."""
    run, web = stack
    trace = secrets.token_hex(16)
    request = Request(
        f"{web}/players/{record}",
        json.dumps({"app_id": run.app.app_id, **body}).encode(),
        {"Content-Type": "application/json", "traceparent": f"00-{trace}-{'1' * 16}-01"},
        method="PUT",
    )
    with urlopen(request, timeout=180) as answer:
        assert answer.status == 200
    return trace


def trail(run: Running, *words: str, code: int = exit_codes.OK) -> dict[str, Any]:
    """What the command answers as data; it must end with `code`."""
    return json.loads(_trail(run, *words, "--json", code=code))  # type: ignore[no-any-return]


def _trail(run: Running, *words: str, code: int = exit_codes.OK, **env: str) -> str:
    done = subprocess.run(
        [product.PYTHON, "manage.py", "trail", *words],
        cwd=ROOT,
        env=run.stack.env | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return str(done.stdout)


def logs(run: Running) -> tuple[str, str]:
    """The argument that names the stack's logs."""
    return "--logs", str(run.stack.directory / "logs")


def applied(run: Running, record: str, **tags: object) -> bool:
    """Whether the record has these tags."""
    rows = run.rows("SELECT tags FROM record WHERE id = %s", record)
    return bool(rows) and tags.items() <= rows[0][0].items()


def test_the_whole_way_of_a_trace(stack: tuple[Running, str]) -> None:
    run, _ = stack
    record = str(uuid.uuid4())
    trace = put(stack, record, tags={"a": "1"})
    run.wait("applied", lambda: applied(run, record, a="1"))
    _wait_logged(run, trace)
    (found,) = trail(run, "--trace", trace, *logs(run))["updates"]
    assert (found["app"], found["record"]) == (run.app.app_id, record)
    assert found["app_name"] == "demo"
    assert found["partition"] == partition_of(run.app.app_id, PARTITIONS)
    assert found["decided"]["first"] <= found["offset"] < found["decided"]["next"]
    assert found["decided"]["by"]["process"] == "bridge"
    (write,) = found["writes"]
    lanes = run.rows("SELECT lanes FROM stream")[0][0]
    assert (write["role"], write["lane"]) == ("own", lane_of(run.app.app_id, record, lanes))
    assert write["done"]["prev"] < found["offset"] <= write["done"]["last"]
    assert write["done"]["by"]["process"] == "worker"
    assert write["sent"], "the bridge's batch_sent, at DEBUG"
    assert found["seconds"] > 0

    text = _trail(run, "--trace", f"00-{trace}-{'1' * 16}-01", *logs(run))
    for word in ("accepted", "decided", "sent", "applied", "From ack to row", record):
        assert word in text
    assert "Missing" not in text


def _wait_logged(run: Running, trace: str) -> None:
    """Returns when every process has logged what it did with the update, which is applied."""
    wait_for(lambda: _is_applied(_updates(run, "--trace", trace)))


def _is_applied(updates: list[dict[str, Any]]) -> bool:
    return bool(updates) and all(
        each["state"] == "applied" and all(write["sent"] for write in each["writes"])
        for each in updates
    )


def _updates(run: Running, *words: str) -> list[dict[str, Any]]:
    """The updates that the command finds; none where it says that something is not yet as it should be."""
    try:
        answer = json.loads(product.manage(run.stack, "trail", *words, *logs(run), "--json"))
    except DevstackError:
        return []
    return list(answer["updates"])


def test_a_mirrored_write_is_followed_to_the_parents_lane(stack: tuple[Running, str]) -> None:
    run, _ = stack
    child = str(uuid.uuid4())
    parent = ids.record_id(run.app.app_id, "email", ADDRESS)
    put(stack, child, parent_player_id=parent)
    run.wait("linked", lambda: bool(run.rows("SELECT 1 FROM link WHERE child = %s", child)))
    put(stack, child, tags={"b": "2"})
    run.wait("mirrored", lambda: applied(run, parent, b="2"))
    words = ("--app", "demo", "--record", child)
    wait_for(lambda: len(found := _updates(run, *words)) == 2 and _is_applied(found))
    answer = trail(run, *words, *logs(run))
    assert answer["updates_found"] == 2
    assert answer["record"]["mirrored_to"] == [{"label": "email", "record": parent}]
    latest = answer["updates"][-1]
    assert {(write["role"], write["record"]) for write in latest["writes"]} == {
        ("own", child),
        ("mirror", parent),
    }
    assert ADDRESS not in json.dumps(answer)


def test_an_update_that_waits_for_a_worker(stack: tuple[Running, str]) -> None:
    run, _ = stack
    record = str(uuid.uuid4())
    run.stack.kill("worker")
    try:
        trace = put(stack, record, tags={"c": "3"})
        run.wait("planned", lambda: bool(run.rows("SELECT 1 FROM plan")))
        words = ("--trace", trace, *logs(run))
        wait_for(lambda: _is_waiting(run, trace))
        (found,) = trail(run, *words, code=exit_codes.ATTENTION)["updates"]
        (write,) = found["writes"]
        assert (write["state"], write["recorded"], write["done"]) == ("waiting", True, None)
        assert write["lane_last"] < found["offset"]
    finally:
        run.stack.restart("worker")
    run.wait("applied", lambda: applied(run, record, c="3"))
    _wait_logged(run, trace)

    def each_attempt_is_told() -> bool:
        (found,) = trail(run, *words)["updates"]
        write = found["writes"][0]
        return len(write["sent"]) > 1 or write["done"]["attempt"] == 1

    wait_for(each_attempt_is_told)


def _is_waiting(run: Running, trace: str) -> bool:
    done = _try(run, trace)
    return bool(done["updates"]) and done["updates"][0]["state"] == "waiting"


def _try(run: Running, trace: str) -> dict[str, Any]:
    try:
        return trail(run, "--trace", trace, *logs(run), code=exit_codes.ATTENTION)
    except AssertionError:
        return {"updates": []}


def test_without_postgresql_the_logs_tell_what_they_know(stack: tuple[Running, str]) -> None:
    run, _ = stack
    record = str(uuid.uuid4())
    trace = put(stack, record, tags={"d": "4"})
    run.wait("applied", lambda: applied(run, record, d="4"))
    _wait_logged(run, trace)
    text = _trail(
        run,
        *("--trace", trace, *logs(run)),
        code=exit_codes.AWAY,
        DATABASE_URL="postgresql://u:a-password@127.0.0.1:1/db",
    )
    assert "Missing: PostgreSQL does not answer" in text
    assert "accepted" in text
    assert "decided" in text
    assert "a-password" not in text


def test_without_logs_postgresql_tells_what_it_knows(stack: tuple[Running, str]) -> None:
    run, _ = stack
    record = str(uuid.uuid4())
    put(stack, record, tags={"e": "5"})
    run.wait("applied", lambda: applied(run, record, e="5"))
    answer = trail(run, "--app", run.app.app_id, "--record", record)
    assert answer["updates"] == []
    assert answer["record"]["lane_last"] >= 0
    assert answer["missing"] == ["no logs are read: give --logs or --loki (NOTIFY_LOKI_URL)"]


def test_a_loki_tells_the_same_as_the_files(stack: tuple[Running, str]) -> None:
    run, _ = stack
    record = str(uuid.uuid4())
    trace = put(stack, record, tags={"f": "6"})
    run.wait("applied", lambda: applied(run, record, f="6"))
    _wait_logged(run, trace)
    texts = [line for log in run.logs() for line in log.read_text().splitlines()]
    with fake_loki(
        *(text for text in texts if text.startswith("{") and "timestamp" in text)
    ) as loki:
        for words in (("--trace", trace), ("--app", "demo", "--record", record)):
            assert trail(run, *words, "--loki", loki.url) == trail(run, *words, *logs(run))
    (missing,) = trail(run, "--trace", trace, "--loki", loki.url, code=exit_codes.AWAY)["missing"]
    assert "does not answer" in missing


def test_a_web_that_is_told_to_stop_writes_its_last_lines(stack: tuple[Running, str]) -> None:
    run, _ = stack
    web = product.start_web(run.stack, "web-2")
    wait_for(lambda: product.answers(f"{web}/healthz/ready"))
    traces = [put((run, web), str(uuid.uuid4()), tags={"g": str(n)}) for n in range(20)]
    child = run.stack.child("web-2")
    child.signal(signal.SIGTERM)
    text = run.stack.log("web-2")
    wait_for(lambda: all(trace in text.read_text() for trace in traces))
