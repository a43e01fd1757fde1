"""`manage.py replay`: carry out the orders to replay skipped updates, without `manage.py watch`."""

import time
from collections.abc import Mapping
from typing import Any, Final

from django.core.management.base import CommandParser

from notify.management import exit_codes
from notify.management.answering import AnsweringCommand, CommandResult, takes_json
from notify.operations import replays

_AGAIN_S: Final = 1.0


class Command(AnsweringCommand):
    """Carry out the orders until none is open, or one step of them."""

    help = (
        "Send again what skip rules dropped, as the admin's orders say. `manage.py watch` does this "
        "by itself; by hand it goes on until no order is open, or until one cannot go on."
    )

    def arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--once",
            action="store_true",
            help="do one step, which is about NOTIFY_REPLAY_MESSAGES updates",
        )
        takes_json(parser)

    def answer(self, options: Mapping[str, Any], /) -> CommandResult:
        """Carries out the orders, and says how many are still open."""
        found = sent = lost = 0
        try:
            while True:
                done = replays.step()
                found, sent, lost = found + done.found, sent + done.sent, lost + done.lost
                if options["once"] or not done.orders or done.error:
                    break
                if not done.found and not done.lost:
                    time.sleep(_AGAIN_S)
        finally:
            replays.close()
        text = f"{sent:,} sent again, {lost:,} no longer in Kafka; orders still open: {done.orders}"
        if done.error:
            text += f"\n{done.error}"
        data = {
            "found": found,
            "sent": sent,
            "lost": lost,
            "open": done.orders,
            "error": done.error,
        }
        return CommandResult(text, data, exit_codes.ATTENTION if done.error else exit_codes.OK)
