"""The ``lomt`` command; nothing is computed here."""

import sys
import traceback
from collections.abc import Callable, Sequence
from types import ModuleType

from jsonargparse import Namespace

from lomt import __version__
from lomt.cli import bench, compact, diagnose, export, predict, report, run, select, taps
from lomt.cli.parser import AsWritten, Parser

DESCRIPTION = """One network for several tasks, each task with just what it needs.

  lomt run                           the whole method on embedded data: minutes on two cores
  lomt run --dry-run                 what that would do, and how long it would take
  lomt run -c nyuv2.yaml --out DIR   your data; the same command again continues
  lomt run --no-task-worse-than 1%   choose taps and weights so that no task loses more, on validation
  lomt select DIR                    choose the layers anew, by another rule or threshold
  lomt diagnose DIR                  which task loses in multi-task training, why, and what to try
  lomt report DIR                    write the report of a run, ended or not
  lomt taps --backbone resnetd50     where decoders can be attached
  lomt compact DIR --round-to 8      make a trained network of a run small anew, for your device
  lomt export DIR                    write a run's or a saved network as ONNX, checked; --int8 too
  lomt predict PICTURES --model DIR  what the network of a run, or a saved one, sees in pictures, as files
  lomt bench DIR NET.onnx …          size, memory and speed of a run's or saved networks, side by side
"""

COMMANDS: dict[str, ModuleType] = {
    "run": run,
    "select": select,
    "diagnose": diagnose,
    "report": report,
    "taps": taps,
    "compact": compact,
    "export": export,
    "predict": predict,
    "bench": bench,
}
"""Every command by its name: a module with ``parser()`` and ``run(options)``; a new one is a file and a line here."""

_SHORT = {"--no-task-worse-than": "--study.no_task_worse_than"}
"""Options that users know by a shorter name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 for an error, 130 for Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["linear"]:
        from lomt.linear.cli import main as linear  # a wing with its own door and its own requirements

        return linear(arguments[1:])
    try:
        command, options = read(arguments)
        command(options)
    except KeyboardInterrupt:
        print("\nstopped; the same command again continues", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 – whatever it is, a user reads one line, not a traceback
        if "--debug" in arguments:
            traceback.print_exc()
        kind = "" if isinstance(error, ValueError | OSError | RuntimeError) else f"{type(error).__name__}: "
        print(f"error: {kind}{error}", file=sys.stderr)
        return 1
    return 0


def read(arguments: Sequence[str]) -> tuple[Callable[[Namespace], None], Namespace]:
    """The command that was given, and its options with objects in place of their names."""
    parser = Parser(prog="lomt", description=DESCRIPTION, version=__version__, formatter_class=AsWritten)
    subcommands = parser.add_subcommands(required=True)
    parsers = {name: command.parser() for name, command in COMMANDS.items()}
    for name, command_parser in parsers.items():
        command_parser.add_argument("--debug", action="store_true", help="show where an error came from")
        subcommands.add_subcommand(name, command_parser, help=command_parser.description)
    given = parser.parse_args([_in_full(argument) for argument in arguments])
    name = given.subcommand
    options = parsers[name].instantiate(given[name])
    if name == "run":
        options.identity = run.identity(parsers[name], given[name])
    return COMMANDS[name].run, options


def _in_full(argument: str) -> str:
    """The option in full that stands behind a short one."""
    option, *value = argument.split("=", 1)
    return "=".join([_SHORT.get(option, option), *value])
