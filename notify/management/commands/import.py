"""`manage.py import`: an export of OneSignal into an app."""

import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from notify.databases import postgres
from notify.domain.records import nobody
from notify.domain.records.replay import CannotReplay
from notify.management import exit_codes
from notify.management.answering import AnsweringCommand, CommandResult, wrong
from notify.management.find_app import find_app
from notify.management.onesignal import stored
from notify.management.onesignal.entry import columns_not_taken
from notify.management.onesignal.export_file import Export, NotAnExport, open_export
from notify.management.onesignal.importer import Dependencies, Importer
from notify.management.onesignal.progress import Checkpoint, CheckpointMismatch, ImportProgress
from notify.models import App
from notify.operations import replays


class Command(AnsweringCommand):
    """Import an export, or what is left of it."""

    help = (
        "Import an export of OneSignal into an app: the CSV of POST /players/csv_export, or JSON of "
        "users; gzip or plain. What came here by an SDK before is kept. Run again after a stop, it goes "
        "on where it was, and nothing is counted twice. What cannot be taken is listed with its line."
    )

    def arguments(self, parser: CommandParser) -> None:
        super().arguments(parser)
        parser.add_argument("file", type=Path, help="the export; .gz too")
        parser.add_argument("--app", required=True, help="id or name of the app")
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="read the whole file and list what cannot be imported; send nothing",
        )
        parser.add_argument(
            "--from-line",
            type=int,
            metavar="N",
            help="begin at this line of the file (default: where the last run stopped, else the first line)",
        )
        parser.add_argument(
            "--per-second",
            type=int,
            default=settings.NOTIFY_IMPORT_UPDATES_PER_S,
            metavar="N",
            help="updates a second at most; 0 is no limit (default: NOTIFY_IMPORT_UPDATES_PER_S)",
        )
        parser.add_argument(
            "--refused",
            type=Path,
            metavar="PATH",
            help="the file that lists what cannot be imported (default: FILE.refused, FILE.dry-run.refused)",
        )
        parser.add_argument(
            "--progress",
            type=Path,
            metavar="PATH",
            help="the file that stores the progress (default: FILE.progress)",
        )

    def answer(self, options: Mapping[str, Any], /) -> CommandResult:
        """Imports the file, and says what was not imported and where that is listed."""
        file: Path = options["file"]
        from_line: int | None = options["from_line"]
        if options["per_second"] < 0 or (from_line is not None and from_line < 1):
            raise wrong("--per-second must be at least 0, and --from-line at least 1")
        app = find_app(options["app"])
        postgres.limit_django()
        # Standard output is the answer's.
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
        suffix = "dry-run.refused" if options["dry_run"] else "refused"
        listed = options["refused"] or file.with_name(f"{file.name}.{suffix}")
        noted_at = options["progress"] or file.with_name(f"{file.name}.progress")
        try:
            with open_export(file) as export:
                progress = ImportProgress(
                    file, str(app.id), path=None if options["dry_run"] else noted_at, listed=listed
                )
                start = _start(progress, from_line)
                checkpoint = self._run(export, app, progress, start, options)
        except (NotAnExport, CheckpointMismatch, CannotReplay) as error:
            raise wrong(str(error)) from None
        finally:
            replays.close()
        return _answer(checkpoint, listed, is_dry=options["dry_run"])

    def _run(
        self,
        export: Export,
        app: App,
        progress: ImportProgress,
        start: Checkpoint,
        options: Mapping[str, Any],
    ) -> Checkpoint:
        not_taken = columns_not_taken(export.columns)
        if not_taken:
            self.stderr.write(f"columns that are not imported: {', '.join(not_taken)}")
        if start.entries:
            self.stderr.write(f"continuing after line {start.line:,}")
        is_dry = options["dry_run"]
        dependencies = Dependencies(
            send=_nowhere if is_dry else partial(replays.send, str(app.id)),
            read_stored=stored.read,
            say=self.stderr.write,
            clock=time.monotonic,
            sleep=time.sleep,
            now_ms=replays.now_ms,
        )
        importer = Importer(
            str(app.id),
            dependencies,
            progress,
            per_second=0 if is_dry else options["per_second"],
            names=nobody.names_in(app.nobody_names),
        )
        checkpoint = start
        steps = importer.run(
            export.lines(), start, fraction=lambda: export.fraction, is_csv=export.is_csv
        )
        try:
            for step in steps:
                checkpoint = step
        except KeyboardInterrupt:
            raise CommandError(
                f"stopped: run the same command again to continue after line {checkpoint.line:,}",
                returncode=exit_codes.ATTENTION,
            ) from None
        return checkpoint


def _start(progress: ImportProgress, from_line: int | None) -> Checkpoint:
    return progress.checkpoint() if from_line is None else progress.from_line(from_line)


def _nowhere(values: Sequence[bytes]) -> None:
    """A dry run's Kafka."""


def _answer(checkpoint: Checkpoint, listed: Path, *, is_dry: bool) -> CommandResult:
    counts = checkpoint.counts
    taken = counts.lines - counts.refused
    what = "could be imported" if is_dry else "imported"
    text = f"{taken:,} of {counts.lines:,} lines {what}, {counts.updates:,} updates"
    is_all = not counts.refused and not counts.partly
    if not is_all:
        text += f"\n{counts.refused:,} refused, {counts.partly:,} imported in part: see {listed}"
    data = {
        "dry_run": is_dry,
        "lines": counts.lines,
        "refused": counts.refused,
        "partly": counts.partly,
        "updates": counts.updates,
        "listed": None if is_all else str(listed),
    }
    return CommandResult(text, data, exit_codes.OK if is_all else exit_codes.ATTENTION)
