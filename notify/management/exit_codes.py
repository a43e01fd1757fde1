"""The exit codes of all commands."""

from typing import Final

#: Done; for `status` and `topic check`: all is well.
OK: Final = 0
#: Refused, with nothing changed; for `status` and `topic check`: something is stalled or halted.
ATTENTION: Final = 1
#: Called wrongly, or not set up: an argument, a setting, a migration, no topic.
USAGE: Final = 2
#: PostgreSQL or Kafka does not answer; nothing was changed.
AWAY: Final = 3

HELP: Final = (
    "exit codes: 0 success; 1 refused, or a partition is in trouble; "
    "2 wrong arguments or not set up; 3 PostgreSQL or Kafka does not answer"
)
