"""The command `notify` of an installed wheel. In a checkout it is `manage.py`."""

import os
import sys

from django.core.management import execute_from_command_line


def main() -> None:
    """Runs the command in sys.argv, with this project's settings unless others are set."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notify.settings")
    execute_from_command_line(sys.argv)
