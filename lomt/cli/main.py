"""The ``lomt`` command; nothing is computed here, and nothing is loaded but the command that was asked for."""

import argparse
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from lomt import __version__
from lomt.extras import MissingExtraError, need
from lomt.interrupts import STATUS as TERMINATED
from lomt.interrupts import Terminated, terminating

if TYPE_CHECKING:
    from jsonargparse import Namespace

COMMANDS = {
    "run": "the whole method on your data, or on embedded data; the same command again continues",
    "select": "choose the layers of a run anew, by another rule or threshold",
    "diagnose": "which task loses in multi-task training, why, and what to try",
    "report": "write the report of a run, ended or not",
    "taps": "where decoders can be attached to a backbone",
    "compact": "make a trained network of a run small anew, for your device",
    "export": "write a run's or a saved network as ONNX, checked; 8-bit too",
    "predict": "what the network of a run, or a saved one, sees in pictures, as files",
    "bench": "size, memory and speed of a run's or saved networks, side by side",
}
"""Every command and what it is for. It is a module of this room with ``parser()`` and ``run(options)``."""

WINGS = {
    "linear": "features shared by regression, classification and count tasks",
    "llm": "language models that skip the neurons a token does not need",
}
"""Commands of the wings, which have doors of their own: ``lomt.WING.cli.main``."""

EXAMPLES = """\
for example:
  lomt run --quick                   the whole method on embedded data: about a minute on two cores
  lomt run                           the same on more of it, which shows more: minutes
  lomt run --dry-run                 what that would do, and how long it would take
  lomt run -c nyuv2.yaml --out DIR   your data; the same command again continues
  lomt run --no-task-worse-than 1% --out DIR   so that no task loses more, on validation; a run of its own
  lomt taps --backbone resnetd50     where decoders can be attached
  lomt predict PICTURES --model DIR  what the network of a run sees in your pictures
  lomt bench DIR NET.onnx …          networks side by side

lomt COMMAND --help says what a command can be told."""

_SHORT = {"--no-task-worse-than": "--study.no_task_worse_than"}
"""Options that users know by a shorter name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 for an error, 130 for Ctrl-C, 143 for SIGTERM."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    rest: Sequence[str] = ()
    try:
        with terminating():
            name, rest = _command(arguments)
            if name in WINGS:
                status: int = import_module(f"lomt.{name}.cli").main(rest)
                return status
            command, options = read(name, rest)
            command(options)
    except KeyboardInterrupt as stop:
        print(f"\n{str(stop) or 'stopped'}", file=sys.stderr)
        return 130
    except Terminated:
        return TERMINATED
    except Exception as error:  # noqa: BLE001 – whatever it is, a user reads one line, not a traceback
        if "--debug" in rest:
            traceback.print_exc()
        told = isinstance(error, ValueError | OSError | RuntimeError | MissingExtraError)
        print(f"error: {'' if told else f'{type(error).__name__}: '}{error}", file=sys.stderr)
        return 1
    return 0


def read(name: str, arguments: Sequence[str]) -> tuple[Callable[["Namespace"], None], "Namespace"]:
    """A command of :data:`COMMANDS`, and its options with objects in place of their names."""
    need(f"lomt {name}", "cli", "jsonargparse", "yaml")
    here = str(Path.cwd())
    if "" not in sys.path and here not in sys.path:
        sys.path.append(here)  # my_module:make is looked for in the current folder, too
    command = import_module(f"lomt.cli.{name}")
    parser = command.parser()
    parser.prog = f"lomt {name}"
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    words = [_in_full(argument) for argument in arguments]
    if name == "run":
        words = command.begin(parser, words)
    given = parser.parse_args(words)
    options = parser.instantiate(given)
    if name == "run":
        options.identity = command.identity(parser, given)
    return command.run, options


def _command(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The command's name, and its arguments; says what there is where none is given."""
    all_ = COMMANDS | WINGS
    width = max(map(len, all_))
    parser = argparse.ArgumentParser(
        prog="lomt",
        usage="lomt COMMAND [options]",
        description="One network for several tasks, each task with just what it needs.\n\n"
        + "\n".join(f"  {name:<{width}}  {what}" for name, what in all_.items()),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lomt {__version__}")
    if not arguments:
        parser.print_help()
        raise SystemExit(2)
    if arguments[0] not in all_:
        if arguments[0].startswith("-"):
            parser.parse_args(arguments[:1])
        print(
            f"error: unknown command {arguments[0]!r} – there are {', '.join(all_)}\nsee lomt --help", file=sys.stderr
        )
        raise SystemExit(2)
    return arguments[0], list(arguments[1:])


def _in_full(argument: str) -> str:
    """The option in full that stands behind a short one."""
    option, *value = argument.split("=", 1)
    return "=".join([_SHORT.get(option, option), *value])
