"""docs/compatibility.md: the last result of each client, written by the run itself."""

import json
from pathlib import Path
from typing import Any, Final

from devstack import ROOT
from tests.qa.clients.drivers import COMMANDS
from tests.qa.clients.life import CHECKS

RESULTS: Final = Path(__file__).with_name("results.json")
PAGE: Final = ROOT / "docs" / "compatibility.md"
BEGIN: Final = "<!-- the results: written by the tests in tests/qa/clients -->\n"
END: Final = "<!-- end of the results -->\n"
WORKS: Final = "works"
NEVER: Final = "never ran"
TITLES: Final = {
    "python": "Python, `onesignal-python-api`",
    "node": "Node, `@onesignal/node-onesignal`",
    "rust": "Rust, `onesignal-rust-api`",
}

Result = dict[str, Any]


def read() -> dict[str, Result]:
    """The results by client."""
    if not RESULTS.exists():
        return {}
    found: dict[str, Result] = json.loads(RESULTS.read_text())
    return found


def add(name: str, result: Result) -> None:
    """Put the result in the place of the client's last one, in the file and on the page."""
    results = read() | {name: result}
    known = {each: results[each] for each in COMMANDS if each in results}
    RESULTS.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page())


def page() -> str:
    """The page with the results that are in the file."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + "\n".join(_lines(read())) + "\n" + END + tail


def _lines(results: dict[str, Result]) -> list[str]:
    return ["", *_clients(results), "", *_operations(results), ""]


def _clients(results: dict[str, Result]) -> list[str]:
    lines = ["| Client | Version | Ran | Date |", "|-|-|-|-|"]
    for name, result in results.items():
        lines.append(
            f"| {TITLES[name]} | {result['version']} | on {result['on']}, {result['services']} "
            f"| {result['date']} |"
        )
    return lines


def _operations(results: dict[str, Result]) -> list[str]:
    columns = " | ".join(name.capitalize() for name in COMMANDS)
    lines = [
        f"| Operation | {columns} | Checked | Other than at OneSignal |",
        "|-|" + "-|" * len(COMMANDS) + "-|-|",
    ]
    for check in CHECKS:
        cells = " | ".join(
            results[name]["operations"].get(check.operation, NEVER) if name in results else NEVER
            for name in COMMANDS
        )
        lines.append(f"| `{check.operation}` | {cells} | {check.checked} | {check.differs} |")
    return lines
