"""What all commands of the project share: --json, clear errors, documented exit codes."""

import argparse
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser, SystemCheckError
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, ProgrammingError

from notify.management import exit_codes
from notify.streams import NotInRange, NoTopic, StreamsRefused
from notify.topic import KafkaAway, TopicError

#: What to do about an SQLSTATE.
_HINTS: Final = {
    "42P01": "Run `manage.py migrate`.",
    "42501": "The user of DATABASE_URL may not do this. Run the command as the user that `manage.py migrate` "
    "runs as (docs/security.md, PostgreSQL).",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found: for a person, for a program, and for the shell."""

    text: str
    data: Mapping[str, Any]
    exit_code: int = exit_codes.OK


class AnsweringCommand(BaseCommand, ABC):
    """A command that answers once. Subclasses say `arguments` and `answer`."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Django calls this."""
        parser.epilog = exit_codes.HELP
        self.arguments(parser)

    def arguments(self, parser: CommandParser) -> None:
        """Add the command's own arguments; a parser that answers is handed to `takes_json`."""
        takes_json(parser)

    @abstractmethod
    def answer(self, options: Mapping[str, Any], /) -> Answer:
        """Do what was asked. Errors of PostgreSQL, of Kafka and refusals may go through."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Django calls this: system checks, then `handle`."""
        try:
            return super().execute(*args, **options)
        except SystemCheckError as error:
            error.returncode = exit_codes.USAGE
            raise

    def handle(self, *_args: Any, **options: Any) -> None:
        """Print the answer. Raises CommandError, and SystemExit for another code than 0."""
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
    """Let the parser take --json."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object with stable keys"
    )


def wrong(text: str) -> CommandError:
    """The error of a command that was called wrongly."""
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
