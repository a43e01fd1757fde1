"""`python tests/prepare.py WORDS`: what `devstack.product.prepare` does to a new stack, in one process.

It prints the app as JSON. WORDS are the command that makes the database's roles. PYTHONPATH names the
checkout whose code it runs. Tests start many stacks, and product.prepare starts Django six times for each.
"""

import io
import os
import sys
from collections.abc import Sequence

import django
from django.core.management import call_command, get_commands

from devstack import product


def main(roles: Sequence[str]) -> None:
    """Tables, roles, topic, a login and the app."""
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    if roles[0] in get_commands():  # a release before has none
        call_command(*roles, stdout=io.StringIO())
    call_command("topic", "create", "--if-missing", stdout=io.StringIO())
    os.environ["DJANGO_SUPERUSER_PASSWORD"] = product.PASSWORD
    call_command(
        "createsuperuser",
        interactive=False,
        username=product.USER,
        email="demo@example.com",
        stdout=io.StringIO(),
    )
    call_command("app", "create", product.APP, "--json")


if __name__ == "__main__":
    main(sys.argv[1:])
