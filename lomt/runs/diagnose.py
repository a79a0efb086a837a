"""Why tasks lose in a run's multi-task networks, measured on the networks that it holds."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch

from lomt.diagnosis import Found, Gradients, ProbeCurve, Standing, gradients, places, plain, probe, rules, standings
from lomt.diagnosis.probe import RATE, STEPS
from lomt.evaluation.environment import environment
from lomt.files import ready, write_record
from lomt.methods import Result, Setup
from lomt.runs.bar import Bar
from lomt.runs.folder import RunFolder
from lomt.runs.trained import Trained, trained
from lomt.training.seeds import Seeded

BATCHES = 8
"""Training batches over which gradients are compared."""
SEEDS = (0, 1, 2)
"""Probes of every task at every tap: their spread says whether a curve is flat."""
IMAGES = 4
"""Images a step of a probe."""
TAPS = 12
"""The most candidates for taps that are probed, evenly spread over the depth."""


def diagnose(
    folder: RunFolder, setup: Setup, show_progress: bool = True, methods: Sequence[str] = ()
) -> dict[str, Any]:
    """Judge every multi-task network of a run against its single-task networks; writes ``diagnosis.json``.

    All is judged on the training and validation splits; the test split is not touched. Gradients and probes are those
    of each method's first seed. The same run gives the same figures again.

    Args:
        folder: of a run with single-task and multi-task networks that have ended.
        setup: as the run was made with; :class:`lomt.methods.Setup`.
        show_progress: show a bar.
        methods: whose networks to judge; by default all multi-task networks of the run.

    Returns:
        The content of ``diagnosis.json``; :func:`lomt.diagnosis.describe` makes text of it.

    Raises:
        RunFolderError: where there is no run, or networks are missing; says which, and what command adds them.
    """
    begin = time.perf_counter()
    there = trained(folder).of(methods)
    ready(folder.path)
    setup.source.setup("fit")
    judged = {method: _standings(setup, there, method) for method in there.together}
    losing = {method: [one.task for one in those if one.loses] for method, those in judged.items()}
    lost = [name for name in setup.task_names if any(name in names for names in losing.values())]
    alone = {}
    networks = []
    steps = [f"probes of {task}, single-task" for task in lost]
    steps += [f"{what} of {method}" for method in judged for what in ("gradients", "probes")]
    with Bar(dict.fromkeys(steps, 1.0), (), show_progress) as bar:
        for task in lost:
            with bar.stage(f"probes of {task}, single-task", 1.0):
                alone[task] = _alone(setup, there, task)
        for method in judged:
            with bar.stage(f"gradients of {method}", 1.0):
                measured = _gradients(setup, there.together[method][0])
            with bar.stage(f"probes of {method}", 1.0):
                shared = _shared(setup, there, method, losing[method])
            results = there.together[method]
            found = Found(method, results, judged[method], measured, _weights(setup, results[0]), shared, alone)
            networks.append(found.record(folder.path, there.config))
    record = {
        "networks": networks,
        "missing": list(there.missing),
        "ended": folder.result("compare") is not None,
        "probes": {"steps": STEPS, "images": IMAGES, "rate": RATE, "seeds": list(SEEDS)},
        "rules": {name: value for name, value in vars(rules).items() if name.isupper()},
        "environment": environment(),
        "seconds": round(time.perf_counter() - begin, 1),
    }
    record = plain(record)
    write_record(folder.path / "diagnosis.json", record)
    return record


def _standings(setup: Setup, there: Trained, method: str) -> list[Standing]:
    names = there.together[method][0]["taps"]
    return standings([task for task in setup.tasks if task.name in names], there.together[method], there.alone)


def _gradients(setup: Setup, result: Result) -> Gradients:
    """On the batches that an epoch would begin with, augmented as in training, the same ones in every diagnosis."""
    network = setup.trained(result["stage"], result["taps"])
    loader = Seeded(setup.source.train_dataloader(), "diagnosis", 0)
    return gradients(network, islice(iter(loader), BATCHES), setup.device)


def _weights(setup: Setup, result: Result) -> dict[str, float]:
    """What the balancing made of each loss, times how much the task counts."""
    balanced, counts = result["validation"], result.get("weights", {})
    return {
        task.name: task.weight * counts.get(task.name, 1.0) * balanced[f"weight/{task.name}"]
        for task in setup.tasks
        if task.name in result["taps"]
    }


def _shared(setup: Setup, there: Trained, method: str, names: Sequence[str]) -> dict[str, ProbeCurve]:
    """Probes of the tasks that lose, on the features of the network that they lose in, up to its depth."""
    if not names:
        return {}
    result = there.together[method][0]
    network = setup.trained(result["stage"], result["taps"])
    tasks = [task for task in setup.tasks if task.name in names]
    taps = places(network, _candidates(setup, there))
    curves = probe(network, tasks, taps, _draw(setup), setup.source.val_dataloader(), SEEDS, setup.device)
    return {curve.task: curve for curve in curves}


def _alone(setup: Setup, there: Trained, name: str) -> ProbeCurve:
    """Probes of a task on the features of its own dense network, over the whole depth."""
    result = next(one for one in there.alone if name in one["taps"])
    network = setup.trained(result["stage"], result["taps"])
    tasks = [task for task in setup.tasks if task.name == name]
    taps = places(network, _candidates(setup, there))
    (curve,) = probe(network, tasks, taps, _draw(setup), setup.source.val_dataloader(), SEEDS, setup.device)
    return curve


def _candidates(setup: Setup, there: Trained) -> list[str]:
    """Where a selection rule could attach a task, and where tasks are attached; not too many, in execution order."""
    in_use = {tap for results in there.together.values() for tap in results[0]["taps"].values()}
    in_use |= {tap for result in there.alone for tap in result["taps"].values()}
    ends = [layer["end"] for layer in there.alone[0]["pattern"]["layers"] if layer["ranked"]]
    choosable = list(dict.fromkeys(ends))
    if len(choosable) > TAPS:
        choosable = [choosable[round(index * (len(choosable) - 1) / (TAPS - 1))] for index in range(TAPS)]
    wanted = in_use | set(choosable)
    return [tap.name for tap in setup.candidates if tap.name in wanted]


def _draw(setup: Setup) -> Callable[[int], Iterator[Mapping[str, torch.Tensor]]]:
    """Seed → batches of training images as they are, every image once before any comes again."""
    split = setup.source.split("train")

    def batches(seed: int) -> Iterator[Mapping[str, torch.Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        rounds = math.ceil(STEPS * IMAGES / len(split))
        order = torch.cat([torch.randperm(len(split), generator=generator) for _ in range(rounds)]).tolist()
        for step in range(STEPS):
            yield split.__getitems__(order[step * IMAGES : (step + 1) * IMAGES])

    return batches
