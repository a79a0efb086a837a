"""The whole evidence on NYU-Depth-v2: every network of the protocol, three seeds or six, one command.

    python benchmarks/nyuv2.py --root DIR            # again = continue; several at once share the work
    python benchmarks/nyuv2.py --root DIR --only multi_task,lomt
    python benchmarks/nyuv2.py --table               # what the committed results say, without data

Every network's result is one JSON file under --results the moment it ends (config, seed, versions, losses and metrics
of validation and test); weights stay under --out. A result that is there already, from whichever machine, is not
trained again. λ and taps are chosen on validation alone; the test split is touched once for each network, at its end.
"""

import argparse
import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from group_pruner import group_pruner
from nyuv2_table import BASELINE, COMBINATIONS, CONVENTIONAL, DENSE, deploy, network_of, table

from lomt.data import NYUv2
from lomt.diagnosis import describe
from lomt.evaluation import evaluate
from lomt.evaluation.environment import environment
from lomt.files import write_atomically
from lomt.methods import METHODS, Method, Parallel, Refit, Result, Setup, Stage, Study, Train, follow
from lomt.methods.layers import layers, sparse
from lomt.methods.select import Select
from lomt.methods.selector import Search
from lomt.methods.single_task import dense
from lomt.models import Architecture
from lomt.runs import RunFolder, diagnose
from lomt.selection import DeepestActive, TapSearch
from lomt.tasks import Depth, Edges, Normals, Segmentation
from lomt.training import Progress, Recipe

SEEDS = (0, 1, 2)
MORE_SEEDS = (3, 4, 5)
"""Of the two dense shared networks, however balanced: three seeds know their difference to ±1.2 points and, with
geometric balancing, to ±0.4. When that was known, and before a fourth was trained, six were fixed upon, no more.
"""
RULE = DeepestActive(threshold=0.05, at="block")
"""The paper's 1 % is for layers of up to 2048 channels; of the 32 to 256 here it would be one channel, or less. Its
taps are outputs of convolutions, before the shortcut; a block's output was better on validation, see docs/lomt.md."""
TASKS = [Segmentation("seg", 13), Depth("depth"), Normals("normals"), Edges("edges")]
RIVAL, KEPT = "group_pruner", (0.35, 0.2, 0.1)
"""Torch-Pruning's group pruner on the conventional network, and shares of its multiply-accumulates to keep."""
GEOMETRIC = "geometric"
"""What the diagnosis proposes against imbalance: the dense networks, balanced in another way than the recipe has it."""
SPARSE = ("sparse_multi_task", "sparse_lomt")
SELECTOR, HARDENED, SEARCH = "selector", "hardened", TapSearch(finish="harden")
"""Fresh networks at the taps that the selecting layer found in one training of the first seed; and the network that
selected, without what is dead, of each seed. Both balanced geometrically."""
CONTROL = "control"
Line = tuple[str, Callable[[], Method]]
"""A name for ``--only``, and what makes the stages."""
POLL = 20.0
"""Seconds until a process that waits for another one's network looks again."""


def options() -> argparse.Namespace:
    """The command line; its defaults are the protocol for a machine without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--root", help="folder of the data set")
    add("--out", default="runs/nyuv2-protocol", help="weights and checkpoints")
    add("--results", default="benchmarks/results/nyuv2/96x128", help="one JSON file a network; to be committed")
    methods = ", ".join(
        (BASELINE, "sparse", *DENSE, *SPARSE, SELECTOR, HARDENED, RIVAL, GEOMETRIC, CONTROL, COMBINATIONS)
    )
    add("--only", default="", help=f"methods, comma-separated: {methods}; none: judge what is there")
    add("--trials", type=int, default=3, help="sparse trainings a task that decide on its tap")
    add("--table", action="store_true", help="train nothing; write the tables of the results that are there")
    add("--size", type=int, nargs=2, default=(96, 128), metavar=("HEIGHT", "WIDTH"))
    add("--backbone", default="resnetd18")
    add("--width", type=int, default=32)
    add("--decoder-width", type=int, default=64)
    add("--epochs", type=int, default=30)
    add("--precision", default="32-true", choices=("32-true", "bf16-mixed"))
    add("--accelerator", default="cpu", choices=("cpu", "gpu"))
    add("--threads", type=int, default=1)
    return parser.parse_args()


def protocol(given: argparse.Namespace) -> dict[str, Any]:
    """What makes results comparable; a folder with another one is refused."""
    return {
        "data": {"name": "NYU-Depth-v2", "size": list(given.size), "classes": 13, "validation": 95, "batch_size": 16},
        "network": asdict(architecture(given)),
        "recipe": asdict(recipe(given)),
        "study": {
            "methods": [BASELINE, *DENSE, *SPARSE],
            "seeds": list(SEEDS),
            "path": asdict(Study().path),
            "rule": repr(RULE),
        },
    }


def architecture(given: argparse.Namespace) -> Architecture:
    """Output stride 8, as the paper has it."""
    return Architecture(given.backbone, given.width, 8, "deeplab", given.decoder_width)


def recipe(given: argparse.Namespace) -> Recipe:
    """The paper's uncertainty weighting; what another one changes is a line of its own."""
    return Recipe(epochs=given.epochs, precision=given.precision, balancing="uncertainty")


def make_setup(given: argparse.Namespace) -> Setup:
    """Data, networks, recipe."""
    data = NYUv2(given.root, size=tuple(given.size), batch_size=16, classes=13)
    data.setup()
    network, stages = architecture(given), RunFolder(given.out).stages
    made = network.make_backbone, network.make_decoder()
    return Setup(data, data.tasks, *made, recipe(given), stages, given.accelerator)


def lines(setup: Setup, given: argparse.Namespace) -> Iterator[Line]:
    """Everything that can go on by itself, most wanted first."""
    study = Study(seeds=SEEDS, trials=given.trials, rule=RULE)
    for task in setup.task_names:
        yield "sparse", partial(sparse, setup, replace(study, trials=1), task)
    yield from dense_lines(setup, study, SEEDS)
    for seed in SEEDS:
        yield SELECTOR, partial(selected, seed)
        for task in setup.task_names:
            yield "single_task", partial(alone, dense(setup, task, seed))
    for task in setup.task_names:
        yield "sparse", partial(sparse, setup, study, task)
    for method in SPARSE:
        yield method, partial(METHODS[method], setup, replace(study, seeds=SEEDS[:1]))
    for keep in KEPT:
        yield RIVAL, partial(rival, setup, study, keep)
    for seed in SEEDS:
        yield HARDENED, partial(alone, BalancedSearch.of(seed))
    yield from balanced_lines(setup, study, SEEDS)
    yield from some_tasks(setup, study, 2)
    yield from balanced_lines(setup, study, MORE_SEEDS)
    for number in range(len(SEEDS)):
        yield CONTROL, partial(control, setup, replace(study, seeds=SEEDS[: number + 1]))
    for method in SPARSE:
        yield method, partial(METHODS[method], setup, study)
    yield from dense_lines(setup, study, MORE_SEEDS)
    yield from some_tasks(setup, study, 3)


def dense_lines(setup: Setup, study: Study, seeds: Sequence[int]) -> Iterator[Line]:
    """The two dense networks for all tasks, both of a seed side by side."""
    for seed in seeds:
        for method in DENSE:
            plain = partial(Train, f"{method}/seed-{seed}", method, seed=seed)
            yield method, partial(together, setup, study, method, plain)


def balanced_lines(setup: Setup, study: Study, seeds: Sequence[int]) -> Iterator[Line]:
    """The same, balanced as the diagnosis proposes."""
    for seed in seeds:
        for method in DENSE:
            balanced = partial(Balanced, f"{GEOMETRIC}/{method}/seed-{seed}", f"{method}, {GEOMETRIC}", seed=seed)
            yield GEOMETRIC, partial(together, setup, study, method, balanced)


def some_tasks(setup: Setup, study: Study, number: int) -> Iterator[Line]:
    """The two dense networks for every combination of so many tasks, both of a combination side by side."""
    for names in combinations(setup.task_names, number):
        for method in DENSE:
            stage = f"{COMBINATIONS}/{'+'.join(names)}/{method}/seed-{SEEDS[0]}"
            training = partial(Train, stage, f"{method}, {' + '.join(names)}", seed=SEEDS[0])
            yield COMBINATIONS, partial(together, setup, study, method, training, names)


def alone(stage: Stage) -> Method:
    """A single stage."""
    return [(yield stage)]


class BalancedSearch(Search):
    """A search in which every loss is weighed by its own inverse."""

    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:
        """As any search."""
        balanced = replace(setup, recipe=replace(setup.recipe, balancing=GEOMETRIC))
        return super().run(balanced, folder, progress) | {"method": f"{SELECTOR}, {HARDENED}, {GEOMETRIC}"}

    @classmethod
    def of(cls, seed: int) -> "BalancedSearch":
        """That of a seed."""
        return cls(f"{SELECTOR}/{HARDENED}/seed-{seed}", seed, SEARCH)


class Balanced(Train):
    """A training in which every loss is weighed by its own inverse."""

    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:
        """As any training."""
        return super().run(replace(setup, recipe=replace(setup.recipe, balancing=GEOMETRIC)), folder, progress)


def selected(seed: int) -> Method:
    """A fresh network at the taps of the first seed's search."""
    found = yield BalancedSearch.of(SEEDS[0])
    return [(yield Balanced(f"{SELECTOR}/seed-{seed}", f"{SELECTOR}, {GEOMETRIC}", found["taps"], seed))]


def together(
    setup: Setup, study: Study, method: str, training: Callable[..., Stage], names: tuple[str, ...] = ()
) -> Method:
    """One dense network for all tasks or some; in a combination of tasks, taps are as all of them have them."""
    ends = dict.fromkeys(setup.task_names, setup.end)
    taps = ends if method == CONVENTIONAL else (yield from layers(setup, study))
    return [(yield training(taps={name: taps[name] for name in names or taps}))]


def rival(setup: Setup, study: Study, keep: float) -> Method:
    """The pruner's network of the first seed, trained on for as many epochs as ours was."""
    (start,) = yield from METHODS[CONVENTIONAL](setup, replace(study, seeds=SEEDS[:1]))
    (ours,) = yield from METHODS["sparse_lomt"](setup, replace(study, seeds=SEEDS[:1]))
    return (yield from group_pruner(start, keep, ours["since_dense"]))


def control(setup: Setup, study: Study) -> Method:
    """The conventional network of the last seed, trained on for as many epochs as ours was since it was dense.

    The study begins with the first seed, since its path gives ours of every seed the steps of λ.
    """
    *_, start = yield from METHODS[CONVENTIONAL](setup, study)
    *_, ours = yield from METHODS["sparse_lomt"](setup, study)
    search = replace(study.path, refit=ours["since_dense"] / setup.recipe.epochs)
    begin = {key: start[key] for key in ("stage", "taps", "seed")} | {"strengths": [0.0], "since_dense": 0}
    name = f"{CONTROL}/{CONVENTIONAL}/seed-{start['seed']}"
    return [(yield Refit(name, f"{CONVENTIONAL}, trained on", (begin,), search))]


def work(setup: Setup, given: argparse.Namespace, results: RunFolder) -> None:
    """Go on wherever something can go on, until everything has ended; other processes may do the same."""
    wanted = set(filter(None, given.only.split(",")))
    while True:
        waiting = [walk(make(), setup, results) for name, make in lines(setup, given) if name in wanted or not wanted]
        if not any(waiting):
            return
        time.sleep(POLL)


def walk(stages: Method, setup: Setup, results: RunFolder) -> bool:
    """Run the stages of one line; true where it must wait for a stage that another process is at."""

    def answer(asked: Stage | Parallel) -> Any:
        if isinstance(asked, Parallel):
            return [follow(one, answer) for one in asked.methods]
        result = None if isinstance(asked, Select) else known(results, asked)
        if result is None:
            with claimed(setup.stages / asked.name) as mine:
                if not mine:
                    raise _WaitError
                result = run(asked, setup, results)
        return result

    try:
        follow(stages, answer)
    except _WaitError:
        return True
    return False


class _WaitError(Exception):
    """Another process is at this stage."""


def known(results: RunFolder, stage: Stage) -> Result | None:
    """What is there already; refused where it was made with other taps, as more trials may have changed them."""
    result = results.result(stage.name)
    wanted = getattr(stage, "taps", None)
    if result and wanted and result["taps"] != dict(wanted):
        raise SystemExit(
            f"{results.stages / stage.name} was trained with the taps {result['taps']}, and the trials now say "
            f"{dict(wanted)}: move it away, there and under --out, to train it anew"
        )
    return result


def run(stage: Stage, setup: Setup, results: RunFolder) -> Result:
    """One stage; a network's result gets its test metrics and where it was made."""
    heavy = RunFolder(setup.stages.parent)
    result = None if isinstance(stage, Select) else known(heavy, stage)
    if result is None:
        said = [0.0]

        def report(done: float, text: str) -> None:
            if time.monotonic() - said[0] > 60:
                said[0] = time.monotonic()
                print(f"{time.strftime('%H:%M:%S')} {stage.name} {done:4.0%} {text}", flush=True)

        result = stage.run(setup, setup.stages / stage.name, report)
        heavy.write_result(stage.name, result)
    if "validation" in result:
        network = network_of(setup, result)
        learned = [task for task in setup.tasks if task.name in result["taps"]]
        loader = setup.source.test_dataloader()
        result = result | {"test": evaluate(network, loader, learned, setup.device)}
    result = result | {"environment": environment()}
    results.write_result(stage.name, result)
    if not isinstance(stage, Select):  # which is made anew whenever a process looks again
        print(f"{time.strftime('%H:%M:%S')} {stage.name} ended", flush=True)
    return result


def judge(setup: Setup, heavy: RunFolder, results: RunFolder) -> None:
    """Say which task loses in the dense shared networks, and why; needs the weights."""
    found = diagnose(heavy, setup, methods=DENSE)
    write_atomically(results.path / "diagnosis.txt", describe(found) + "\n")


@contextmanager
def claimed(place: Path) -> Iterator[bool]:
    """Whether this process may work at a stage; the claim ends with the process."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / ".claim").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True


def main() -> None:
    """Train what is missing, then write the table."""
    given = options()
    torch.set_num_threads(given.threads)
    results = RunFolder(given.results)
    results.claim(protocol(given))
    if not given.table:
        RunFolder(given.out).claim(protocol(given))
        setup = make_setup(given)
        work(setup, given, results)
        deploy(setup, results)
        judge(setup, RunFolder(given.out), results)
    text = table(results, TASKS, RULE)
    (results.path / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
