"""``lomt run``: run the method on data, or go on with a run."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any

import yaml
from jsonargparse import Namespace

from lomt.balancing import BALANCING
from lomt.checks import check_whole
from lomt.cli.parser import ConfigFile, Parser
from lomt.config import EXECUTION, PRESETS, RunConfig
from lomt.methods import METHODS
from lomt.tasks import Task

FIELDS = tuple(field.name for field in fields(RunConfig))
NAMES: dict[str, Iterable[str]] = {"study.methods": METHODS, "recipe.balancing": BALANCING}
"""What goes by a name, for ``--help``."""
QUICK = "--quick"


def parser() -> Parser:
    """What it can be told."""
    made = Parser(
        description="Run the method on data, or go on with a run. Without -c, --data and --quick it is the demo, on "
        "embedded data, and values that are not given are the demo's; with -c or --data they are lomt.run's."
    )
    made.add_argument("-c", "--config", action=ConfigFile, help="a YAML file of the values below")
    made.add_argument(QUICK, action="store_true", help="the demo's idea in about a minute; by default in runs/quick")
    made.add_argument("--dry-run", action="store_true", help="print the plan: stages, networks, sizes, time")
    made.add_class_arguments(RunConfig, None)
    for action in made._actions:
        if action.dest in NAMES:
            action.help = f"{str(action.help).rstrip('.')}; there are {', '.join(NAMES[action.dest])}"
    return made


def begin(made: Parser, words: Sequence[str]) -> list[str]:
    """Make the values of a command line's preset a parser's defaults; returns the words without the preset's."""
    options = {word.partition("=")[0] for word in words}
    own = any(word.startswith("-c") for word in words) or options & {"--config", "--data"}
    name = "quick" if QUICK in options else "" if own else "demo"
    if name:
        values = yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8"))
        made.set_defaults(dict(_flat(values)))
    return [word for word in words if word != QUICK]


def run(options: Namespace) -> None:
    """Run the command."""
    import torch

    from lomt import runs

    config = RunConfig(**{name: options[name] for name in FIELDS})
    check_whole("threads", config.threads)
    check_whole("workers", config.workers, 1)
    tasks = tasks_of(config)
    arguments: dict[str, Any] = {name: getattr(config, name) for name in ("network", "study", "recipe", "accelerator")}
    if options.dry_run:
        if config.threads:
            torch.set_num_threads(config.threads)
        print(runs.dry_run(tasks, config.data, **arguments))
        return
    started = time.monotonic()
    done = runs.run(
        tasks,
        config.data,
        out=config.out,
        config=options.identity,
        threads=config.threads,
        workers=config.workers,
        **arguments,
    )
    for task, tap in done.taps.items():
        print(f"{task}: {tap}")
    print(f"\n{done.table}\nreport: {done.report}\n{_spent(time.monotonic() - started)}")


def _spent(seconds: float) -> str:
    """How long it took, and how much a processor had to do, this process and its workers together."""
    times = os.times()
    processor = times.user + times.system + times.children_user + times.children_system
    wall, work = (
        f"{minutes:.0f}:{rest:02.0f} min" for minutes, rest in (divmod(round(t), 60) for t in (seconds, processor))
    )
    return f"time: {wall}, {work} of a processor"


def identity(made: Parser, given: Namespace) -> dict[str, Any]:
    """The config that is written to the run's folder, but for how it is computed; ``-c`` reads it."""
    if given.quick:
        made.error("a config says quick: true, which comes too late: give --quick")
    config: dict[str, Any] = yaml.safe_load(made.dump(given))
    return {key: value for key, value in config.items() if key in FIELDS and key not in EXECUTION}


def _flat(values: Mapping[str, Any], group: str = "") -> Iterator[tuple[str, Any]]:
    """Values by the names of their options."""
    for name, value in values.items():
        if isinstance(value, Mapping) and "class_path" not in value:
            yield from _flat(value, f"{group}{name}.")
        else:
            yield f"{group}{name}", value


def tasks_of(config: RunConfig) -> list[Task]:
    """The tasks to learn.

    Raises:
        ValueError: a task that the data does not have.
    """
    by_name = {task.name: task for task in config.data.tasks}
    for name in config.tasks:
        if name not in by_name:
            raise ValueError(f"unknown task {name!r} – the data has {', '.join(by_name)}")
    return [by_name[name] for name in config.tasks or by_name]
