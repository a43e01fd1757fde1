"""`manage.py lanes`: change how many lanes the streams have."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from notify.domain.engine.lanes import LANES_MAX
from notify.management.answering import AnsweringCommand, CommandResult
from notify.operations import streams


class Command(AnsweringCommand):
    """Ask for another number of lanes."""

    help = (
        "Change the number of lanes of every partition. Each partition drains first: its bridge "
        "plans nothing new until all that is planned is applied, a second or so; then it goes on "
        "with the new lanes. No worker needs a restart."
    )

    def arguments(self, parser: CommandParser) -> None:
        super().arguments(parser)
        parser.add_argument(
            "--to",
            type=int,
            required=True,
            metavar="N",
            help=f"1 to {LANES_MAX}; 2 to 4 for each worker process are a good choice",
        )

    def answer(self, options: Mapping[str, Any], /) -> CommandResult:
        """Records the wanted number of lanes; the bridges do the rest."""
        wanted = streams.want_lanes(options["to"])
        draining = [each for each in wanted if each.lanes != each.lanes_wanted]
        data = {
            "lanes_wanted": options["to"],
            "partitions": [
                {"partition": each.partition, "lanes": each.lanes, "draining": each in draining}
                for each in wanted
            ],
        }
        if not draining:
            return CommandResult(
                f"All {len(wanted)} partitions have {options['to']} lanes already.", data
            )
        text = (
            f"{len(draining)} of {len(wanted)} partitions are draining and then continue with "
            f"{options['to']} lanes.\n`manage.py status` shows when it is done."
        )
        return CommandResult(text, data)
