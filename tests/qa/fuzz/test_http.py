"""Schemathesis over /openapi.json, on all processes and real services.

Each answer has a status, a content type and a body that the document has for it, and none is a
server's error. `make fuzz EXAMPLES=100` makes more of each operation than the short run here.
"""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from notify.web.openapi import requests
from tests.qa.fuzz.operations import IN_PATH, operations
from tests.running import Running

pytestmark = [pytest.mark.timeout(3600), pytest.mark.slow]

EXAMPLES = os.environ.get("NOTIFY_FUZZ_EXAMPLES", "")
SEED = os.environ.get("NOTIFY_FUZZ_SEED") or "1"
PHASES = "examples,coverage,fuzzing" if EXAMPLES else "fuzzing"
EXAMPLES = EXAMPLES or "3"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


@pytest.fixture(scope="module")
def web(stack: tuple[Running, str]) -> tuple[Running, str]:
    """The whole product; what the examples of the document ask for has been applied."""
    run, url = stack
    for operation in operations():
        if operation.schema is not None:
            ask(
                run,
                url + operation.path(run.app.app_id),
                operation.method,
                operation.json(run.app.app_id),
                operation.headers,
            )
    run.wait_applied(2)
    return stack


def ask(run: Running, url: str, method: str, body: Any, own: dict[str, str]) -> None:
    """One request that must be accepted."""
    headers = {"Authorization": f"Key {run.app.key}", "Content-Type": "application/json", **own}
    with urlopen(Request(url, json.dumps(body).encode(), headers, method=method), timeout=60) as it:
        assert it.status in (200, 202)


def narrowed(document: dict[str, Any], app: str) -> dict[str, Any]:
    """The document with this app as the only one, and few ids and names, so that much is found."""
    document["components"]["schemas"]["AppId"] = {"type": "string", "enum": [app]}
    ids = [requests.PLAYER, requests.PARENT, str(uuid.uuid4())]
    document["components"]["schemas"]["Id"] = {"type": "string", "enum": ids}
    for item in document["paths"].values():
        for parameter in item.get("parameters", []):
            if "$ref" not in parameter["schema"]:
                word = IN_PATH[parameter["name"]]
                parameter["schema"] = {"anyOf": [{"enum": [word]}, parameter["schema"]]}
    return document


def schemathesis(web: tuple[Running, str], file: Path, *words: str) -> tuple[int, str]:
    """The exit code of a run over the document in `file`, and what it printed."""
    run, url = web
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", str(file), "--url", url),
            *("--header", f"Authorization: Key {run.app.key}", "--checks", ",".join(CHECKS)),
            *("--phases", PHASES, "--max-examples", EXAMPLES, "--seed", SEED, *words),
            *("--no-color", "--warnings", "off", "--request-timeout", "30"),
        ],
        cwd=file.parent,
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def written(web: tuple[Running, str], file: Path) -> dict[str, Any]:
    """The document that web serves, narrowed and written to `file`."""
    run, url = web
    with urlopen(f"{url}/openapi.json", timeout=60) as answer:
        document = narrowed(json.load(answer), run.app.app_id)
    file.write_text(json.dumps(document))
    return document


def test_every_answer_is_as_the_document_says(web: tuple[Running, str], tmp_path: Path) -> None:
    run, _ = web
    written(web, tmp_path / "openapi.json")
    code, said = schemathesis(web, tmp_path / "openapi.json")
    print(said[-3000:])
    assert code == 0, said[-20_000:]
    assert f"{len(operations())} selected / {len(operations())} total" in said
    run.wait_applied(2)
    assert run.rows("SELECT * FROM dead_letter") == []


def test_an_answer_that_is_not_as_the_document_says_is_found(
    web: tuple[Running, str], tmp_path: Path
) -> None:
    file = tmp_path / "openapi.json"
    document = written(web, file)
    document["components"]["schemas"]["Status"]["properties"]["status"]["enum"] = ["fine"]
    file.write_text(json.dumps(document))
    code, said = schemathesis(web, file, "--include-path", "/healthz/live")
    assert code == 1, said
    assert "Response violates schema" in said
