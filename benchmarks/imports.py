"""What imports cost, how soon commands begin, what each extra brings: python benchmarks/imports.py [--json FILE].

Each import and command in a process of its own, in turn, medians of five; sizes are those of what is installed here.
"""

import argparse
import importlib.metadata
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from packaging.requirements import Requirement

ROUNDS = 5
CORE = ["optim", "sparsity", "tasks", "models", "selection", "balancing", "compaction"]
EXTRAS = ["data", "training", "evaluation", "methods", "runs", "report", "diagnosis", "export", "prediction", "linear"]
COMMANDS = ["--version", "--help", "taps", "report /nowhere", "run --dry-run"]
HEAVY = ["torch", "lightning", "torchmetrics", "jsonargparse", "matplotlib", "scipy", "sklearn", "numba", "pandas"]
HEAVY += ["PIL", "jinja2", "yaml", "onnx", "onnxruntime"]
NAME = "lomt-kernels"


def seconds(commands: dict[str, list[str]]) -> dict[str, float]:
    """Median time of each command."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, capture_output=True)
            times[name].append(time.perf_counter() - begin)
    return {name: round(statistics.median(found), 2) for name, found in times.items()}


def loads(module: str) -> list[str]:
    """Which heavy libraries an import loads."""
    code = f"import sys, {module}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def brings(extra: str | None, below: frozenset[str] = frozenset()) -> dict[str, float]:
    """Every distribution that an extra needs, or that all need, with its megabytes here."""
    found: dict[str, float] = {}
    waiting = [(NAME, {extra} if extra else set())]
    while waiting:
        name, extras = waiting.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key != NAME and (key in found or key in below):
            continue
        if key != NAME:
            files = distribution.files or []
            found[key] = sum(Path(f.locate()).stat().st_size for f in files if Path(f.locate()).is_file()) / 1e6
        for text in distribution.requires or []:
            requirement = Requirement(text)
            wanted = [{"extra": one or ""} for one in extras or {""}]
            if requirement.marker is None or any(requirement.marker.evaluate(one) for one in wanted):
                waiting.append((requirement.name, set(requirement.extras)))
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    modules = ["torch", "lomt_kernels", "lomt", *(f"lomt.{room}" for room in CORE + EXTRAS)]
    imports = seconds({name: [sys.executable, "-c", f"import {name}"] for name in modules})
    commands = seconds({name: [sys.executable, "-m", "lomt", *name.split()] for name in COMMANDS})
    base = brings(None)
    extras = {
        name: brings(name, frozenset(base)) for name in ("triton", "report", "train", "cli", "export", "linear", "all")
    }
    print("| import | s | loads |\n|---|--:|---|")
    loaded = {name: loads(name) for name in modules}
    for name, spent in imports.items():
        print(f"| `{name}` | {spent:.2f} | {', '.join(loaded[name]) or '–'} |")
    print("\n| command | s |\n|---|--:|")
    for name, spent in commands.items():
        print(f"| `lomt {name}` | {spent:.2f} |")
    print("\n| extra | distributions | MB |\n|---|--:|--:|")
    for name, found in {"(none)": base, **extras}.items():
        print(f"| {name} | {len(found)} | {sum(found.values()):.0f} |")
    if asked.json:
        rows = {"imports_s": imports, "loads": loaded, "commands_s": commands}
        sizes = {
            name: {"distributions": sorted(found), "megabytes": round(sum(found.values()))}
            for name, found in {"(none)": base, **extras}.items()
        }
        asked.json.write_text(json.dumps(rows | {"extras": sizes}, indent=1) + "\n")


if __name__ == "__main__":
    main()
