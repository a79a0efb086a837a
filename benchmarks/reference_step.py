"""Sparse trials with and without a step that has no penalty: python -m benchmarks.reference_step --root DIR.

The networks of `python -m benchmarks.selection --data nyuv2`: every task's trials, which take the steps that the path
has found bearable, trained once more from the same dense networks without the first of these steps, λ = 0. What that
costs or saves: validation loss, groups that are dead, the tap that `deepest-active` chooses, processor seconds. Writes
benchmarks/results/stages/reference_step.json, and prints it as a table; --table only prints it. And what λ the paths of
the protocol's committed results would have chosen, had the dense network's own loss been what they are compared with.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.selection import RULES, TRIALS, Judge, judge_of
from lomt.evaluation.environment import environment
from lomt.files import read_record, write_record
from lomt.methods import Result, Study
from lomt.methods.layers import evidence
from lomt.methods.sparsify import Sparsify, group_lassos
from lomt.runs import RunFolder
from lomt.sparsity import Pattern, Point, StrengthPath, excess

RESULTS = Path(__file__).parent / "results/stages/reference_step.json"
PATHS = Path(__file__).parent / "results/nyuv2/96x128/stages/path"
RULE = RULES["deepest-active"]


def said(judge: Judge, task: str, result: Result) -> dict[str, Any]:
    """What is compared of one trial."""
    pattern = Pattern.from_dict(result["pattern"])
    return {
        "strengths": result["strengths"],
        "loss": result["validation"][f"val_loss/{task}"],
        "dead": pattern.sparsity,
        "tap": RULE.choose([pattern]).tap,
        "seconds": round(60 * judge.cost({result["stage"]}), 1),
    }


def compared(judge: Judge) -> list[dict[str, Any]]:
    """Every trial but the paths', with the first step and without it."""
    study = Study(seeds=judge.setting.seeds, trials=TRIALS, rule=RULE, path=judge.setting.path)
    rows = []
    for task in judge.setup.task_names:
        for trial, result in enumerate(judge.all_of(evidence(judge.setup, study, task), set())):
            if trial == 0:
                continue
            dense = judge.result(judge.grid(task, judge.setting.taps[-1], result["seed"]))
            asked = Sparsify(
                f"without/{task}/trial-{trial}", result["method"], result["taps"], result["seed"], dense["stage"],
                group_lassos(result["strengths"][1:]), judge.setting.path,
            )  # fmt: skip
            rows.append(
                {
                    "task": task,
                    "trial": trial,
                    "dense": dense["validation"][f"val_loss/{task}"],
                    "with": said(judge, task, result),
                    "without": said(judge, task, judge.result(asked)),
                }
            )
    return rows


def table(record: Result) -> str:
    """The comparison, as Markdown."""
    lines = [
        "| task | trial | dense loss | with it | without | dead | dead | tap | tap | s | s |",
        "|---|--:|--:|--:|--:|--:|--:|---|---|--:|--:|",
    ]
    for row in record["rows"]:
        pair = row["with"], row["without"]
        losses = [f"{one['loss']:.4f} ({one['loss'] / row['dense'] - 1:+.1%})" for one in pair]
        cells = [*losses, *(f"{one['dead']:.0%}" for one in pair), *(str(one["tap"]) for one in pair)]
        cells += [f"{one['seconds']:.0f}" for one in pair]
        lines.append(f"| {row['task']} | {row['trial']} | {row['dense']:.4f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def rechosen() -> str:
    """Each single task's path: λ against the reference, and against the dense network."""
    lines = [
        "| task | λ | loss above the reference's | λ, by the dense network's loss | above it | above the reference's |"
    ]
    lines += ["|---|--:|--:|--:|--:|--:|"]
    for task in ("seg", "depth", "normals", "edges"):
        path = read_record(PATHS / task / "result.json", "train it anew")
        points = [Point(one["strength"], one["excess"], one["sparsity"]) for one in path["points"]]
        by_dense = [excess(one["val_loss"], path["dense"]) for one in path["points"]]
        other = [replace(point, excess=share) for point, share in zip(points, by_dense, strict=True)]
        found, instead = (StrengthPath(tolerance=path["tolerance"]).choose(some) for some in (points, other))
        cells = [f"{found.strength:.1e}", f"{points[found.index].excess:+.1%}", f"{instead.strength:.1e}"]
        cells += [f"{some[instead.index].excess:+.1%}" for some in (other, points)]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is missing, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="folder of NYU-Depth-v2")
    parser.add_argument("--out", type=Path, default=Path("runs/selection/nyuv2"), help="what the judge has trained")
    parser.add_argument("--table", action="store_true", help="print the committed results")
    given = parser.parse_args()
    if not given.table:
        torch.set_num_threads(1)
        judge = judge_of("nyuv2", given.root, RunFolder(given.out))
        write_record(RESULTS, {"environment": environment(), "rows": compared(judge)})
    print(table(read_record(RESULTS, "measure anew")), rechosen(), sep="\n\n")


if __name__ == "__main__":
    main()
