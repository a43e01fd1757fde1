"""How large an installation must be for a load: pure arithmetic on measured costs.

The measured costs are in capacity.toml. All figures assume that cost grows in proportion to the rate.
"""

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from notify.domain.engine.lanes import LANES_MAX

COSTS: Final = Path(__file__).with_suffix(".toml")
CPU: Final = ("web", "web_batched", "bridge", "worker", "postgres", "kafka", "redis")
SECONDS_A_DAY: Final = 86_400
#: NOTIFY_LANES advises 2 to 4 lanes for each worker process.
LANES_PER_WORKER: Final = 2
#: The most sessions of a web process: 1 for the list of apps, 4 for reads, 4 for lookups, 2 for counts.
SESSIONS_PER_WEB: Final = 11
#: Two watchers with two sessions and Django's own.
SESSIONS_OF_WATCHERS: Final = 6
#: A task's body in Redis is JSON in base64 in JSON.
REDIS_OVERHEAD: Final = 1.5


class CapacityError(ValueError):
    """An input or a file of costs is wrong; the text says what to do."""


class Basis(StrEnum):
    """What a figure rests on."""

    GIVEN = "given"
    MEASURED = "measured"
    ASSUMED = "assumed"


class Input(NamedTuple):
    """A number that the operator may give. `least` and `most` are allowed unless `is_open`."""

    default: float | None
    least: float
    most: float
    is_open: bool
    help: str


_ANY: Final = 1e18
INPUTS: Final[Mapping[str, Input]] = {
    "updates_per_day": Input(None, 0, _ANY, True, "accepted updates a day, such as 13e9"),
    "peak": Input(10, 1, 1e6, False, "the highest rate, as a multiple of the mean"),
    "update_bytes": Input(500, 0, 1e9, True, "bytes of an update in Kafka"),
    "retention_hours": Input(168, 0, 1e6, True, "hours for which Kafka keeps updates"),
    "replication": Input(3, 1, 100, False, "copies of each update in Kafka"),
    "rows": Input(100e6, 0, _ANY, True, "records in PostgreSQL"),
    "row_bytes": Input(1_000, 0, 1e9, True, "bytes of a record in PostgreSQL, indexes included"),
    "mirrored": Input(0, 0, 1, False, "share of the updates that are also mirrored to a parent"),
    "batched": Input(0, 0, 1, False, "share of the updates that arrive in batches of about 100"),
    "headroom": Input(0.3, 0, 0.95, False, "share of each core and disk that stays free at the peak"),
    "postgres_cores": Input(16, 0, 1e4, True, "cores of the largest PostgreSQL server you would run"),
}  # fmt: skip


def option(name: str) -> str:
    """The input as an option of the command."""
    return "--" + name.replace("_", "-")


def number(name: str, text: object) -> float:
    """The value of an input. Raises CapacityError."""
    _, least, most, is_open, about = INPUTS[name]
    lower = f"above {least:g}" if is_open else f"at least {least:g}"
    upper = f", and at most {most:g}" if most < _ANY else ""
    try:
        value = float(str(text))
    except ValueError:
        value = math.nan
    if not (least < value <= most or (value == least and not is_open)):
        raise CapacityError(f"{option(name)} is {text!r}: give a number {lower}{upper} ({about}).")
    return value


@dataclass(frozen=True, slots=True)
class Costs:
    """What an update costs: microseconds of CPU by part, bytes of a log line; and where that was measured.

    A saturated process computes for the share `busy` of its time. Web's costs contain that already.
    """

    cpu_us: Mapping[str, float]
    busy: float
    log_line_bytes: float
    source: str


def read_costs(path: Path = COSTS) -> Costs:
    """The costs in a TOML file. Raises CapacityError."""
    try:
        found = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CapacityError(
            f"cannot read the costs in {path}: {error}. Copy {COSTS} and edit the copy."
        ) from None
    cpu = {name: _cost(path, found, "cpu_us", name) for name in CPU}
    source = ", ".join(str(found.get(key, f"no {key}")) for key in ("machine", "software", "date"))
    busy = _cost(path, found, "share", "busy", most=1)
    return Costs(cpu, busy, _cost(path, found, "bytes", "log_line"), source)


def _cost(
    path: Path, found: Mapping[str, Any], table: str, name: str, *, most: float = 1e9
) -> float:
    section = found.get(table)
    value = section.get(name) if isinstance(section, dict) else None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= most:
        return float(value)
    raise CapacityError(
        f"{path}: set {name} in [{table}] to a number above 0 and at most {most:g}; it is {value!r}."
    )


class Figure(NamedTuple):
    """A line of the answer."""

    title: str
    value: float
    unit: str
    basis: Basis
    source: str


@dataclass(frozen=True, slots=True)
class RedisBounds:
    """The settings that bound what is in Redis."""

    task_bytes: int
    window_bytes: int


def figures(given: Mapping[str, float], costs: Costs, limits: RedisBounds) -> dict[str, Figure]:
    """The figures by name, for inputs that `number` checked; all of INPUTS must be there."""
    load = _Load(given, costs)
    return dict((*load.totals(), *load.installation(limits)))


Line = tuple[str, Figure]
#: The source of a figure that rests on the file of costs.
FROM_COSTS: Final = "costs"


class _Load:
    """The arithmetic of one load."""

    def __init__(self, given: Mapping[str, float], costs: Costs) -> None:
        self._given = given
        self._costs = costs
        self._mean = given["updates_per_day"] / SECONDS_A_DAY
        self._peak = self._mean * given["peak"]
        self._free = 1 - given["headroom"]
        cpu, batched, writes = costs.cpu_us, given["batched"], 1 + given["mirrored"]
        self._cores = {
            # Web's costs contain `busy`, which `_need` divides by.
            "web": self._need(
                costs.busy * (cpu["web"] * (1 - batched) + cpu["web_batched"] * batched)
            ),
            "bridge": self._need(cpu["bridge"]),
            "worker": self._need(cpu["worker"] * writes),
            "postgres": self._need(cpu["postgres"] * writes),
            "kafka": self._need(cpu["kafka"] * given["replication"]),
            "redis": self._need(cpu["redis"]),
        }
        databases = _up(self._cores["postgres"] / given["postgres_cores"])
        redis = _up(self._cores["redis"])
        self._installations = max(databases, redis)
        self._limit = "one Redis has one thread" if redis > databases else "cores of one PostgreSQL"

    def _need(self, cpu_us: float) -> float:
        return self._peak * cpu_us / 1e6 / self._costs.busy / self._free

    def totals(self) -> Iterator[Line]:
        """The rates, cores and disks of all installations together."""
        given, source = self._given, FROM_COSTS
        yield (
            "rate_mean",
            Figure("Rate, mean", self._mean, "updates/s", Basis.GIVEN, "updates a day"),
        )
        yield (
            "rate_peak",
            Figure("Rate, peak", self._peak, "updates/s", Basis.GIVEN, "mean and peak"),
        )
        names = {"postgres": "PostgreSQL"}
        for part, cores in self._cores.items():
            title = names.get(part, part.capitalize())
            basis, said = Basis.MEASURED, source
            if part == "kafka" and given["replication"] != 1:
                basis, said = Basis.ASSUMED, "costs, for each replica"
            if part in ("worker", "postgres") and given["mirrored"]:
                basis, said = Basis.ASSUMED, "costs, for each write"
            yield f"cores_{part}", Figure(title, cores, "cores", basis, said)
        kafka = self._mean * 3_600 * given["retention_hours"] * given["update_bytes"]
        kafka *= given["replication"] / self._free / 1e9
        yield "disk_kafka", Figure("Kafka, disk", kafka, "GB", Basis.ASSUMED, "bytes of an update")
        postgres = given["rows"] * given["row_bytes"] / self._free / 1e9
        disk = Figure("PostgreSQL, disk", postgres, "GB", Basis.ASSUMED, "rows, bytes of a row")
        yield "disk_postgres", disk
        logs = given["updates_per_day"] * self._costs.log_line_bytes / 1e9
        yield "logs", Figure("Web's log lines", logs, "GB/day", Basis.MEASURED, "length of a line")

    def installation(self, limits: RedisBounds) -> Iterator[Line]:
        """The number of installations, and what each of them has."""
        count = self._installations
        web, bridges, workers = (
            _up(self._cores[part] / count) for part in ("web", "bridge", "worker")
        )
        lanes = min(LANES_MAX, LANES_PER_WORKER * workers)
        sessions = bridges + workers + SESSIONS_PER_WEB * web + SESSIONS_OF_WATCHERS
        held = bridges * min(lanes * limits.task_bytes, limits.window_bytes) * REDIS_OVERHEAD / 1e9
        app = 1e6 / self._costs.cpu_us["bridge"] * self._costs.busy * self._free
        measured, assumed, source = Basis.MEASURED, Basis.ASSUMED, FROM_COSTS
        yield "installations", Figure("Installations", count, "", assumed, self._limit)
        yield "web_processes", Figure("Web processes", web, "each", measured, source)
        yield "bridges", Figure("Bridges, one thread each", bridges, "each", measured, source)
        yield "partitions", Figure("Partitions, at least", bridges, "each", measured, source)
        yield "worker_processes", Figure("Worker processes", workers, "each", measured, source)
        yield (
            "lanes",
            Figure("Lanes of a partition", lanes, "each", assumed, "2 for each worker process"),
        )
        yield "sessions", Figure("PostgreSQL sessions", sessions, "each", assumed, "all in use")
        yield (
            "redis_memory",
            Figure("Redis, memory", held, "GB each", assumed, "a full batch in each lane"),
        )
        yield "app_peak", Figure("Peak of one app, at most", app, "updates/s", measured, source)


def _up(value: float) -> int:
    """Rounds up, to 1 at least. A rounding error of the division does not count."""
    return max(1, math.ceil(value - 1e-9))
