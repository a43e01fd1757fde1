"""`python tests/prepare.py`: what `devstack.product.prepare` does to a new stack, in one process.

It prints the app as JSON. PYTHONPATH names the checkout whose code it runs. Tests start many stacks, and
product.prepare starts Django five times for each.
"""

import io
import os

import django
from django.core.management import call_command

from devstack import product


def main() -> None:
    """Tables, topic, a login and the app."""
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
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
    main()
