"""Log lines from files, directories of files, and standard input; those that end in .gz unpacked."""

import gzip
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, Protocol

from notify.operations.trail import lines
from notify.operations.trail.lines import Accepted, Line, Step
from notify.operations.trail.sources import CLOCKS_APART, SourceAway, Span, TrailQuery

STDIN: Final = "-"
#: Bytes of standard input that stay in memory; the rest goes to a temporary file.
_SPOOLED_BYTES: Final = 64 * 1024 * 1024
#: A longer line is none of ours: it is read in pieces, which are ignored.
_LINE_BYTES: Final = 1024 * 1024


class Files:
    """The `LineSource` of paths. Each is read once a question; standard input is kept for the second.

    Files that were last written before the time asked for are passed over: rotated ones mostly.
    """

    def __init__(self, paths: Sequence[str], at_end: ExitStack) -> None:
        self._paths = [Path(path) for path in paths if path != STDIN]
        self._stdin = _kept(at_end) if STDIN in paths else None
        self._problems: dict[str, None] = {}

    def accepted(self, wanted: TrailQuery, /) -> Iterator[Accepted]:
        """Source.accepted."""
        words = [word.encode() for word in (lines.ACKED, *wanted.words)]
        for line in self._lines(wanted.since, [words]):
            if isinstance(line, Accepted) and wanted.takes(line):
                yield line

    def steps(self, places: Mapping[int, Span], since: datetime, /) -> Iterator[Step]:
        """Source.steps."""
        for line in self._lines(since, [[lines.PLANNED.encode()], [lines.BATCH.encode()]]):
            if line is None or isinstance(line, Accepted) or line.at < since:
                continue
            if (span := places.get(line.partition)) is not None and span.touches(line):
                yield line

    def problems(self) -> Sequence[str]:
        """Source.problems."""
        return list(self._problems)

    def _lines(self, since: datetime, any_of: Sequence[Sequence[bytes]]) -> Iterator[Line | None]:
        """The lines that have all words of one of the lists: few need to be parsed."""
        for raw in self._raw(since):
            if any(all(word in raw for word in words) for words in any_of):
                yield lines.read(raw.decode(errors="replace"))

    def _raw(self, since: datetime) -> Iterator[bytes]:
        if self._stdin is not None:
            self._stdin.seek(0)
            yield from _split(self._stdin)
        for path in self._files(since):
            try:
                with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                    yield from _split(file)
            except (OSError, EOFError, zlib.error) as error:
                self._problems[f"{path}: {_reason(error)}"] = None

    def _files(self, since: datetime) -> Iterator[Path]:
        for given in self._paths:
            if not given.exists():
                raise SourceAway(f"{given} does not exist")
            found = sorted(given.rglob("*")) if given.is_dir() else [given]
            for path in found:
                if path.is_file() and (path == given or _is_newer(path, since)):
                    yield path


def _kept(at_end: ExitStack) -> IO[bytes]:
    spool = tempfile.SpooledTemporaryFile(_SPOOLED_BYTES)  # noqa: SIM115 - closed by at_end
    kept = at_end.enter_context(spool)
    shutil.copyfileobj(sys.stdin.buffer, kept)
    return kept


class _Readable(Protocol):
    def readline(self, size: int, /) -> bytes: ...


def _split(file: _Readable) -> Iterator[bytes]:
    while line := file.readline(_LINE_BYTES):
        yield line


def _is_newer(path: Path, since: datetime) -> bool:
    try:
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except OSError:
        return True
    return written >= since - CLOCKS_APART


def _reason(error: Exception) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or str(error) or type(error).__name__
