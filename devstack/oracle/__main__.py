"""`python -m devstack.oracle`: compares PostgreSQL with a replay of the topic, after all is applied.

Exit codes: 0 equal, 1 different, 2 cannot be compared.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import psycopg
from kafka.errors import KafkaError

from devstack.oracle.compare import NotComparable, compare


def main(argv: Sequence[str]) -> int:
    """Prints the report. Returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        report = compare(arguments.database, arguments.kafka, arguments.topic)
    except (NotComparable, psycopg.Error, KafkaError) as error:
        print(f"cannot compare: {error}", file=sys.stderr)
        return 2
    print(report)
    return 0 if report.equal else 1


def _parser() -> argparse.ArgumentParser:
    namespace = os.environ.get("NOTIFY_NAMESPACE", "notify")
    parser = argparse.ArgumentParser(prog="devstack.oracle", description=__doc__)
    for option, variable, default in (
        ("--database", "DATABASE_URL", None),
        ("--kafka", "KAFKA_BOOTSTRAP_SERVERS", None),
        ("--topic", "NOTIFY_TOPIC", f"{namespace}-sdk-updates"),
    ):
        value = os.environ.get(variable, default)
        parser.add_argument(
            option,
            default=value,
            required=value is None,
            help=f"default: {variable} from the environment",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
