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
from devstack.state import HOME, given


def main(argv: Sequence[str]) -> int:
    """The exit code: of the command for `run`, else 0 for done, 1 for not, 2 for bad usage."""
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
        "--home", type=Path, default=HOME, help="directory of the background stack (%(default)s)"
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("run", help="run a command beside the three services")
    verb.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD ...")
    up = verbs.add_parser("up", help="start what is missing of the stack in the background")
    down = verbs.add_parser("down", help="stop it; records, apps and ports stay")
    up.add_argument("--reset", action="store_true", help="stop it and remove all data first")
    down.add_argument("--reset", action="store_true", help="remove all data too")
    verb = verbs.add_parser("restart", help="stop one process and start it as it was")
    verb.add_argument("process", help="as `status` names them")
    verbs.add_parser("status", help="say what runs; 1 where it is not all well")
    verb = verbs.add_parser("demo", help="play the incident live")
    verb.add_argument("--exit", action="store_true", help="end by itself, 0 only if all held")
    return parser


def _do(arguments: argparse.Namespace) -> int:
    match arguments.verb:
        case "run":
            command = arguments.command[arguments.command[:1] == ["--"] :]
            if not command:
                raise DevstackError("run: name a command after --")
            return run(command, given(os.environ))
        case "up":
            background.up(arguments.home, given(os.environ), _say, reset=arguments.reset)
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
    """devstack.demo.main(exits=...) -> exit code."""
    if importlib.util.find_spec("devstack.demo") is None:
        raise DevstackError("there is no demo yet: use `make up`")
    return int(importlib.import_module("devstack.demo").main(exits=exits))


def _say(line: str) -> None:
    """Nobody may be reading any more (`make up | head`): then the stack comes up all the same."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
