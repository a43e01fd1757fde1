"""An export of OneSignal as a file: its lines, one by one, whatever is wrong with some of them.

Two kinds are read, told apart by their first character: the CSV of `POST /players/csv_export`, and JSON
of users as `GET /apps/{app}/users/by/...` answers them, in one list or one after the other. Either may
be gzip. Memory is bounded by LINE_CHARS_MAX and USER_CHARS_MAX, however long the file is.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

#: Characters of one line of a CSV.
LINE_CHARS_MAX: Final = 1024 * 1024
#: Characters of one user in JSON.
USER_CHARS_MAX: Final = 1024 * 1024
#: Columns without which nothing can be imported.
NEEDED: Final = ("id", "identifier", "device_type")

_GZIP: Final = b"\x1f\x8b"
_CHUNK_CHARS: Final = 64 * 1024
#: What may stand between users.
_BETWEEN: Final = " \t\r\n,[]"
_TRUNCATED: Final = (
    "the file is cut off: download it again and import it with --from-line 1; what was imported is "
    "not counted twice"
)
_DASHBOARD: Final = (
    "this is the CSV of OneSignal's dashboard, which has no tokens and no addresses: export it with "
    "POST /players/csv_export instead"
)
_NOT_JSON: Final = f"it is not JSON, or it is a user of more than {USER_CHARS_MAX} characters"


class NotAnExport(Exception):
    """The file cannot be imported: the text says why, and what to do."""


class Line(NamedTuple):
    """What stands at a line of the file: a CSV row by column, or a user; or why it cannot be read.

    `number` counts from 1, as editors do; of an entry with several lines it is the first.
    """

    number: int
    fields: Mapping[str, Any] | None
    error: str = ""


class Export:
    """An export that is open. `lines` may be called once."""

    def __init__(self, raw: IO[bytes], text: IO[str], *, size: int, is_csv: bool) -> None:
        self._raw = raw
        self._text = text
        self._size = size
        self.is_csv = is_csv
        #: The columns of a CSV.
        self.columns: tuple[str, ...] = ()
        if is_csv:
            self._lines = _BoundedLines(text)
            self._reader = csv.reader(self._lines)
            self.columns = self._header()

    @property
    def fraction(self) -> float:
        """How much of the file has been read, from 0 to 1."""
        return min(self._raw.tell() / self._size, 1.0)

    def lines(self) -> Iterator[Line]:
        """All that stands in the file. Raises NotAnExport where it ends too early."""
        try:
            yield from self._rows() if self.is_csv else _users(self._text)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise NotAnExport(_TRUNCATED) from None

    def _header(self) -> tuple[str, ...]:
        try:
            columns = tuple(name.strip() for name in next(self._reader, ()))
        except (csv.Error, _TooLong) as error:
            raise NotAnExport(f"the first line cannot be read: {error}") from None
        missing = [name for name in NEEDED if name not in columns]
        if missing and "player_id" in columns:
            raise NotAnExport(_DASHBOARD)
        if missing:
            raise NotAnExport(
                f"no column {', '.join(missing)} in the first line: this is neither the CSV of POST "
                "/players/csv_export nor JSON of users"
            )
        if len(set(columns)) != len(columns):
            raise NotAnExport("the first line names a column twice: remove one of them")
        return columns

    def _rows(self) -> Iterator[Line]:
        width = len(self.columns)
        while True:
            number = self._lines.number + 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except (csv.Error, _TooLong) as error:
                yield _wrong(number, self._lines.number, str(error))
                continue
            if len(cells) == width:
                yield Line(number, dict(zip(self.columns, cells, strict=True)))
            elif cells:
                reason = f"it has {len(cells)} cells, but the first line has {width}"
                yield _wrong(number, self._lines.number, reason)


@contextmanager
def open_export(path: Path) -> Iterator[Export]:
    """The export in the file. Raises NotAnExport for anything else, and for a file that cannot be read."""
    with ExitStack() as at_end:
        try:
            with _opened(path) as (_, text):
                begins = text.read(_CHUNK_CHARS).lstrip()
            raw, text = at_end.enter_context(_opened(path))
            size = path.stat().st_size
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise NotAnExport(_TRUNCATED) from None
        except OSError as error:
            raise NotAnExport(f"{path}: {error.strerror}") from None
        if not begins:
            raise NotAnExport("the file is empty")
        yield Export(raw, text, size=size, is_csv=not begins.startswith(("{", "[")))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[IO[bytes], IO[str]]]:
    """The file, and its text, unpacked if it is gzip. Bytes that are not UTF-8 become half characters,
    which no update may have: they cost what they stand in, and not the whole file."""
    with path.open("rb") as raw:
        is_packed = raw.read(len(_GZIP)) == _GZIP
        raw.seek(0)
        unpacked = cast(IO[bytes], gzip.GzipFile(fileobj=raw) if is_packed else raw)
        with io.TextIOWrapper(
            unpacked, encoding="utf-8-sig", errors="surrogateescape", newline=""
        ) as text:
            yield raw, text


def _users(text: IO[str]) -> Iterator[Line]:
    """The objects in a text of JSON, whatever stands between them.

    One that is broken ends where a line begins with `{`. So where each user has lines of its own it
    costs itself alone; in one long line it costs the rest of USER_CHARS_MAX characters.
    """
    decoder = json.JSONDecoder()
    window = _Window(text)
    while window.begin():
        try:
            found, end = decoder.raw_decode(window.held, window.at)
        except (ValueError, RecursionError):
            if len(window.held) - window.at < USER_CHARS_MAX and window.more():
                continue  # it may only be cut
            end = window.held.find("\n{", window.at)
            broken = window.held[window.at : end if end >= 0 else None]
            number = window.number
            window.take(window.at + len(broken))
            yield _wrong(number, number + broken.rstrip().count("\n"), _NOT_JSON)
            continue
        if isinstance(found, dict):
            yield Line(window.number, found)
        else:
            yield Line(window.number, None, "it is not a JSON object")
        window.take(end)


class _Window:
    """The part of a text that is held, from `at` on, and the number of the line there."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        self.held = ""
        self.at = 0
        self.number = 1

    def begin(self) -> bool:
        """Move past what stands between users; False where nothing comes any more."""
        while True:
            rest = len(self.held[self.at :].lstrip(_BETWEEN))
            self.take(len(self.held) - rest)
            if rest:
                return True
            if not self.more():
                return False

    def take(self, end: int) -> None:
        """Move on to `end`."""
        self.number += self.held.count("\n", self.at, end)
        self.at = end

    def more(self) -> bool:
        """Hold another chunk; False at the end of the text."""
        chunk = self._text.read(_CHUNK_CHARS)
        self.held = self.held[self.at :] + chunk
        self.at = 0
        return bool(chunk)


def _wrong(number: int, last: int, reason: str) -> Line:
    return Line(number, None, reason if last <= number else f"lines {number} to {last}: {reason}")


class _TooLong(Exception):
    """A line has more characters than may be held."""


class _BoundedLines:
    """The lines of a text. One that is too long raises _TooLong, and the next can still be read: a
    generator would have ended."""

    def __init__(self, text: IO[str]) -> None:
        self._text = text
        #: Lines so far.
        self.number = 0

    def __iter__(self) -> "_BoundedLines":
        return self

    def __next__(self) -> str:
        line = self._text.readline(LINE_CHARS_MAX)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == LINE_CHARS_MAX and not line.endswith("\n"):
            while (more := self._text.readline(LINE_CHARS_MAX)) and not more.endswith("\n"):
                pass
            raise _TooLong(f"the line has more than {LINE_CHARS_MAX} characters")
        return line
