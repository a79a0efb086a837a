"""Public multi-task codebases compacted and written to ONNX: python -m benchmarks.codebases.deployed --at DIR.

DIR holds the clones, as for benchmarks.codebases. Half of the input channels of every layer is dead; the network is
converted, frozen, compacted and exported. The error is the file's in ONNX Runtime against the network, the greatest of
all outputs. Writes benchmarks/results/kernels/deployed.json after each.
"""

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

import lomt
from benchmarks.codebases.__main__ import DEAD, RESULTS, built
from benchmarks.codebases.cases import CODEBASES
from benchmarks.codebases.clones import commit
from lomt.evaluation.environment import environment
from lomt.nn import convert, freeze


def deployed(name: str, root: Path) -> dict[str, Any]:
    """What compaction and export make of a codebase's network."""
    codebase = CODEBASES[name]
    case, images = built(codebase, root, *codebase.compared, torch.float32)
    net = case.network.eval()
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels > 3 and layer.groups == 1:
            with torch.no_grad():
                layer.weight[:, torch.randperm(layer.in_channels)[: round(DEAD * layer.in_channels)]] = 0
    small = lomt.compact(freeze(convert(net)), images)
    with tempfile.TemporaryDirectory() as folder:
        made = lomt.export.onnx(small, Path(folder) / "small.onnx", images)
    return {
        "codebase": name,
        "commit": commit(root),
        "parameters": [sum(p.numel() for p in each.parameters()) for each in (net, small)],
        "input": [str(size) for size in next(iter(made.inputs.values()))],
        "greatest relative error": max(made.errors.values()),
    }


def main() -> None:
    """Each in a process of its own; print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", type=Path, required=True)
    parser.add_argument("--one", choices=CODEBASES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        warnings.simplefilter("ignore")
        logging.getLogger("lomt").setLevel(logging.ERROR)
        torch.set_num_threads(1)
        print(json.dumps(deployed(options.one, options.at / options.one)))
        return
    rows = []
    for name in CODEBASES:
        command = [sys.executable, "-m", "benchmarks.codebases.deployed", "--at", str(options.at), "--one", name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or ["nothing was said"]
        rows.append(json.loads(said[-1]) if done.returncode == 0 else {"codebase": name, "failed": said[-1]})
        print(json.dumps(rows[-1]), flush=True)
        about = {"device": str(environment()["processor"]), "torch": torch.__version__, "dead": DEAD}
        RESULTS.with_name("deployed.json").write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
