"""Log lines from a Loki, by its HTTP API. The labels are those that docker/alloy sets: process, level."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from notify.operations.trail import lines
from notify.operations.trail.lines import Accepted, Step
from notify.operations.trail.sources import SourceAway, Span, TrailQuery

PATH: Final = "/loki/api/v1/query_range"
#: Lines of one answer; Loki itself gives no more by default (max_entries_limit_per_query).
LINES_MAX: Final = 5_000
#: Answers of one question: past so many lines the older ones are left out.
PAGES_MAX: Final = 20
TIMEOUT_S: Final = 30.0
_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024


class NotALokiUrl(Exception):
    """It must be http:// or https://, with a host: `http://loki:3100`."""


class Loki:
    """The `LineSource` of a Loki at `url`, in which a user and a password may stand."""

    def __init__(self, url: str, *, now: datetime, timeout_s: float = TIMEOUT_S) -> None:
        """Raises NotALokiUrl; its text has no password."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise NotALokiUrl(f"{parts.scheme or 'no scheme'}: {NotALokiUrl.__doc__}")
        host = parts.netloc.rpartition("@")[2]
        self.name = urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._headers = {"Accept": "application/json"}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        self._until = now
        self._timeout_s = timeout_s
        self._problems: dict[str, None] = {}

    def accepted(self, wanted: TrailQuery, /) -> Iterator[Accepted]:
        """Source.accepted."""
        filters = "".join(f" |= {_quoted(word)}" for word in (lines.ACKED, *wanted.words))
        for text in self._ask(f'{{process="web"}}{filters}', wanted.since):
            line = lines.read(text)
            if isinstance(line, Accepted) and wanted.takes(line):
                yield line

    def steps(self, places: Mapping[int, Span], since: datetime, /) -> Iterator[Step]:
        """Source.steps: Loki parses the lines and gives those whose range holds an offset."""
        for partition, (low, high) in places.items():
            where = f"| json | partition = {partition}"
            planned = f'{{process="bridge"}} |= "{lines.PLANNED}" {where} | first <= {high} | next > {low}'
            batches = (
                f'{{process=~"bridge|worker"}} |= "{lines.BATCH}" {where} '
                f"| prev < {high} | last >= {low}"
            )
            for query in (planned, batches):
                for text in self._ask(query, since):
                    line = lines.read(text)
                    if line is not None and not isinstance(line, Accepted):
                        yield line

    def problems(self) -> Sequence[str]:
        """Source.problems."""
        return list(self._problems)

    def _ask(self, query: str, since: datetime) -> Iterator[str]:
        """The lines, newest first, page by page. The last nanosecond of a page begins the next, so that
        lines of one moment are not lost between two."""
        start, end = _ns(since), _ns(self._until)
        for _ in range(PAGES_MAX):
            found = self._page(query, start, end)
            yield from (text for _, text in found)
            if len(found) < LINES_MAX:
                return
            end = min(at for at, _ in found) + 1
            if all(at == end - 1 for at, _ in found):
                end -= 1  # more lines in one nanosecond than a page holds
        self._problems[
            f"Loki has more than {PAGES_MAX * LINES_MAX:,} lines: give a shorter --since"
        ] = None

    def _page(self, query: str, start: int, end: int) -> list[tuple[int, str]]:
        asked = urlencode(
            {
                "query": query,
                "start": start,
                "end": end,
                "limit": LINES_MAX,
                "direction": "backward",
            }
        )
        answer = self._get(f"{self.name}{PATH}?{asked}")
        try:
            streams = json.loads(answer)["data"]["result"]
            return [(int(at), str(text)) for each in streams for at, text, *_ in each["values"]]
        except (ValueError, TypeError, KeyError, RecursionError):
            raise SourceAway(f"{self.name} does not answer like a Loki: check the URL") from None

    def _get(self, url: str) -> bytes:
        request = Request(url, headers=self._headers)  # noqa: S310 - http(s) only, see __init__
        try:
            with urlopen(request, timeout=self._timeout_s) as answer:  # noqa: S310
                body: bytes = answer.read(_ANSWER_BYTES_MAX + 1)
        except HTTPError as error:
            said = error.read(300).decode(errors="replace").strip()
            raise SourceAway(f"{self.name} answered {error.code}: {said}") from None
        except (URLError, OSError, HTTPException) as error:
            reason: Any = getattr(error, "reason", None) or error
            raise SourceAway(f"{self.name} does not answer: {reason}") from None
        if len(body) > _ANSWER_BYTES_MAX:
            raise SourceAway(f"{self.name} answered more than {_ANSWER_BYTES_MAX} bytes")
        return body


def _ns(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


def _quoted(word: str) -> str:
    """A LogQL text; the words are ids, so nothing in them needs more than JSON's escapes."""
    return json.dumps(word)
