"""`manage.py stream`: the streams of the active topic, and resuming a halted one."""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandParser

from notify.management.answering import AnsweringCommand, CommandResult, takes_json
from notify.management.table import table
from notify.models import Stream
from notify.operations import streams


class Command(AnsweringCommand):
    """List streams, resume halted ones."""

    help = "List the streams of the active topic, or resume a halted one."

    def arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        listed = actions.add_parser("list", help="show the state of each stream")
        resume = actions.add_parser(
            "resume", help="end a halt; if its cause still exists, the stream halts again"
        )
        which = resume.add_mutually_exclusive_group(required=True)
        which.add_argument("partition", nargs="?", type=int, metavar="PARTITION")
        which.add_argument("--all", action="store_true", help="resume every halted partition")
        for action in (listed, resume):
            takes_json(action)

    def answer(self, options: Mapping[str, Any], /) -> CommandResult:
        """Does the chosen action."""
        return _list() if options["action"] == "list" else _resume(options["partition"])


def _list() -> CommandResult:
    topic = streams.active_topic()
    found = streams.streams_of(topic)
    rows = [
        (
            str(stream.partition),
            str(stream.planned),
            str(stream.frontier),
            _lanes(stream),
            "halted" if stream.halted is not None else "on",
        )
        for stream in found
    ]
    halts = [
        f"Partition {stream.partition} is halted: {stream.halted}"
        for stream in found
        if stream.halted is not None
    ]
    header = ("PARTITION", "PLANNED", "FRONTIER", "LANES", "STATE")
    lines = [f"Topic {topic.name} ({topic.id})", "", table(header, rows, right=(0, 1, 2))]
    if halts:
        lines += ["", *halts]
    data = {
        "topic": topic.name,
        "topic_id": str(topic.id),
        "streams": [
            {
                "partition": stream.partition,
                "planned": stream.planned,
                "frontier": stream.frontier,
                "lanes": stream.lanes,
                "lanes_wanted": stream.lanes_wanted,
                "ticked_at": stream.ticked_at and stream.ticked_at.isoformat(),
                "halted": stream.halted,
            }
            for stream in found
        ],
    }
    return CommandResult("\n".join(lines), data)


def _lanes(stream: Stream) -> str:
    if stream.lanes == stream.lanes_wanted:
        return str(stream.lanes)
    return f"{stream.lanes}, draining to {stream.lanes_wanted}"


def _resume(partition: int | None) -> CommandResult:
    resumed = streams.resume(partition)
    data = {"resumed": [{"partition": each.partition, "halted": each.halted} for each in resumed]}
    if not resumed:
        return CommandResult("Nothing was halted.", data)
    lines = [
        f"Partition {each.partition} is resumed. It was halted: {each.halted}" for each in resumed
    ]
    return CommandResult("\n".join(lines), data)
