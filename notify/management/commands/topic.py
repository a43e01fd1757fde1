"""`manage.py topic`: create or adopt the Kafka topic, and check that it is the one in use."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from notify.kafka.topic import TopicMissing, Topics
from notify.management import exit_codes
from notify.management.answering import AnsweringCommand, CommandResult, takes_json, wrong
from notify.operations import streams
from notify.operations.streams import Adopted


class Command(AnsweringCommand):
    """Create, adopt or check the topic."""

    help = (
        "Create the topic in Kafka and its streams in PostgreSQL, adopt an existing topic, or check "
        "that Kafka's topic is the one that the streams belong to. Stop writing to the old topic "
        "before you replace it."
    )

    def arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        create = actions.add_parser("create", help="create the topic, then adopt it")
        create.add_argument("--partitions", type=int, default=settings.NOTIFY_PARTITIONS)
        create.add_argument("--replication", type=int, default=settings.NOTIFY_REPLICATION)
        create.add_argument(
            "--min-insync",
            type=int,
            default=settings.NOTIFY_MIN_INSYNC,
            help="replicas that must have an update before it is accepted; 0: one less than there are",
        )
        create.add_argument("--retention-hours", type=int, default=settings.NOTIFY_RETENTION_HOURS)
        create.add_argument(
            "--if-missing", action="store_true", help="if the topic exists already, only adopt it"
        )
        adopt = actions.add_parser(
            "adopt",
            help="make a topic that exists the active one; the active one again: go on after "
            "Kafka lost messages",
        )
        check = actions.add_parser("check", help="compare Kafka's topic with the streams")
        for action in (create, adopt):
            action.add_argument(
                "--abandon",
                action="store_true",
                help="adopt it even if updates are lost, and list them",
            )
        for action in (create, adopt, check):
            action.add_argument(
                "--name", default=settings.NOTIFY_TOPIC, help="default: NOTIFY_TOPIC"
            )
            takes_json(action)

    def answer(self, options: Mapping[str, Any], /) -> CommandResult:
        """Does the chosen action."""
        name = options["name"]
        with Topics(settings.KAFKA_BOOTSTRAP_SERVERS) as topics:
            if options["action"] == "check":
                return _check(topics, name)
            if options["action"] == "create":
                _create(topics, options)
            adopted = streams.adopt(
                topics, name, lanes=settings.NOTIFY_LANES, abandon=options["abandon"]
            )
        return _adopted(adopted)


def _create(topics: Topics, options: Mapping[str, Any]) -> None:
    name, partitions, replication = (options[key] for key in ("name", "partitions", "replication"))
    if partitions < 1 or replication < 1:
        raise wrong("a topic has at least 1 partition, on at least 1 broker")
    try:
        topics.describe(name)
    except TopicMissing:
        streams.check_replaceable(topics, abandon=options["abandon"])
    else:
        if options["if_missing"]:
            return
    topics.create(
        name,
        partitions=partitions,
        replication=replication,
        min_insync=options["min_insync"],
        retention_hours=options["retention_hours"],
    )


def _adopted(adopted: Adopted) -> CommandResult:
    topic, changed, lost = adopted.topic, adopted.changed, adopted.lost
    lines = [
        f"Topic {topic.name} ({topic.id}) is active, with {topic.partitions} partitions.",
        f"Streams created or changed: {len(changed) or 'none'}.",
    ]
    if lost:
        lines += ["Abandoned, up to:", *(f"  {each}" for each in lost)]
    data = {
        "topic": topic.name,
        "topic_id": str(topic.id),
        "partitions": topic.partitions,
        "changed_partitions": list(changed),
        "abandoned": [
            {
                "topic": each.topic,
                "partition": each.partition,
                "first": each.first,
                "next": each.next,
            }
            for each in lost
        ],
    }
    return CommandResult("\n".join(lines), data)


def _check(topics: Topics, name: str) -> CommandResult:
    checked = streams.check(topics, name)
    data = {
        "topic": name,
        "topic_id": str(checked.topic.id),
        "partitions": checked.topic.partitions,
        "problems": list(checked.problems),
        "notes": list(checked.notes),
    }
    lines = [f"Topic {name} ({checked.topic.id}), {checked.topic.partitions} partitions"]
    lines += [f"Problem: {problem}" for problem in checked.problems]
    lines += [f"Note: {note}" for note in checked.notes]
    if not checked.problems:
        lines.append("It is the topic that the streams belong to.")
    return CommandResult(
        "\n".join(lines), data, exit_codes.ATTENTION if checked.problems else exit_codes.OK
    )
