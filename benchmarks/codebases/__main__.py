"""Public multi-task codebases with converted convolutions: python -m benchmarks.codebases --at DIR.

DIR holds a clone of each, in a folder of the repository's name (``git clone URL DIR/NAME``; the script prints what is
missing). Nothing of them is kept here: networks, losses, optimizers and steps are imported from the clones, each in a
process of its own. For each:

- the lines that its user adds;
- the greatest relative difference between the losses of the network as it was and converted, in float64, with the
  codebase's own optimizer and, while channels die, with ProxAdamW on both sides; the control, a network whose weights
  are off by 1e-15, says how far a rounding error carries there;
- the time of a step with half of the input channels of every layer dead: float32, one thread, SGD that moves nothing,
  variants in turn, processor time, medians.

Writes benchmarks/results/kernels/codebases.json after each.
"""

import argparse
import ast
import copy
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from benchmarks.codebases.cases import CODEBASES, Case, Codebase
from benchmarks.codebases.clones import commit
from benchmarks.kernels.__main__ import KEEP
from lomt.evaluation.environment import environment
from lomt.nn import convert, freeze
from lomt.optim import ProxAdamW, parameter_groups
from lomt.sparsity import GroupLasso
from lomt_kernels import group_alive

RESULTS = Path(__file__).parents[1] / "results/kernels/codebases.json"
STEPS, DYING = 20, 5
DEAD = 0.5
RATE = 1e-3
"""Of ProxAdamW."""


def seeded() -> None:
    """Everything random, here and in what a codebase draws."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 – the codebases' own generator
    torch.manual_seed(0)


def built(codebase: Codebase, root: Path, batch: int, size: int, dtype: torch.dtype) -> tuple[Case, Tensor]:
    """A codebase's network and step in a dtype, and images."""
    torch.set_default_dtype(dtype)
    seeded()
    return codebase.build(root, batch, size), torch.randn(batch, 3, size, size)


def placed(codebase: Codebase, root: Path) -> list[str]:
    """The lines that a user adds, each with its place; raises if the script is none with them."""
    said = []
    scripts = {file: (root / file).read_text().splitlines() for file, *_ in codebase.changes}
    for file, after, line in reversed(codebase.changes):  # from below: numbers stay right
        around = [scripts[file][after - 1], next(filter(str.strip, scripts[file][after:]))]
        indent = min(len(each) - len(each.lstrip()) for each in around)
        scripts[file].insert(after, " " * indent + line)
        said.insert(0, f"{file}, after line {after}: {line}")
    for lines in scripts.values():
        ast.parse("\n".join(lines))
    return said


def dead_inputs(network: nn.Module) -> list[Tensor]:
    """Masks of each convolution's dead input channels."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    return [~group_alive(layer.weight.detach(), axis="in", groups=layer.groups) for layer in layers]


def curves(
    case: Case, images: Tensor, steps: int, optimizer: Callable[[nn.Module], Optimizer], control: bool
) -> dict[str, Any]:
    """Losses of the network as it was compared with it converted and, as a control, off by a rounding error."""
    networks = [copy.deepcopy(case.network), convert(copy.deepcopy(case.network))]
    if control:
        networks.append(copy.deepcopy(case.network))
        with torch.no_grad():
            for parameter in networks[-1].parameters():
                parameter.mul_(1 + 1e-15)
    losses = []
    for network in networks:
        seeded()
        step = case.step(network.train(), optimizer(network), images)
        losses.append([step() for _ in range(steps)])
    plain, converted = map(dead_inputs, networks[:2])
    differences = [max(abs(a - b) / abs(a) for a, b in zip(losses[0], other, strict=True)) for other in losses[1:]]
    channels = sum(mask.numel() for mask in plain)
    return {
        "steps": steps,
        "first and last loss": [losses[0][0], losses[0][-1]],
        "greatest relative difference": differences[0],
        **({"the same of the control": differences[1]} if control else {}),
        "input channels dead at the end": sum(int(mask.sum()) for mask in plain) / channels,
        "the same channels": all(map(torch.equal, plain, converted)),
    }


def timed(case: Case, images: Tensor, layout: torch.memory_format, rounds: int) -> dict[str, Any]:
    """Seconds of a step of each variant, half of the inputs of whose convolutions are dead; or why it has none."""
    images, plain = images.contiguous(memory_format=layout), copy.deepcopy(case.network).train()
    for layer in plain.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.in_channels > 3:
            with torch.no_grad():
                layer.weight[:, torch.randperm(layer.in_channels)[: round(DEAD * layer.in_channels)]] = 0
    plain.to(memory_format=layout)
    networks = {
        "unconverted": plain,
        "revived at every step": convert(copy.deepcopy(plain)),
        "frozen": freeze(convert(copy.deepcopy(plain))),
    }
    steps = {name: case.step(each, SGD(each.parameters(), lr=0.0), images) for name, each in networks.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + 1):
        for name, step in steps.items():
            begin = time.thread_time()
            try:
                step()
            except RuntimeError as error:
                if name == "unconverted":  # their own code's fault
                    return {"refused": str(error)}
                raise
            if round_:
                times[name].append(time.thread_time() - begin)
    return {name: [statistics.median(each), min(each), max(each)] for name, each in times.items()}


class _Said(logging.Handler):
    """What is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages += [record.getMessage()] if record.getMessage() not in self.messages else []


def measured(name: str, root: Path, rounds: int) -> dict[str, Any]:
    """All of one codebase."""
    codebase, said = CODEBASES[name], _Said()
    if (found := commit(root)) != codebase.commit:
        print(f"{name}: at {found}, and {codebase.commit} was tried", file=sys.stderr)
    logging.getLogger("lomt").addHandler(said)
    logging.getLogger("lomt").propagate = False
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # theirs
    lines = placed(codebase, root)
    case, images = built(codebase, root, *codebase.compared, torch.float64)
    own = curves(case, images, STEPS, case.optimizer, control=True)
    penalty = GroupLasso(codebase.strength)
    dying = curves(
        *(case, images, DYING, lambda network: ProxAdamW(parameter_groups(network, penalty), lr=RATE)), control=False
    )
    case, images = built(codebase, root, *codebase.timed, torch.float32)
    layouts = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    return {
        "codebase": name,
        "url": codebase.url,
        "commit": found,
        "what": codebase.what,
        "batch and size, compared": codebase.compared,
        "batch and size, timed": codebase.timed,
        "lines added": lines,
        "convolutions": sum(isinstance(layer, nn.Conv2d) for layer in case.network.modules()),
        "own optimizer": {"kind": type(case.optimizer(case.network)).__name__} | own,
        "ProxAdamW": {"strength": codebase.strength, "lr": RATE} | dying,
        "seconds of a step (median, least, most)": {
            layout: timed(case, images, format_, rounds) for layout, format_ in layouts.items()
        },
        "said": said.messages,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A row a codebase."""
    text = ["codebase | lines | own optimizer, control | ProxAdamW (dead) | faster: every step, frozen | channels_last"]
    for row in rows:
        faster = []
        for found in row["seconds of a step (median, least, most)"].values():
            names = ("revived at every step", "frozen")
            ratios = [f"{found['unconverted'][0] / found[name][0]:.2f}" for name in names if name in found]
            faster.append(", ".join(ratios) or "–")
        own, dying = row["own optimizer"], row["ProxAdamW"]
        curve = f"{dying['greatest relative difference']:.0e} ({dying['input channels dead at the end']:.0%})"
        same = f"{own['greatest relative difference']:.0e}, {own['the same of the control']:.0e}"
        cells = (row["codebase"], len(row["lines added"]), same, curve, *faster)
        text.append(" | ".join(map(str, cells)))
    return "\n".join(text)


def main() -> None:
    """Measure each codebase in a process of its own, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", type=Path, required=True, help="the folder of the clones")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=CODEBASES, help="measure this one, and write its row to --out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    if given.only:
        row = measured(given.only, (given.at / given.only).resolve(), given.rounds)
        given.out.write_text(json.dumps(row))
        return
    there = [name for name in CODEBASES if (given.at / name).is_dir()]
    for name in set(CODEBASES) - set(there):
        print(f"{given.at / name} is missing: git clone {CODEBASES[name].url} {given.at / name}", file=sys.stderr)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in there:
            out = Path(folder) / f"{name}.json"
            command = [sys.executable, "-m", "benchmarks.codebases", "--at", given.at, "--only", name, "--out", out]
            subprocess.run([*map(str, command), "--rounds", str(given.rounds)], env=os.environ | KEEP, check=True)
            rows.append(json.loads(out.read_text()))
            said = {"device": str(environment()["processor"]), "torch": torch.__version__, "dead": DEAD}
            given.out.write_text(json.dumps(said | {"rounds": given.rounds, "rows": rows}, indent=1) + "\n")
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
