"""The ``tailor`` command; nothing is computed here."""

import re
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import yaml
from jsonargparse import ActionConfigFile, ArgumentParser, DefaultHelpFormatter, Namespace, lazy_instance

from tailor import __version__
from tailor.config import EXECUTION, RunConfig
from tailor.data import SOURCES
from tailor.models import Architecture
from tailor.selection import RULES, DeepestActive, SelectionRule
from tailor.sparsity import PENALTIES
from tailor.tasks import Task

if TYPE_CHECKING:
    from tailor.methods import Workshop

_FIELDS = tuple(field.name for field in fields(RunConfig))

DESCRIPTION = """One network for several tasks, each task with just what it needs.

  tailor run                           the whole method on embedded data: minutes on two cores
  tailor run --dry-run                 what that would do, and how long it would take
  tailor run -c nyuv2.yaml --out DIR   your data; the same command again continues
  tailor run --no-task-worse-than 1%   choose taps and weights so that no task loses more, on validation
  tailor select DIR                    choose the layers anew, by another rule or threshold
  tailor diagnose DIR                  which task loses in multi-task training, why, and what to try
  tailor report DIR                    write the report of a run, ended or not
  tailor taps --backbone resnetd50     where decoders can be attached
  tailor compact DIR --round-to 8      make a trained network of a run small anew, for your device
  tailor export DIR                    write a run's or a saved network as ONNX, checked; --int8 too
  tailor predict PICTURES --model DIR  what the network of a run, or a saved one, sees in pictures, as files
  tailor bench DIR NET.onnx …          size, memory and speed of a run's or saved networks, side by side
"""


_KINDS: dict[str, Iterable[type]] = {
    "data": SOURCES.values(),
    "rule": RULES.values(),
    "penalty": PENALTIES.values(),
}
"""What may stand behind the options that name a class."""


_SHORT = {"--no-task-worse-than": "--study.no_task_worse_than"}
"""Options that users know by a shorter name."""


class _AsWritten(DefaultHelpFormatter):
    """Keeps the lines of a description that has several."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return str(super()._fill_text(text, width, indent))


class _Parser(ArgumentParser):
    """Says in a few lines what is wrong and what there is; the whole usage is for ``--help``."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        unknown = re.search(r'key "([\w.]+)":.*?Expected a dot import path string: (\S+)', message, re.DOTALL)
        if unknown:
            key, name = unknown.groups()
            known = ", ".join(kind.__name__ for kind in _KINDS.get(key.split(".")[-1], ()))
            words = re.search(r"Expected a typing.Literal\['(\w+)'\]", message)
            known += f", {words[1]}" if words else ""
            message = f"--{key}: unknown name {name!r} – there are {known}, or the dotted path of a class of yours"
        print(f"error: {message.strip()}\nsee {self.prog.replace(' [options]', '')} --help", file=sys.stderr)
        raise SystemExit(2) from ex


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 for an error, 130 for Ctrl-C."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["linear"]:
        from tailor.linear.cli import main as linear  # a wing with its own door and its own requirements

        return linear(arguments[1:])
    try:
        command, options = _read(arguments)
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


def _read(arguments: Sequence[str]) -> tuple[Callable[[Namespace], None], Namespace]:
    """The command that was given, and its options with objects in place of their names."""
    parser = _Parser(prog="tailor", description=DESCRIPTION, version=__version__, formatter_class=_AsWritten)
    subcommands = parser.add_subcommands(required=True)
    commands = {
        "run": (_run_parser, _run),
        "select": (_select_parser, _select),
        "diagnose": (_diagnose_parser, _diagnose),
        "report": (_report_parser, _report),
        "taps": (_taps_parser, _taps),
        "compact": (_compact_parser, _compact),
        "export": (_export_parser, _export),
        "predict": (_predict_parser, _predict),
        "bench": (_bench_parser, _bench),
    }
    parsers = {name: make() for name, (make, _) in commands.items()}
    for name, command_parser in parsers.items():
        command_parser.add_argument("--debug", action="store_true", help="show where an error came from")
        subcommands.add_subcommand(name, command_parser, help=command_parser.description)
    given = parser.parse_args([_in_full(argument) for argument in arguments])
    name = given.subcommand
    options = parsers[name].instantiate(given[name])
    if name == "run":
        options.identity = _identity(parsers[name], given[name])
    return commands[name][1], options


def _in_full(argument: str) -> str:
    """The option in full that stands behind a short one."""
    option, *value = argument.split("=", 1)
    return "=".join([_SHORT.get(option, option), *value])


def _identity(parser: ArgumentParser, given: Namespace) -> dict[str, Any]:
    """The config that is written to the run's folder: what is run, not where and how; ``-c`` reads it."""
    config: dict[str, Any] = yaml.safe_load(parser.dump(given))
    return {key: value for key, value in config.items() if key in _FIELDS and key not in EXECUTION}


def _run_parser() -> ArgumentParser:
    parser = _Parser(description="Run the method on data, or go on with a run.")
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="a YAML file of the values below")
    parser.add_argument("--dry-run", action="store_true", help="print the plan: stages, networks, sizes, time")
    parser.add_class_arguments(RunConfig, None)
    return parser


def _run(options: Namespace) -> None:
    import torch

    from tailor.runs import dry_run, lomt

    config = RunConfig(**{name: options[name] for name in _FIELDS})
    if config.threads:
        torch.set_num_threads(config.threads)
    tasks = _tasks(config)
    arguments: dict[str, Any] = {name: getattr(config, name) for name in ("network", "study", "recipe", "accelerator")}
    if options.dry_run:
        print(dry_run(tasks, config.data, **arguments))
        return
    done = lomt(tasks, config.data, out=config.out, config=options.identity, **arguments)
    for task, tap in done.taps.items():
        print(f"{task}: {tap}")
    print(f"\n{done.table}\nreport: {done.report}")


def _tasks(config: RunConfig) -> list[Task]:
    by_name = {task.name: task for task in config.data.tasks}
    unknown = [name for name in config.tasks if name not in by_name]
    if unknown:
        raise ValueError(f"unknown task {unknown[0]!r} – the data has {', '.join(by_name)}")
    return [by_name[name] for name in config.tasks or by_name]


def _select_parser() -> ArgumentParser:
    parser = _Parser(description="Choose the layers of a run anew from its sparse trainings; changes nothing.")
    parser.add_argument("folder", type=str, help="a run's folder")
    parser.add_argument("--rule", type=SelectionRule, default=lazy_instance(DeepestActive), help="patterns → tap")
    return parser


def _select(options: Namespace) -> None:
    from tailor.runs import RunFolder, select

    for task, selection in select(RunFolder(options.folder), options.rule).items():
        first, last = selection["interval"] or (None, None)
        spread = f" (trials by themselves: {first} … {last})" if first != last else ""
        print(f"{task}: {selection['tap']}{spread} – {selection['reason']}")


def _diagnose_parser() -> ArgumentParser:
    parser = _Parser(description="Find out which task loses in multi-task training, why, and what to try.")
    parser.add_argument("folder", type=str, help="a run's folder")
    parser.add_argument("--threads", type=int, default=0, help="processor threads; 0 leaves the choice to torch")
    parser.add_argument("--accelerator", type=str, default="auto", help="auto, cpu or gpu")
    return parser


def _diagnose(options: Namespace) -> None:
    import torch

    from tailor.diagnosis import describe
    from tailor.runs import RunFolder, diagnose, summary, trained

    folder = RunFolder(options.folder)
    trained(folder)  # what can't be judged is said before any data is read
    if options.threads:
        torch.set_num_threads(options.threads)
    workshop = _workshop(folder.path, "tailor.runs.diagnose(folder, workshop)", options.accelerator)
    print(describe(diagnose(folder, workshop)))
    print(f"\nreport: {summary(folder).report}")


def _workshop(run: Path, instead: str, accelerator: str = "cpu") -> "Workshop":
    """The workshop of a run that the command line has made."""
    from tailor.methods import Workshop

    config = _of_run(run / "config.yaml", instead)
    return Workshop(
        source=config.data,
        tasks=_tasks(config),
        backbone=config.network.make_backbone,
        decoder=config.network.make_decoder(),
        recipe=config.recipe,
        stages=run / "stages",
        accelerator=accelerator,
    )


def _of_run(file: Path, instead: str) -> RunConfig:
    """The config of a run that the command line has made."""
    if "class_path" not in yaml.safe_load(file.read_text())["data"]:
        raise ValueError(
            f"{file.parent} was run from Python, and {file.name} can't make its data again: call {instead} from there"
        )
    parser = _run_parser()
    options = parser.instantiate(parser.parse_args(["-c", str(file)]))
    return RunConfig(**{name: options[name] for name in _FIELDS})


def _report_parser() -> ArgumentParser:
    parser = _Parser(description="Write the report of a run, ended or not.")
    parser.add_argument("folder", type=str, help="a run's folder")
    return parser


def _report(options: Namespace) -> None:
    from tailor.runs import RunFolder, summary

    folder = RunFolder(options.folder)
    folder.config()
    print(summary(folder).report)


def _taps_parser() -> ArgumentParser:
    parser = _Parser(description="List where decoders can be attached to a backbone.")
    parser.add_class_arguments(Architecture, None, skip={"decoder", "decoder_width"})
    parser.add_argument("--size", type=tuple[int, int], default=(64, 64), help="height and width of an image")
    return parser


def _taps(options: Namespace) -> None:
    import torch

    from tailor.models import taps

    network = Architecture(options.backbone, options.width, options.output_stride)
    candidates = taps(network.make_backbone(), torch.zeros(1, 3, *options.size))
    width = max(len(tap.name) for tap in candidates)
    print(f"{'tap':<{width}}  channels  stride")
    for tap in candidates:
        print(f"{tap.name:<{width}}  {tap.channels:>8}  {tap.stride:>6}")


def _compact_parser() -> ArgumentParser:
    parser = _Parser(
        description="Remove what is dead from a trained multi-task network of a run, and save the small network in a "
        "folder that needs neither the run nor its data. A run that ends has done so with --study.round_to already."
    )
    parser.add_argument("folder", type=str, help="a run's folder")
    parser.add_argument("--method", type=str, default="", help="whose network; by default the study's last")
    parser.add_argument("--round-to", type=int, default=1, help="keep channel counts at multiples of this, as 8 or 16")
    parser.add_argument("--out", type=str, default="small", help="folder for the network")
    parser.add_argument("--overwrite", action="store_true", help="write into --out even if it holds something")
    return parser


def _compact(options: Namespace) -> None:
    from tailor.runs import RunFolder, compact

    folder = RunFolder(options.folder)
    folder.config()
    workshop = _workshop(folder.path, "tailor.runs.compact(folder, workshop, out)")
    how = {name: options[name] for name in ("out", "method", "round_to", "overwrite")}
    print(f"{compact(folder, workshop, **how)}\nwritten to {options.out}")


def _export_parser() -> ArgumentParser:
    parser = _Parser(
        description="Write networks as ONNX files, normalization inside, and check each in ONNX Runtime. Prints the "
        "largest error of every output."
    )
    parser.add_argument("models", type=str, nargs="+", help="runs, folders of save_pretrained")
    parser.add_argument("--out", type=str, default="onnx", help="folder for the files")
    parser.add_argument(
        "--int8", action="store_true", help="of one run: 8-bit files too, calibrated and measured on the run's data"
    )
    return parser


def _export(options: Namespace) -> None:
    from tailor.runs import RunFolder
    from tailor.runs.export import export

    source = None
    if options.int8:
        if len(options.models) > 1:
            raise ValueError(f"--int8 wants one run, for its data, not {len(options.models)} models: call it for each")
        folder = RunFolder(options.models[0])
        folder.config()
        source = _workshop(folder.path, "tailor.runs.export.export(paths, out, source)").source
        source.setup("fit")
    for done in export(options.models, options.out, source):
        print(done, flush=True)


def _predict_parser() -> ArgumentParser:
    parser = _Parser(
        description="Write what a saved network says of pictures: class maps with a legend, depth in millimetres "
        "(16-bit PNG) and as colours, normals, edges, classes and numbers (JSON, CSV). about.json says what is what."
    )
    parser.add_argument("pictures", type=str, help="a picture of any size and kind, or a folder of them")
    parser.add_argument("--model", type=str, required=True, help="a run, a folder of save_pretrained, an .onnx file")
    parser.add_argument("--out", type=str, default="predictions", help="folder for the predictions")
    parser.add_argument("--overwrite", action="store_true", help="write into --out even if it holds something")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu or cuda; ONNX Runtime uses the cpu")
    return parser


def _predict(options: Namespace) -> None:
    import torch

    from tailor.export import open_model
    from tailor.prediction import predict
    from tailor.runs import saved

    on_gpu = options.device == "auto" and torch.cuda.is_available()
    device = "cuda" if on_gpu else "cpu" if options.device == "auto" else options.device
    done = predict(
        options.pictures,
        open_model(saved([options.model])[-1]),
        options.out,
        device=device,
        overwrite=options.overwrite,
    )
    print(done, file=sys.stderr if done.bad else sys.stdout)
    if done.bad:
        raise ValueError(f"{len(done.bad)} of {len(done.bad) + len(done.values)} pictures were left out, see above")


def _bench_parser() -> ArgumentParser:
    parser = _Parser(
        description="Measure saved networks side by side in one process, turn by turn: parameters, multiply-"
        "accumulates, peak memory, latency. Prints a table; --out gets bench.json and, where a model knows its "
        "Δm, a plot of quality against latency."
    )
    parser.add_argument("models", type=str, nargs="+", help="runs, folders of save_pretrained, .onnx files")
    parser.add_argument("--out", type=str, default="bench", help="folder for bench.json and bench.svg")
    parser.add_argument(
        "--backends",
        type=str,
        nargs="+",
        default=["eager", "channels_last", "bf16", "onnxruntime"],
        help="ways to run; bf16 is slow where the processor has no instructions for it",
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8], help="images a pass")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads")
    parser.add_argument("--repeats", type=int, default=50, help="timed rounds")
    parser.add_argument("--seconds", type=float, default=10.0, help="what is slower than this in all rounds runs less")
    parser.add_argument("--size", type=tuple[int, int] | None, default=None, help="height and width, else the models'")
    return parser


def _bench(options: Namespace) -> None:
    from tailor.evaluation.bench_table import bench_table
    from tailor.export import names_of
    from tailor.runs import saved
    from tailor.runs.bench import bench_models

    how = {name: options[name] for name in ("size", "backends", "batches", "threads", "repeats", "seconds")}
    print(bench_table(bench_models(names_of(saved(options.models)), options.out, **how)))
    print(f"\nwritten to {options.out}")
