"""`python -m devstack run|up|down|status|demo`."""

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence

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
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("run", help="run a command beside the three services")
    verb.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD ...")
    verbs.add_parser("up", help="start the whole stack in the background")
    verbs.add_parser("down", help="stop it")
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
            background.up(HOME, given(os.environ), _say)
        case "down":
            background.down(HOME, _say)
        case "status":
            return 0 if background.status(HOME, _say) else 1
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
