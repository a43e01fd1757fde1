"""`manage.py database`: the roles with which processes log in to PostgreSQL."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser

from notify import env
from notify.management import exit_codes
from notify.management.answering import AnsweringCommand, CommandResult, takes_json, wrong
from notify.security import database_roles
from notify.security.database_roles import PROCESSES, RolesRefused


class Command(AnsweringCommand):
    """Create and grant the roles."""

    help = (
        "Create one PostgreSQL role for each kind of process and grant it what the process needs. Run it "
        "as the tables' owner, after each `manage.py migrate`."
    )

    def arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        roles = actions.add_parser(
            "roles", help="create missing roles, grant what each process needs, revoke the rest"
        )
        roles.add_argument(
            "--login",
            nargs="+",
            default=[],
            metavar="PROCESS=VARIABLE",
            help="let these roles log in: VARIABLE is the environment variable that has the password "
            f"(or VARIABLE_FILE a file with it), PROCESS one of {', '.join(PROCESSES)}. Without it, "
            "a new role cannot log in: create login roles that are members of it",
        )
        takes_json(roles)

    def answer(self, options: Mapping[str, Any], /) -> CommandResult:
        """Creates and grants, and says what was done."""
        passwords = dict(_login(word) for word in options["login"])
        try:
            granted = database_roles.grant(passwords)
        except RolesRefused as refused:
            raise CommandError(str(refused), returncode=exit_codes.ATTENTION) from refused
        lines = [
            f"Roles: {', '.join(granted.roles)}; created now: {', '.join(granted.made) or 'none'}.",
            f"Allowed to log in now: {', '.join(passwords) or 'no other role than before'}.",
        ]
        if granted.undecided:
            lines.append(
                f"Tables that none of these roles may use: {', '.join(granted.undecided)}."
            )
        data = {
            "roles": list(granted.roles),
            "made": list(granted.made),
            "login": list(passwords),
            "undecided_tables": list(granted.undecided),
        }
        return CommandResult("\n".join(lines), data)


def _login(word: str) -> tuple[str, str]:
    process, _, variable = word.partition("=")
    if process not in PROCESSES or not variable:
        raise wrong(
            f"--login {word!r}: give PROCESS=VARIABLE, where PROCESS is one of {', '.join(PROCESSES)}"
        )
    try:
        return process, env.password(variable)
    except ImproperlyConfigured as error:
        raise wrong(f"--login {word}: {error}") from None
