"""`manage.py trail`: follows one update from the request to the row."""

import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError

from notify.domain.engine.lanes import is_uuid
from notify.management import exit_codes, show_trail
from notify.management.answering import AnsweringCommand, CommandResult, wrong
from notify.models import App
from notify.operations.streams import NoTopic
from notify.operations.trail import facts as postgres
from notify.operations.trail.facts import Facts, RecordFacts
from notify.operations.trail.files import STDIN, Files
from notify.operations.trail.join import Trail, UpdateState, join
from notify.operations.trail.lines import Accepted, Step
from notify.operations.trail.loki import Loki, NotALokiUrl
from notify.operations.trail.sources import CLOCKS_APART, LineSource, SourceAway, TrailQuery, spans

SINCE: Final = "1h"
#: Updates that are followed, the newest ones, if there are more.
UPDATES: Final = 10
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_TRACE: Final = re.compile(r"(?:00-)?([0-9a-f]{32})(?:-[0-9a-f]{16}-[0-9a-f]{2})?")
_NO_LOGS: Final = "no logs are read: give --logs or --loki (NOTIFY_LOKI_URL)"


@dataclass(slots=True)
class _Found:
    """What is known so far, and what is missing for a whole answer. `is_away`: a source was asked and
    did not answer."""

    trails: list[Trail] = field(default_factory=list)
    record: RecordFacts | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    updates: int = 0
    missing: list[str] = field(default_factory=list)
    is_away: bool = False


class Command(AnsweringCommand):
    """Follow an update."""

    help = (
        "Follow updates from the request to the row: accepted, decided, sent, applied, and how long "
        "each step took. By the trace id that the client sent or got as request_id, or by app and "
        "record. Log lines come from files or from a Loki; what only PostgreSQL knows is added. What "
        "cannot be read is named, and the rest is told."
    )

    def arguments(self, parser: CommandParser) -> None:
        super().arguments(parser)
        parser.add_argument("--trace", metavar="ID", help="trace id, request_id or traceparent")
        parser.add_argument("--app", help="id or name of the app; with --record")
        parser.add_argument("--record", metavar="ID", help="id of the record; with --app")
        parser.add_argument(
            "--since",
            default=SINCE,
            help=f"only updates accepted in the last 90s, 15m, 1h or 7d (default {SINCE})",
        )
        parser.add_argument(
            "--last",
            type=int,
            default=UPDATES,
            help=f"show at most this many updates (default {UPDATES})",
        )
        parser.add_argument(
            "--logs",
            action="append",
            default=[],
            metavar="PATH",
            help="file or directory of log lines, .gz too, or - for standard input; repeatable",
        )
        parser.add_argument(
            "--loki",
            metavar="URL",
            help="the URL of the Loki to ask (default without --logs: NOTIFY_LOKI_URL)",
        )

    def answer(self, options: Mapping[str, Any], /) -> CommandResult:
        """Finds the updates, joins log lines with the database, and shows the result."""
        now = datetime.now(UTC)
        found = _Found()
        wanted = _wanted(options, now)
        with ExitStack() as at_end:
            sources = _sources(options, now, at_end)
            if not sources:
                found.missing.append(_NO_LOGS)
                if wanted.trace_id is not None:
                    raise wrong(f"a trace can be found only in logs, and {_NO_LOGS}")
            _follow(found, wanted, sources, last=options["last"])
        return CommandResult(_text(found, wanted), _data(found), _exit_code(found))


def _wanted(options: Mapping[str, Any], now: datetime) -> TrailQuery:
    since = now - _span(options["since"])
    if options["last"] < 1:
        raise wrong("--last must be 1 or more")
    trace, app, record = options["trace"], options["app"], options["record"]
    if trace is not None:
        found = _TRACE.fullmatch(trace.strip().lower())
        if found is None or app is not None or record is not None:
            raise wrong(
                "--trace is the 32 hexadecimal digits of a trace id, or a whole traceparent, and "
                "stands alone; or give --app and --record"
            )
        return TrailQuery(since, trace_id=found[1])
    if app is None or record is None:
        raise wrong("give --trace, or --app and --record")
    if not is_uuid(record.strip().lower()):
        raise wrong("--record must be the record's id, a UUID: its page in the admin shows it")
    return TrailQuery(since, app=_app(app.strip()), record=record.strip().lower())


def _span(given: str) -> timedelta:
    number, unit = given[:-1], given[-1:]
    if unit not in _UNITS or not number.isascii() or not number.isdigit() or len(number) > 6:
        raise wrong(f"--since {given}: give a whole number followed by s, m, h or d, such as 15m")
    return timedelta(seconds=int(number) * _UNITS[unit])


def _app(given: str) -> str:
    """The id of the app that the argument names. Finding a name needs PostgreSQL."""
    if is_uuid(given.lower()):
        return given.lower()
    app = App.objects.filter(name=given).first()
    if app is None:
        raise wrong(f"there is no app {given}: see `manage.py app list`")
    return str(app.id)


def _sources(options: Mapping[str, Any], now: datetime, at_end: ExitStack) -> list[LineSource]:
    sources: list[LineSource] = []
    for path in options["logs"]:
        if path != STDIN and not Path(path).exists():
            raise wrong(f"--logs {path}: there is no such file or directory")
    if options["logs"]:
        sources.append(Files(options["logs"], at_end))
    url = options["loki"] or ("" if sources else settings.NOTIFY_LOKI_URL)
    if url:
        try:
            sources.append(Loki(url, now=now + CLOCKS_APART))
        except NotALokiUrl as error:
            raise wrong(f"--loki or NOTIFY_LOKI_URL: {error}") from None
    return sources


def _follow(found: _Found, wanted: TrailQuery, sources: Iterable[LineSource], *, last: int) -> None:
    accepted: set[Accepted] = set()
    answering: list[LineSource] = []
    for source in sources:
        try:
            accepted.update(source.accepted(wanted))
        except SourceAway as error:
            _miss(found, str(error))
        else:
            answering.append(source)
    newest = _newest(accepted, last)
    found.updates = len({(each.partition, each.offset, each.trace_id) for each in accepted})
    steps: list[Step] = []
    if newest:
        since = min(each.at for each in newest) - CLOCKS_APART
        places = spans(newest)
        for source in answering:
            try:
                steps += source.steps(places, since)
            except SourceAway as error:
                _miss(found, str(error))
    for source in answering:
        found.missing += source.problems()
    facts = _facts(found, wanted, newest)
    found.trails = [join(each, steps, facts) for each in newest]


def _newest(accepted: Iterable[Accepted], last: int) -> list[Accepted]:
    """The newest updates, oldest first; of lines that came twice, one."""
    once = {(each.partition, each.offset, each.trace_id): each for each in accepted}
    return sorted(once.values(), key=lambda each: (each.at, each.offset))[-last:]


def _facts(found: _Found, wanted: TrailQuery, newest: Iterable[Accepted]) -> Facts | None:
    """The facts from PostgreSQL; None, with a note, if it does not answer."""
    places = [(each.partition, each.offset, each.app, each.record) for each in newest]
    apps = {app for _, _, app, _ in places} | ({wanted.app} if wanted.app else set())
    try:
        found.names = {str(app.id): app.name for app in App.objects.filter(id__in=apps)}
        if wanted.app is not None and wanted.record is not None:
            found.record = postgres.of_record(wanted.app, wanted.record)
        return postgres.of_updates(places)
    except (OperationalError, InterfaceError) as error:
        _miss(found, f"PostgreSQL does not answer: {_first_line(error)} See DATABASE_URL.")
    except NoTopic as error:
        found.missing.append(str(error))
    return None


def _first_line(error: DatabaseError) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") + "."


def _miss(found: _Found, what: str) -> None:
    found.missing.append(what)
    found.is_away = True


def _exit_code(found: _Found) -> int:
    if found.is_away:
        return exit_codes.AWAY
    fine = (UpdateState.APPLIED, UpdateState.SKIPPED)
    if found.trails:
        is_fine = all(trail.state in fine for trail in found.trails)
    else:
        is_fine = (
            found.record is not None and not found.record.dead and found.record.stream is not None
        )
    return exit_codes.OK if is_fine else exit_codes.ATTENTION


def _text(found: _Found, wanted: TrailQuery) -> str:
    parts = [show_trail.text(trail, found.names.get(trail.accepted.app)) for trail in found.trails]
    if found.updates > len(found.trails):
        parts.append(
            f"The newest {len(found.trails)} of {found.updates} updates; --last shows more."
        )
    if not found.trails:
        parts.append(
            "No line of such an update was found. Is it older than --since, refused (look for its "
            "request_refused), or is NOTIFY_LOG_ACKS off?"
            if _NO_LOGS not in found.missing
            else "Single updates can be followed only with log lines."
        )
    if found.record is not None and wanted.app is not None:
        parts.append(show_trail.record_text(found.record, found.names.get(wanted.app)))
    parts += [f"Missing: {each}" for each in found.missing]
    return "\n\n".join(parts)


def _data(found: _Found) -> dict[str, Any]:
    record = found.record
    return {
        "updates": [
            show_trail.data(trail, found.names.get(trail.accepted.app)) for trail in found.trails
        ],
        "updates_found": found.updates,
        "record": record and show_trail.record_data(record, found.names.get(record.app)),
        "missing": found.missing,
    }
