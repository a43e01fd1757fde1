"""docs/reliability.md: the last result of each row, written by the run itself."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from devstack import ROOT
from tests.qa.faults.matrix import ROWS, Result

RESULTS: Final = Path(__file__).with_name("results.json")
PAGE: Final = ROOT / "docs" / "reliability.md"
BEGIN: Final = "<!-- the results: written by `make faults` -->\n"
END: Final = "<!-- end of the results -->\n"


def read() -> dict[str, dict[str, Any]]:
    """The results by row."""
    if not RESULTS.exists():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text())
    return found


def add(result: Result) -> None:
    """Put the result in the place of the row's last one, in the file and on the page."""
    results = read() | {result.name: result.as_json()}
    known = {name: results[name] for name in ROWS if name in results}
    RESULTS.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(page())


def page() -> str:
    """The page with the results that are in the file."""
    head, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + "\n".join(table(list(read().values()))) + "\n" + END + tail


def table(results: Sequence[dict[str, Any]]) -> list[str]:
    """The lines of the page's table."""
    lines = [
        "",
        "| Fault | Updates acked | Unknown | Failed | Lost | Doubled | Recovered in | Bound | Seen | Run |",
        "|-|-|-|-|-|-|-|-|-|-|",
    ]
    for each in results:
        versions = ", ".join(
            found if found.startswith((name, "Apache")) else f"{name} {found}"
            for name, found in each["versions"].items()
        )
        lines.append(
            f"| {each['fault']} (`{each['name']}`; {each['kind']}) | {each['acked']:,} "
            f"| {each['unknown']:,} | {each['failed']:,} | {each['lost']} | {each['doubled']} "
            f"| {each['recovered_s']:.1f} s | {each['bound_s']:.0f} s | {each['remark']} "
            f"| {each['date']}, {versions} |"
        )
    return [*lines, ""]


def line(result: Result) -> str:
    """The result in one line, for the terminal."""
    return (
        f"{result.name}: {result.acked} acked, {result.unknown} unknown, {result.failed} failed, "
        f"{result.lost} lost, {result.doubled} doubled, recovered in {result.recovered_s} s "
        f"(bound {result.bound_s:.0f} s). {result.remark}"
    )
