"""How far an import is, and what of the export was not taken: two files, written after Kafka's ack.

Both are of the same moment: the list of what was not taken is cut to what it was when the progress was
noted. So a kill at any moment repeats lines, and never loses or doubles one in the list.
"""

import csv
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

#: What became of what is listed: the whole line, or a part of it, is not imported.
REFUSED: Final = "refused"
PARTLY: Final = "partly"
_HEADER: Final = ("line", "what", "reason")


class NotImported(NamedTuple):
    """A line that was not imported, or only in part, and why."""

    line: int
    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImportCounts:
    """Of lines so far, those of earlier runs included."""

    lines: int = 0
    refused: int = 0
    partly: int = 0
    updates: int = 0

    def plus(self, *, lines: int, listed: Sequence[NotImported], updates: int) -> "ImportCounts":
        """With these lines too. A line is counted once, however often it is listed."""
        refused = {each.line for each in listed if each.what == REFUSED}
        partly = {each.line for each in listed} - refused
        return ImportCounts(
            self.lines + lines,
            self.refused + len(refused),
            self.partly + len(partly),
            self.updates + updates,
        )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far an import is: so many entries from the file's start are done, the last of them at `line`;
    those before `from_line` were passed over. A list of users may have them all in one line.

    `listed_bytes` is the length of the list of what was not taken.
    """

    app: str
    file_bytes: int
    file_modified_ns: int
    from_line: int = 1
    entries: int = 0
    line: int = 0
    listed_bytes: int = 0
    counts: ImportCounts = ImportCounts()


class CheckpointMismatch(Exception):
    """The progress file belongs to another import; the text says what to do."""


class ImportProgress:
    """The progress of one file's import into one app, and its list. `path` None: only the list."""

    def __init__(self, file: Path, app: str, *, path: Path | None, listed: Path) -> None:
        found = file.stat()
        self._path, self._listed = path, listed
        self._start = Checkpoint(app, found.st_size, found.st_mtime_ns)

    def checkpoint(self) -> Checkpoint:
        """How far an earlier run came; the start where there was none. Raises CheckpointMismatch."""
        if self._path is None or not self._path.exists():
            return self._start
        try:
            fields = json.loads(self._path.read_text())
            checkpoint = Checkpoint(**fields | {"counts": ImportCounts(**fields["counts"])})
        except (ValueError, TypeError, KeyError):
            raise CheckpointMismatch(
                f"{self._path} is not a progress file of an import: {_TO_DO}"
            ) from None
        start = self._start
        if (checkpoint.app, checkpoint.file_bytes, checkpoint.file_modified_ns) != (
            start.app,
            start.file_bytes,
            start.file_modified_ns,
        ):
            raise CheckpointMismatch(
                f"{self._path} belongs to an import into another app, or the export has changed "
                f"since: {_TO_DO}"
            )
        return checkpoint

    def from_line(self, line: int) -> Checkpoint:
        """As if the lines before had been done."""
        return replace(self._start, from_line=line)

    def begin(self, checkpoint: Checkpoint) -> None:
        """Cut the list to what it was at `noted`."""
        if checkpoint.listed_bytes == 0:
            self._listed.unlink(missing_ok=True)
        elif self._listed.exists() and self._listed.stat().st_size > checkpoint.listed_bytes:
            os.truncate(self._listed, checkpoint.listed_bytes)

    def note(self, now: Checkpoint, listed: Sequence[NotImported]) -> Checkpoint:
        """List these, and note `now`; returns it with the length of the list."""
        size = now.listed_bytes
        if listed:
            is_new = not self._listed.exists()
            with self._listed.open("a", newline="") as file:
                rows = csv.writer(file)
                if is_new:
                    rows.writerow(_HEADER)
                rows.writerows(listed)
                file.flush()
                size = file.tell()
        now = replace(now, listed_bytes=size)
        if self._path is not None:
            written = self._path.with_name(f"{self._path.name}.new")
            written.write_text(json.dumps(asdict(now), indent=2))
            written.replace(self._path)
        return now

    def end(self) -> None:
        """The import is done: the next one of this file begins at its start."""
        if self._path is not None:
            with suppress(FileNotFoundError):
                self._path.unlink()


_TO_DO: Final = "remove it to begin at the first line, or give --from-line"
