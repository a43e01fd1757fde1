"""The base of all commands: --json, clear errors and documented exit codes."""

import argparse
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser, SystemCheckError
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, ProgrammingError

from notify.kafka.topic import KafkaAway, TopicError
from notify.management import exit_codes
from notify.operations.streams import NotInRange, NoTopic, StreamsRefused

#: What to do about an SQLSTATE.
_HINTS: Final = {
    "42P01": "Run `manage.py migrate`.",
    "42501": "The user of DATABASE_URL may not do this. Run the command as the user that `manage.py migrate` "
    "runs as (docs/security.md, PostgreSQL).",
}


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a command: text for people, data for programs, and an exit code."""

    text: str
    data: Mapping[str, Any]
    exit_code: int = exit_codes.OK


class AnsweringCommand(BaseCommand, ABC):
    """A command that prints one answer. Subclasses define `arguments` and `answer`."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = exit_codes.HELP
        self.arguments(parser)

    def arguments(self, parser: CommandParser) -> None:
        """Adds the command's own arguments. Call `takes_json` for each parser with an answer."""
        takes_json(parser)

    @abstractmethod
    def answer(self, options: Mapping[str, Any], /) -> CommandResult:
        """Does the work. It may raise errors of PostgreSQL, of Kafka, and refusals."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Runs the system checks, then `handle`."""
        try:
            return super().execute(*args, **options)
        except SystemCheckError as error:
            error.returncode = exit_codes.USAGE
            raise

    def handle(self, *_args: Any, **options: Any) -> None:
        """Prints the answer. Raises CommandError, and SystemExit for an exit code other than 0."""
        try:
            answer = self.answer(options)
        except (CommandError, StreamsRefused, TopicError, DatabaseError) as error:
            refusal = _refusal(error)
            if options["json"]:
                failed = {"error": str(refusal), "exit_code": refusal.returncode}
                self.stdout.write(json.dumps(failed, indent=2))
            raise refusal from error
        self.stdout.write(json.dumps(answer.data, indent=2) if options["json"] else answer.text)
        if answer.exit_code != exit_codes.OK:
            raise SystemExit(answer.exit_code)


def takes_json(parser: argparse.ArgumentParser) -> None:
    """Adds --json to the parser."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object with stable keys"
    )


def wrong(text: str) -> CommandError:
    """The error for wrong arguments."""
    return CommandError(text, returncode=exit_codes.USAGE)


def _refusal(error: Exception) -> CommandError:
    if isinstance(error, CommandError):
        return error
    if isinstance(error, KafkaAway):
        return CommandError(str(error), returncode=exit_codes.AWAY)
    if isinstance(error, OperationalError | InterfaceError):
        said = f"PostgreSQL does not answer: {error}".strip()
        return CommandError(
            f"{said}\nCheck that it runs, and DATABASE_URL.", returncode=exit_codes.AWAY
        )
    if isinstance(error, NoTopic | NotInRange):
        return wrong(str(error))
    if isinstance(error, ProgrammingError):
        hint = _HINTS.get(getattr(error.__cause__, "sqlstate", None) or "", "")
        return wrong(f"PostgreSQL: {error}\n{hint}".strip())
    return CommandError(str(error), returncode=exit_codes.ATTENTION)
