"""`python -m devstack run|up|restart|down|status|demo`."""

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from devstack import background
from devstack.run import run
from devstack.services import DevstackError
from devstack.state import HOME, inherited_environ


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: for `run` that of the command; else 0 if it succeeded, 1 if not, 2 for wrong
    usage."""
    arguments = _parser().parse_args(argv)
    try:
        return _do(arguments)
    except (DevstackError, OSError) as error:
        print(f"devstack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devstack", description=__doc__)
    parser.add_argument(
        "--home",
        type=Path,
        default=HOME,
        help="directory of the background stack (default: %(default)s)",
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser(
        "run", help="start PostgreSQL, Redis and Kafka, run a command, stop them"
    )
    verb.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD ...")
    up = verbs.add_parser("up", help="start what is missing of the stack, in the background")
    down = verbs.add_parser("down", help="stop the stack; keep records, apps and ports")
    up.add_argument("--reset", action="store_true", help="delete all data first")
    down.add_argument("--reset", action="store_true", help="also delete all data")
    verb = verbs.add_parser("restart", help="stop one process and start it again")
    verb.add_argument("process", help="its name, as `status` prints it")
    verbs.add_parser("status", help="show what runs; exit code 1 if something does not")
    verb = verbs.add_parser("demo", help="replay the incident in the terminal")
    verb.add_argument(
        "--exit", action="store_true", help="exit at the end; 0 only if all checks passed"
    )
    return parser


def _do(arguments: argparse.Namespace) -> int:
    match arguments.verb:
        case "run":
            command = arguments.command[arguments.command[:1] == ["--"] :]
            if not command:
                raise DevstackError("run: give a command after --")
            return run(command, inherited_environ(os.environ))
        case "up":
            background.up(
                arguments.home, inherited_environ(os.environ), _say, reset=arguments.reset
            )
        case "restart":
            background.restart(arguments.home, arguments.process, _say)
        case "down":
            background.down(arguments.home, _say, reset=arguments.reset)
        case "status":
            return 0 if background.status(arguments.home, _say) else 1
        case _:
            return _demo(exits=arguments.exit)
    return 0


def _demo(*, exits: bool) -> int:
    """Imports the demo only when it is used, and returns its exit code."""
    if importlib.util.find_spec("devstack.demo") is None:
        raise DevstackError("this checkout has no demo: use `make up`")
    return int(importlib.import_module("devstack.demo").main(exits=exits))


def _say(line: str) -> None:
    """Prints a line. If the reader is gone (`make up | head`), the command continues without output."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
