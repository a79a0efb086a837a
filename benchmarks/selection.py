"""The judge of selections: what a rule's taps lose against the best ones, and what it costs to find them.

    python -m benchmarks.selection --data scenes                # again = continue
    python -m benchmarks.selection --data nyuv2 --root DIR
    python -m benchmarks.selection_table                        # what the committed results say

For every task and candidate tap a single-task network is trained; the tap with the lowest validation loss, in the mean
over the seeds, is the oracle's. Every rule chooses among the same candidates, on validation alone; a rule that knows
more layers is taken to the shallowest candidate that is at least as deep. One multi-task network is trained for each
distinct choice and seed; a rule's regret is what its Δm lies below that of the oracle's network of the same seed, on
the test split. Δm is against the single-task networks with their decoders at the end, of the same seed.

Costs are processor time, of a machine whose cores others share: what the epochs of the trainings that a rule asks for
have taken, dense ones that others need, too, among them.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from lomt.data import NYUv2, Scenes, Source
from lomt.evaluation import delta_m, evaluate, per_task
from lomt.evaluation.environment import environment
from lomt.files import write_record
from lomt.methods import Parallel, Result, Setup, Stage, Study, Train, choose, follow
from lomt.methods.layers import evidence
from lomt.methods.selector import Search
from lomt.models import Architecture
from lomt.runs import RunFolder
from lomt.selection import DeepestActive, Fixed, Mass, Probe, SelectionRule, TapSearch
from lomt.sparsity import StrengthPath
from lomt.training import Recipe

TRIALS = 3
SELECTOR, HARDENED = "selector", "selector, hardened"


@dataclass(frozen=True)
class Setting:
    """Data, networks, and the candidates of one comparison.

    Attributes:
        network: backbone and decoders.
        recipe: of every training.
        taps: the candidates, from shallow to deep; the last one is the backbone's end.
        seeds: each network is trained once with each.
        path: how the sparse trials' λ is found.
        search: how the selector looks for taps.
    """

    network: Architecture
    recipe: Recipe
    taps: tuple[str, ...]
    seeds: tuple[int, ...]
    path: StrengthPath
    search: TapSearch


SETTINGS = {
    # The demo's.
    "scenes": Setting(
        Architecture("resnetd18", 16, 16, "deeplab", 32),
        Recipe(epochs=6, lr=3e-3),
        ("layer1.1", "layer2.1", "layer3.0", "layer3.1", "layer4.0", "layer4.1"),
        (0, 1, 2),
        StrengthPath(start=5e-4, factor=3.0, steps=5, epochs=0.4, tolerance=0.05),
        TapSearch(width=32),
    ),
    # The protocol's, with half of its epochs, half of its images' sides, and one seed: so all of it takes an evening.
    "nyuv2": Setting(
        Architecture("resnetd18", 32, 8, "deeplab", 64),
        Recipe(epochs=15),
        ("layer1.1", "layer2.0", "layer3.1", "layer4.0", "layer4.1"),
        (0,),
        StrengthPath(),
        TapSearch(),
    ),
}

RULES: dict[str, SelectionRule] = {
    "deepest-active": DeepestActive(threshold=0.05, at="block"),
    "mass": Mass(at="block"),
    "probe": Probe(),
    "conventional": Fixed(1.0),
    "middle": Fixed(0.5),
}
"""Those that read what is trained for each task by itself, or nothing."""


def options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", choices=tuple(SETTINGS), default="scenes")
    add("--root", help="folder of NYU-Depth-v2")
    add("--out", help="weights and checkpoints; by default runs/selection/DATA")
    add("--results", default="benchmarks/results/selection", help="where DATA.json goes; to be committed")
    add("--threads", type=int, default=1)
    return parser.parse_args()


def source(name: str, root: str | None) -> Source:
    """The data, set up."""
    data = Scenes(train=640, batch_size=20) if name == "scenes" else NYUv2(root, size=(48, 64), batch_size=16)
    data.setup()
    return data


class Judge:
    """Trains what is missing, each stage once, and looks at it.

    Args:
        setting: of the comparison.
        setup: data and networks.
        folder: what has ended.
    """

    def __init__(self, setting: Setting, setup: Setup, folder: RunFolder) -> None:
        self.setting, self.setup, self.folder = setting, setup, folder

    def result(self, stage: Stage) -> Result:
        """One stage's; trained where it is not there yet."""
        found = self.folder.result(stage.name)
        if found is None:
            said = [0.0]

            def report(done: float, text: str) -> None:
                if time.monotonic() - said[0] > 60:
                    said[0] = time.monotonic()
                    print(f"{time.strftime('%H:%M:%S')} {stage.name} {done:4.0%} {text}", flush=True)

            begin = time.process_time()
            found = stage.run(self.setup, self.setup.stages / stage.name, report)
            found = {**found, "processor": round(time.process_time() - begin, 1)}
            self.folder.write_result(stage.name, found)
            print(f"{time.strftime('%H:%M:%S')} {stage.name} ended", flush=True)
        return found

    def all_of(self, method: Any, used: set[str]) -> Any:
        """What a method returns; the names of its stages go to ``used``."""

        def answer(asked: Stage | Parallel) -> Any:
            if isinstance(asked, Parallel):
                return [follow(one, answer) for one in asked.methods]
            used.add(asked.name)
            return self.result(self._shared(asked))

        return follow(method, answer)

    def _shared(self, stage: Stage) -> Stage:
        """The dense network of a task and seed is the grid's, trained once."""
        if isinstance(stage, Train) and stage.name.startswith("single_task/"):
            ((task, _),) = stage.taps.items()
            return self.grid(task, self.setting.taps[-1], stage.seed)
        return stage

    def grid(self, task: str, tap: str, seed: int) -> Train:
        """The single-task network of one task and tap."""
        return Train(f"grid/{task}/{tap}/seed-{seed}", "single_task", {task: tap}, seed)

    def oracle(self) -> dict[str, dict[str, float]]:
        """Task → tap → validation loss, the mean over the seeds; the ends first, which all else is compared with."""
        losses: dict[str, dict[str, list[float]]] = {task: {} for task in self.setup.task_names}
        for seed in self.setting.seeds:
            for tap in reversed(self.setting.taps):
                for task in self.setup.task_names:
                    result = self.result(self.grid(task, tap, seed))
                    losses[task].setdefault(tap, []).append(result["validation"][f"val_loss/{task}"])
        return {
            task: {tap: sum(by_tap[tap]) / len(by_tap[tap]) for tap in self.setting.taps}
            for task, by_tap in losses.items()
        }

    def ruled(self, rule: SelectionRule) -> tuple[dict[str, str], Result, set[str]]:
        """A rule's taps, what it says of each task, and the stages that it asked for."""
        used: set[str] = set()
        study = Study(seeds=self.setting.seeds, trials=TRIALS, rule=rule, path=self.setting.path)
        if rule.needs == "probes":
            study = replace(study, trials=1)
        tasks = self.setup.task_names
        trials = {task: self.all_of(evidence(self.setup, study, task), used) for task in tasks}
        if rule.needs == "probes":
            trials = {task: [self._candidates(one) for one in ones] for task, ones in trials.items()}
        said = choose(rule, trials)
        if rule.needs == "nothing":
            number = max(1, int(rule.depth * len(self.setting.taps) + 0.5))  # type: ignore[attr-defined]
            return dict.fromkeys(tasks, self.setting.taps[number - 1]), said, used
        return {task: self._snapped(tap) for task, tap in said["taps"].items()}, said, used

    def _candidates(self, probed: Result) -> Result:
        """A probing's losses on the candidates alone."""
        return {**probed, "losses": {tap: probed["losses"][tap] for tap in self.setting.taps}}

    def _snapped(self, tap: str | None) -> str:
        """The shallowest candidate that is at least as deep; nothing left taps the end."""
        blocks = self.setup.blocks
        deep = blocks.index(tap) if tap in blocks else len(blocks) - 1
        return next(one for one in self.setting.taps if blocks.index(one) >= deep)

    def search(self, seed: int) -> Result:
        """One training of the selecting network."""
        search = replace(self.setting.search, candidates=self.setting.taps)
        return self.result(Search(f"selector/seed-{seed}", seed, search))

    def shared(self, taps: Mapping[str, str], seed: int) -> Result:
        """The multi-task network with these taps."""
        key = "-".join(str(self.setting.taps.index(tap)) for tap in taps.values())
        return self.result(Train(f"shared/{key}/seed-{seed}", "shared", taps, seed))

    def tested(self, result: Result) -> dict[str, dict[str, float]]:
        """A network's metrics on the test split, computed once."""
        name = f"test/{result['stage']}"
        found = self.folder.result(name)
        if found is None:
            tasks = [task for task in self.setup.tasks if task.name in result["taps"]]
            network = self.setup.trained(result["stage"], result["taps"])
            found = evaluate(network, self.setup.source.test_dataloader(), tasks, self.setup.device)
            self.folder.write_result(name, found)
        return found

    def worth(self, result: Result) -> dict[str, Any]:
        """Δm of a network, of each task, too."""
        end, tasks = self.setting.taps[-1], self.setup.tasks
        singles = [self.tested(self.result(self.grid(task.name, end, result["seed"]))) for task in tasks]
        single = {task: metrics for one in singles for task, metrics in one.items()}
        values = self.tested(result)
        return {"mean": delta_m(values, single, tasks), "per_task": per_task(values, single, tasks)}

    def cost(self, stages: set[str]) -> float:
        """Processor minutes of the epochs of these stages."""
        return sum(self._spent(name) for name in stages) / 60

    def _spent(self, name: str) -> float:
        if name.startswith("single_task/"):
            _, task, seed = name.split("/")
            name = f"grid/{task}/{self.setting.taps[-1]}/{seed}"
        folder = self.folder.stages / name
        steps = sorted(folder.glob("step-*/metrics.csv")) or [*folder.glob("metrics.csv")]
        if not steps:
            return float((self.folder.result(name) or {}).get("processor", 0.0))
        return sum(_column(file, "processor") for file in steps)


def _column(file: Path, name: str) -> float:
    """Sum of a column of a history."""
    head, *rows = (line.split(",") for line in file.read_text().splitlines())
    place = head.index(name)
    return sum(float(row[place]) for row in rows if row[place])


def judge_of(name: str, root: str | None, folder: RunFolder) -> Judge:
    """The judge of a setting, whose data are set up."""
    setting, data = SETTINGS[name], source(name, root)
    made = setting.network.make_backbone, setting.network.make_decoder()
    return Judge(setting, Setup(data, data.tasks, *made, setting.recipe, folder.stages, "cpu"), folder)


def judged(judge: Judge) -> Iterator[dict[str, Any]]:
    """Every rule's taps, cost, and networks."""
    losses = judge.oracle()
    best = {task: min(by_tap, key=lambda tap: by_tap[tap]) for task, by_tap in losses.items()}
    seeds = judge.setting.seeds
    end = {f"grid/{task}/{tap}/seed-{seed}" for task in losses for tap in judge.setting.taps for seed in seeds}
    yield row(judge, "oracle", dict.fromkeys(seeds, best), judge.shared, end, {"losses": losses})
    for name, rule in RULES.items():
        taps, said, used = judge.ruled(rule)
        yield row(judge, name, dict.fromkeys(seeds, taps), judge.shared, used, said)
    found = {seed: judge.search(seed) for seed in seeds}
    said = {"selections": {seed: one["selections"] for seed, one in found.items()}}
    # A search's cost is that of one: each seed has its own, which shows how they differ.
    once = {f"selector/seed-{seeds[0]}"}
    yield row(judge, SELECTOR, {seed: one["taps"] for seed, one in found.items()}, judge.shared, once, said)
    kept: Callable[[Mapping[str, str], int], Result] = lambda _, seed: found[seed]  # noqa: E731
    yield row(judge, HARDENED, {seed: one["taps"] for seed, one in found.items()}, kept, once, {})


def row(
    judge: Judge,
    name: str,
    taps: Mapping[int, Mapping[str, str]],
    network: Callable[[Mapping[str, str], int], Result],
    used: set[str],
    said: Result,
) -> dict[str, Any]:
    """What there is to say of a rule."""
    networks = {seed: network(one, seed) for seed, one in taps.items()}
    return {
        "rule": name,
        "taps": {str(seed): dict(one) for seed, one in taps.items()},
        "trainings": len([one for one in used if not one.startswith("probe/")]),
        "minutes": round(judge.cost(used), 2),
        "delta_m": {str(seed): judge.worth(one) for seed, one in networks.items()},
        "parameters": {str(seed): one["parameters"] for seed, one in networks.items()},
        "macs": {str(seed): one["macs"] for seed, one in networks.items()},
        "minutes of its network": round(
            sum(judge.cost({one["stage"]}) for one in networks.values()) / len(networks), 2
        ),
        "said": said,
    }


def main() -> None:
    """Train what is missing, then judge."""
    given = options()
    torch.set_num_threads(given.threads)
    setting = SETTINGS[given.data]
    folder = RunFolder(Path(given.out or f"runs/selection/{given.data}"))
    folder.claim({"data": given.data, "network": asdict(setting.network), "recipe": asdict(setting.recipe)})
    rows = list(judged(judge_of(given.data, given.root, folder)))
    about = {"environment": environment(), "setting": {key: repr(value) for key, value in vars(setting).items()}}
    Path(given.results).mkdir(parents=True, exist_ok=True)
    write_record(Path(given.results) / f"{given.data}.json", {**about, "rows": rows})


if __name__ == "__main__":
    main()
