"""No task worse than so much: taps and weights of losing tasks are changed until validation says that none loses."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace

from lomt.evaluation import Results, per_task
from lomt.methods.setup import Setup
from lomt.methods.single_task import dense
from lomt.methods.stage import Result, Stage
from lomt.methods.study import Study
from lomt.methods.train import Train
from lomt.sparsity import pattern

ROUNDS = 4
"""Changes to try before the best of what was tried is taken."""

HEAVIER = 2.0
"""Factor of the weight of a task that loses although its decoder is at the end."""


def constrained(setup: Setup, study: Study, trainings: Sequence[Train]) -> Generator[Stage, Result, list[Train]]:
    """Change taps and weights until no task loses more than the study allows, on validation, with the first seed.

    A task that loses too much gets a deeper tap, a block a round; one whose decoder is at the end already gets a
    larger weight. After :data:`ROUNDS` the network whose worst task loses least is taken.

    Args:
        setup: data and networks.
        study: says how much a task may lose.
        trainings: of the network as it was to be, one a seed.

    Returns:
        The trainings to take instead; the same ones where no task loses too much.
    """
    allowed = -100 * float(study.no_task_worse_than or 0)
    first = trainings[0]
    single: dict[str, Mapping[str, float]] = {}
    for task in first.taps:
        result = yield dense(setup, task, first.seed)
        single |= measured(result, [task])
    ladder = depths(setup)
    tried: list[tuple[float, Train]] = []
    training = first
    for number in range(ROUNDS + 1):
        result = yield training
        if "validation" not in result:  # a plan of what will be trained; nobody loses there
            return list(trainings)
        gains = per_task(measured(result, list(first.taps)), single, setup.tasks)
        tried.append((min(gains.values()), training))
        losers = [task for task, gain in gains.items() if gain < allowed]
        if not losers:
            break
        training = changed(training, losers, ladder, f"{first.name}/round-{number + 1}")
    _, best = max(tried, key=lambda one: one[0])
    return [
        one if best is first else replace(best, name=best.name.replace(first.name, one.name), seed=one.seed)
        for one in trainings
    ]


def measured(result: Result, tasks: Sequence[str]) -> Results:
    """The validation metrics that a training ended with, by task."""
    values = result.get("validation", {})
    return {
        task: {key.split("/", 1)[1]: value for key, value in values.items() if key.startswith(f"{task}/")}
        for task in tasks
    }


def changed(training: Train, losers: Sequence[str], ladder: Sequence[str], name: str) -> Train:
    """The training of a network with a deeper tap, or a larger weight, for every loser."""
    taps, weights = dict(training.taps), dict(training.weights)
    for task in losers:
        if taps[task] in ladder[:-1]:
            taps[task] = ladder[ladder.index(taps[task]) + 1]
        else:
            weights[task] = HEAVIER * weights.get(task, 1.0)
    return replace(training, name=name, taps=taps, weights=weights)


def depths(setup: Setup) -> list[str]:
    """Last convolutions of all blocks, then the end: the steps by which a tap goes deeper."""
    layers = pattern(setup.backbone(), setup.example).ranked
    return [*(layer.name for layer in layers if layer.block_end), setup.end]
