"""The whole method in one call: data and tasks in; taps, a table and a report out."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from lomt.data import Source
from lomt.files import write_atomically
from lomt.methods import Result, Setup, Study, experiment
from lomt.models import Architecture, MakeDecoder, Network
from lomt.runs.execute import execute
from lomt.runs.folder import RunFolder
from lomt.runs.plan import describe, plan
from lomt.runs.workers import possible
from lomt.sparsity import Penalty
from lomt.tasks import Task
from lomt.training import Recipe


@dataclass(frozen=True)
class RunResult:
    """What a run gave.

    Attributes:
        folder: where everything is.
        taps: the tap of each task; empty where no layer was chosen.
        table: the comparison on the test split, as Markdown.
        report: the HTML report.
        network: the trained network of the study's last multi-task method, of the first seed, in evaluation mode and
            before it was made small; None where no method makes one, and of a report alone.
    """

    folder: Path
    taps: dict[str, str]
    table: str
    report: Path
    network: Network | None = None


def run(
    tasks: Sequence[Task],
    data: Source,
    backbone: str | nn.Module | Callable[[], nn.Module] | None = None,
    *,
    out: str | Path,
    trials: int | None = None,
    penalty: Penalty | Literal["auto"] | None = None,
    network: Architecture | None = None,
    decoder: MakeDecoder | None = None,
    study: Study | None = None,
    recipe: Recipe | None = None,
    accelerator: str = "auto",
    threads: int = 0,
    workers: int = 1,
    show_progress: bool = True,
    config: Mapping[str, Any] | None = None,
) -> RunResult:
    """Learn which layer each task needs, build the network that gives it just that, train it, and prove it.

    After "Giving each task what it needs" (arXiv 2406.03048). The same call again goes on where it stopped.

    Args:
        tasks: what is learned, a part of the source's tasks or all of them.
        data: where samples come from.
        backbone: a built-in name, a callable that makes one, or a module, of which every network gets a copy with
            the same weights; in place of ``network.backbone``.
        out: the run's folder.
        trials: in place of ``study.trials``.
        penalty: in place of ``study.penalty``: a penalty with its λ, or "auto", which finds λ.
        network: backbone and decoders by name.
        decoder: makes a decoder from (channels, task); in place of ``network.decoder``.
        study: what is trained and compared.
        recipe: how every network is trained.
        accelerator: Lightning's name of the device.
        threads: processor threads while it runs, which rounding depends on; 0 takes those that the run began with, or
            torch's present number.
        workers: processes that train at the same time, each with one thread; figures don't depend on it.
        show_progress: show a bar, and a line for each stage that ends.
        config: what to record as the run's identity, beside threads and device; by default, the arguments.

    Raises:
        ValueError: an argument that names what is not there.
        RunFolderError: ``out`` holds another run, or the disk is full.
        TrainingDivergedError: a loss that is not finite.
        KeyboardInterrupt: Ctrl-C; the same call again goes on.
        Terminated: SIGTERM, the same; left alone, it ends the process with status 143.
    """
    network, study, recipe = network or Architecture(), study or Study(), recipe or Recipe()
    if isinstance(backbone, str):
        network = replace(network, backbone=backbone)
    if trials is not None:
        study = replace(study, trials=trials)
    if penalty is not None:
        study = replace(study, penalty=penalty)
    folder, device = RunFolder(out), _device(accelerator)
    with _threads(folder, threads, workers if device == "cpu" else 1) as count:
        data.setup()
        setup = Setup(
            source=data,
            tasks=tasks,
            backbone=network.make_backbone if backbone is None or isinstance(backbone, str) else _maker(backbone),
            decoder=decoder or network.make_decoder(),
            recipe=recipe,
            stages=folder.stages,
            accelerator=accelerator,
        )
        identity = (
            dict(config)
            if config
            else {
                "data": data.describe(),
                "tasks": [repr(task) for task in tasks],
                "network": asdict(network)
                | ({} if isinstance(backbone, str | None) else {"backbone": _name(backbone)}),
                "study": asdict(study) | {"rule": repr(study.rule), "penalty": repr(study.penalty)},
                "recipe": asdict(recipe),
            }
        )
        identity |= {"threads": count, "accelerator": device}
        workers = possible(workers, device, count)
        networks = execute(folder, identity, lambda: experiment(setup, study), setup, show_progress, workers)
        return replace(summary(folder), network=_network(networks, setup))


def dry_run(
    tasks: Sequence[Task],
    data: Source,
    *,
    network: Architecture,
    study: Study,
    recipe: Recipe,
    accelerator: str = "auto",
) -> str:
    """What :func:`run` would do with the same arguments: stages, networks, sizes, and how long each takes here."""
    setup = Setup(
        data, tasks, network.make_backbone, network.make_decoder(), recipe, stages=Path(), accelerator=accelerator
    )
    return describe(plan(experiment(setup, study), setup), setup)


def summary(folder: RunFolder) -> RunResult:
    """Write the report of a run, ended or not, and say what it gave so far."""
    from lomt.report import render

    report = folder.path / "report.html"
    write_atomically(report, render(folder.path))
    compared = folder.result("compare")
    chose = (result for result in folder.results().values() if "selections" in result)
    selected = folder.result("select") or next(chose, None)
    return RunResult(
        folder=folder.path,
        taps=selected["taps"] if selected else {},
        table=compared["table"] if compared else "",
        report=report,
    )


def _network(results: Sequence[Result], setup: Setup) -> Network | None:
    """What the run was made for."""
    together = [result for result in results if len(result["taps"]) > 1]
    first = next((one for one in together if one["method"] == together[-1]["method"]), None)
    return setup.trained(first["stage"], first["taps"]) if first else None


@contextmanager
def _threads(folder: RunFolder, asked: int, workers: int) -> Iterator[int]:
    """Compute with so many threads: as asked for, else as the run began, else one a worker, or torch's number."""
    before = torch.get_num_threads()
    begun = folder.config().get("threads", 0) if not asked and folder.begun() else 0
    torch.set_num_threads(asked or begun or (before if workers == 1 else 1))
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def _device(accelerator: str) -> str:
    """What "auto" stands for here."""
    if accelerator != "auto":
        return accelerator
    return "gpu" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _maker(backbone: nn.Module | Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return (lambda: copy.deepcopy(backbone)) if isinstance(backbone, nn.Module) else backbone


def _name(backbone: object) -> str:
    return (
        type(backbone).__name__
        if isinstance(backbone, nn.Module)
        else getattr(backbone, "__qualname__", repr(backbone))
    )
