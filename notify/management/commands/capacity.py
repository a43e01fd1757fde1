"""`manage.py capacity`: how large an installation must be for a load."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from notify.management import capacity
from notify.management.answering import AnsweringCommand, CommandResult, wrong
from notify.management.capacity import Figure
from notify.management.table import table


class Command(AnsweringCommand):
    """Compute the size of an installation."""

    help = (
        "Compute what an installation needs for a load: cores, bridges, partitions, lanes, PostgreSQL "
        "sessions, disks and memory. It reads no service. docs/capacity.md explains the figures."
    )

    def arguments(self, parser: CommandParser) -> None:
        super().arguments(parser)
        for name, each in capacity.INPUTS.items():
            default = "" if each.default is None else f"; default: {each.default:,g}"
            parser.add_argument(
                capacity.option(name),
                required=each.default is None,
                default=each.default,
                metavar="N",
                help=(each.help + default).replace("%", "%%"),
            )
        parser.add_argument(
            "--costs",
            type=Path,
            default=capacity.COSTS,
            metavar="FILE",
            help="TOML file with costs that you measured; default: notify/management/capacity.toml",
        )

    def answer(self, options: Mapping[str, Any], /) -> CommandResult:
        """The figures, as text and as data."""
        try:
            given = {name: capacity.number(name, options[name]) for name in capacity.INPUTS}
            costs = capacity.read_costs(options["costs"])
        except capacity.CapacityError as error:
            raise wrong(str(error)) from None
        limits = capacity.RedisBounds(settings.NOTIFY_TASK_BYTES, settings.NOTIFY_WINDOW_BYTES)
        found = capacity.figures(given, costs, limits)
        data = {
            "inputs": given,
            "costs": {
                "cpu_us": dict(costs.cpu_us),
                "busy": costs.busy,
                "log_line_bytes": costs.log_line_bytes,
                "source": costs.source,
            },
            "figures": {name: _data(figure) for name, figure in found.items()},
        }
        return CommandResult(_text(found, costs), data)


def _data(figure: Figure) -> dict[str, Any]:
    return {key: value for key, value in figure._asdict().items() if key != "title"}


def _text(found: Mapping[str, Figure], costs: capacity.Costs) -> str:
    rows = [
        (each.title, _shown(each.value), each.unit, each.basis, each.source)
        for each in found.values()
    ]
    listed = table(("WHAT", "FIGURE", "UNIT", "BASIS", "FROM"), rows, right=(1,))
    return (
        f"{listed}\n\nCosts of an update, measured on\n{costs.source}.\n"
        "Measured means: a measured cost times the rate. "
        "Cores and disks are those of all\ninstallations together; 'each' is for one installation."
    )


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.2g}"
