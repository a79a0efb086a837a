"""What the results of the NYU-v2 protocol say: its table, and how small and fast its networks are when deployed."""

import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from group_pruner import PRUNED, pruned
from torch import nn

from lomt.compaction import compact
from lomt.evaluation import Row, Table, bench, cost, delta_m, paired_interval, per_task
from lomt.evaluation.formatting import count, number, spread
from lomt.evaluation.seeds import over_seeds
from lomt.export import contenders
from lomt.files import write_atomically
from lomt.methods import Result, Setup
from lomt.methods.compact import difference
from lomt.methods.select import choose
from lomt.methods.sparse_shared import ON_ITS_WAY
from lomt.runs import RunFolder
from lomt.selection import SelectionRule
from lomt.tasks import Task

BASELINE, CONVENTIONAL = "single_task", "multi_task"
DENSE = (CONVENTIONAL, "lomt")
ORDER = (BASELINE, "sparse", CONVENTIONAL, "lomt")
PAIRS = (
    *(("lomt", CONVENTIONAL), ("sparse_lomt", CONVENTIONAL), ("sparse_lomt", "lomt")),
    ("lomt", "lomt, taps at convolutions"),
    *(("sparse_lomt", "sparse_multi_task"), ("sparse_lomt", f"{CONVENTIONAL}, trained on")),
    ("lomt, geometric", f"{CONVENTIONAL}, geometric"),
    *(("selector, geometric", f"{CONVENTIONAL}, geometric"), ("selector, geometric", "lomt, geometric")),
    *(("lomt, geometric", "lomt"), (f"{CONVENTIONAL}, geometric", CONVENTIONAL)),
)
"""Methods whose Δm is compared, seed by seed."""
COMBINATIONS = "combinations"
"""Folder of the dense networks for two tasks or three, one seed: combinations/seg+depth/lomt/seed-0."""
DEPLOYED = "deployed.json"
ROUNDS = 60
IMAGES = 8


class Findings:
    """All test figures of a results folder, by method and seed; Δm is against the mean over single-task seeds."""

    def __init__(self, results: RunFolder, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.parts: dict[str, dict[int, list[Result]]] = defaultdict(lambda: defaultdict(list))
        self.combinations: dict[str, dict[str, Result]] = defaultdict(dict)
        for stage, result in results.results().items():
            if "test" in result and stage.startswith(f"{COMBINATIONS}/"):
                _, names, method, _ = stage.split("/")
                self.combinations[names][method] = result
            elif "test" in result and not result["method"].endswith(ON_ITS_WAY):
                self.parts[result["method"]][result["seed"]].append(result)
        # Several networks of one seed stand together if together they do all tasks; some of the tasks are no row.
        self.metrics = {
            method: {seed: merged for seed, parts in seeds.items() if len(merged := _merged(parts)) == len(tasks)}
            for method, seeds in self.parts.items()
        }
        alone = list(self.metrics.get(BASELINE, {}).values())
        self.single = {
            task.name: {metric: fmean(one[task.name][metric] for one in alone) for metric in task.headline}
            for task in tasks
            if alone
        }
        self.deltas = {
            method: {seed: delta_m(found, self.single, tasks) for seed, found in seeds.items()}
            for method, seeds in self.metrics.items()
            if method != BASELINE and alone
        }

    def methods(self) -> list[str]:
        """Those of which a seed is complete, the best known first."""
        complete = [name for name, seeds in self.metrics.items() if seeds]
        return sorted(complete, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))

    def first(self, method: str) -> list[Result]:
        """The networks of the method's first seed: other seeds have the same shape before they are compacted."""
        return self.parts[method][min(self.metrics[method])]


def _merged(parts: Sequence[Result]) -> dict[str, dict[str, float]]:
    return {task: values for part in parts for task, values in part["test"].items()}


def table(results: RunFolder, tasks: Sequence[Task], rule: SelectionRule) -> str:
    """Mean ± std over seeds, paired intervals of Δm, taps, and the deployed networks where they were measured."""
    found = Findings(results, tasks)
    rows = [
        Row(
            f"{method} ({len(found.metrics[method])})",
            list(found.metrics[method].values()),
            list(found.deltas.get(method, {}).values()),
            sum(part["parameters"] for part in found.first(method)),
            sum(part["macs"] for part in found.first(method)),
        )
        for method in found.methods()
    ]
    text = [
        "In brackets: seeds. Δm is against the mean over the single-task networks' seeds.",
        "",
        Table(tasks, rows).to_markdown(),
        "",
        *_intervals(found),
    ]
    text += [*_combinations(found), *_validation(results, tasks), *_taps(results, tasks, rule)]
    deployed = results.path / DEPLOYED
    if deployed.exists():
        text += ["", _deployed(json.loads(deployed.read_text()), found)]
    return "\n".join(text) + "\n"


def single(results: RunFolder, tasks: Sequence[Task]) -> dict[str, dict[str, float]]:
    """Validation metrics of the first seed's single-task networks, as far as they are there."""
    found: dict[str, dict[str, float]] = {}
    for result in results.results().values():
        if result.get("method") == BASELINE:
            found = _headline(result["validation"], [task for task in tasks if task.name in result["taps"]]) | found
    return found


def validation_delta(
    validation: Mapping[str, float], alone: Mapping[str, Mapping[str, float]], tasks: Sequence[Task]
) -> float:
    """Δm of a shared network on validation, which is what choices are made on."""
    return delta_m(_headline(validation, tasks), alone, tasks)


def _headline(validation: Mapping[str, float], tasks: Sequence[Task]) -> dict[str, dict[str, float]]:
    return {task.name: {metric: validation[f"{task.name}/{metric}"] for metric in task.headline} for task in tasks}


def _validation(results: RunFolder, tasks: Sequence[Task]) -> list[str]:
    """Δm on validation of every network of all tasks."""
    alone = single(results, tasks)
    there = [one for one in results.results().values() if "validation" in one and len(one["taps"]) == len(tasks)]
    if len(alone) < len(tasks):
        return []
    return [
        f"- on validation, {one['stage']}: Δm {validation_delta(one['validation'], alone, tasks):+.2f}"
        for one in there
        if one["method"] != BASELINE
    ]


def _taps(results: RunFolder, tasks: Sequence[Task], rule: SelectionRule) -> list[str]:
    """Each task's tap, what each of its trials would have chosen by itself, and how many of them it took."""
    lines = []
    found = results.results()
    for task in (one.name for one in tasks):
        trials = [found[stage] for stage in sorted(found) if stage.startswith((f"path/{task}", f"sparse/{task}/"))]
        if trials:
            one = choose(rule, {task: trials})["selections"][task]
            each = ", ".join(choice or "none" for choice in one["per_trial"])
            shares = ", ".join(f"{share:.0%} from {number}" for number, share in enumerate(one["agreement"], 1))
            lines.append(f"- tap of {task}: {one['tap']} (trials by themselves: {each}; choices that agree: {shares})")
            lines += [f"- {trial['stage']}: {_dead(trial, found, task)}" for trial in trials]
    return lines


def _dead(trial: Result, found: Mapping[str, Result], task: str) -> str:
    """How much of a sparse network is dead, and what its validation loss is against its dense network's."""
    dense, sparse = found[f"{BASELINE}/{task}/seed-{trial['seed']}"]["validation"], trial["validation"]
    text = f"{sparse['sparsity']:.0%} dead, loss {sparse[f'val_loss/{task}'] / dense[f'val_loss/{task}'] - 1:+.1%}"
    if trial.get("chosen") is None:
        return text
    return f"{text} ({trial['points'][trial['chosen']]['excess']:+.1%} against the path's reference)"


def _intervals(found: Findings) -> list[str]:
    lines = []
    for one, other in PAIRS:
        ours, theirs = found.deltas.get(one, {}), found.deltas.get(other, {})
        pairs = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]
        if len(pairs) > 1:
            interval, each = paired_interval(pairs), ", ".join(f"{pair:+.2f}" for pair in pairs)
            lines.append(
                f"- Δm of {one} minus {other}: {interval.mean:+.2f} points, 95 % interval {interval.low:+.2f} … "
                f"{interval.high:+.2f} ({len(pairs)} pairs of one seed: {each})"
            )
        elif pairs:
            lines.append(f"- Δm of {one} minus {other}: {pairs[0]:+.2f} points, one seed: no spread is known")
    return lines


def _combinations(found: Findings) -> list[str]:
    """LOMT against the conventional network for some of the tasks, and for all of them with the same seed."""
    everything = {method: found.first(method)[0] for method in found.methods() if method in DENSE}
    lines = []
    for names, pair in [*found.combinations.items(), ("all", everything)]:
        if not found.single or len(pair) < len(DENSE):
            continue
        theirs, ours = (pair[method] for method in DENSE)
        tasks = [task for task in found.tasks if task.name in ours["taps"]]
        delta, rivals = (delta_m(one["test"], found.single, tasks) for one in (ours, theirs))
        gains = (per_task(one["test"], found.single, tasks) for one in (theirs, ours))
        cells = (
            *(names.replace("+", " + "), f"{rivals:+.1f}", f"{delta:+.1f}", f"{delta - rivals:+.1f}"),
            *(f"{ours[what] / theirs[what]:.0%}" for what in ("parameters", "macs")),
            *(", ".join(f"{task} {gain:+.1f}" for task, gain in one.items()) for one in gains),
        )
        lines.append("| " + " | ".join(cells) + " |")
    head = [
        "| tasks | Δm of multi_task [%] | lomt | difference | parameters | MACs | multi_task by task | lomt by task |",
        "|---|" + "---:|" * 7,
    ]
    title = "Combinations of tasks, one seed; parameters and MACs are lomt's against multi_task's:"
    return ["", title, "", *head, *lines, ""] if len(lines) > 1 else []


def network_of(setup: Setup, result: Result) -> nn.Module:
    """The network that a stage has left, in evaluation mode; one of Torch-Pruning has a shape of its own."""
    place = setup.stages / result["stage"]
    return pruned(place) if (place / PRUNED).exists() else setup.trained(result["stage"], result["taps"])


def deploy(setup: Setup, results: RunFolder) -> None:
    """Compact the first seed's network of every method and time all of them in ONNX Runtime; needs the weights."""
    found = Findings(results, setup.tasks)
    networks, errors = {}, {}
    split = setup.source.test_dataloader().dataset
    images = split.__getitems__(list(range(IMAGES)))["image"]
    for method in found.methods():
        parts = found.first(method)
        if len(parts) > 1:
            continue
        network = network_of(setup, parts[0])
        networks[method] = compact(network, setup.example).eval()
        errors[method] = difference(network, networks[method], images)
    sizes = {method: cost(network, setup.example) for method, network in networks.items()}
    with tempfile.TemporaryDirectory() as folder:
        timed = bench(
            contenders(networks, folder, setup.example),
            setup.example,
            backends=["eager", "onnxruntime"],
            batches=(1,),
            threads=(1,),
            repeats=ROUNDS,
        )
    record: dict[str, Any] = {
        method: {
            "stage": found.first(method)[0]["stage"],
            "parameters": size.parameters,
            "macs": size.macs,
            "outputs_differ": errors[method],
            "milliseconds": {
                one.backend: {"median": one.median, "p95": one.p95} for one in timed.timings if one.model == method
            },
        }
        for method, size in sizes.items()
    }
    write_atomically(results.path / DEPLOYED, json.dumps({"networks": record, "machine": timed.machine}, indent=1))


def _deployed(stored: Mapping[str, Any], found: Findings) -> str:
    """Every compacted network beside the conventional one."""
    networks = stored["networks"]
    base = networks.get(CONVENTIONAL)
    lines = [
        "Compacted, the first seed's network, ONNX Runtime, batch 1, one thread:",
        "",
        "| network | Δm [%] ↑ | parameters ↓ | MACs ↓ | latency [ms] ↓ | p95 | times fewer | times faster |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for method, one in networks.items():
        time = one["milliseconds"]["onnxruntime"]
        deltas = list(found.deltas.get(method, {}).values())
        cells = [
            method,
            spread(over_seeds(deltas), signed=True) if deltas else "–",
            count(one["parameters"]),
            count(one["macs"]),
            number(time["median"]),
            number(time["p95"]),
        ]
        if base:
            cells += [
                f"{base['parameters'] / one['parameters']:.1f}",
                f"{base['milliseconds']['onnxruntime']['median'] / time['median']:.1f}",
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
