"""The microbenchmarks of the kernels on this machine's processor: python -m benchmarks.kernels [pytest's options].

Minutes on two cores. Ours and others run in turn in one process, one thread. Writes the results to
benchmarks/results/kernels (cpu.json; conv.json and ffn.json for convolutions and feed-forward networks), prints tables
and draws plots. A benchmark whose operation computes something else than the reference fails and measures nothing.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.kernels.table import RESULTS, condensed
from benchmarks.kernels.table import main as tables
from lomt.evaluation.environment import environment

# The allocator keeps what is freed, as it does for tensors of a training's size; with fresh pages at each call, the
# operating system's zeroing of them hides what is measured, for both sides alike.
KEEP = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "1000000000", "OMP_NUM_THREADS": "1"}


def main() -> int:
    """Run them; returns pytest's status."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:xdist",
            "benchmarks/kernels",
            "--benchmark-json",
            raw,
        ]
        command += ["--benchmark-disable-gc", "--benchmark-columns=median,iqr,rounds", *sys.argv[1:]]
        status = subprocess.run(list(map(str, command)), env=os.environ | KEEP).returncode
        if status:
            return status
        found = condensed(json.loads(raw.read_text()), str(environment()["processor"]), versions())
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in ("cpu", "conv", "ffn"):
        rows = [row for row in found["rows"] if _file(row) == name]
        if rows:
            (RESULTS / f"{name}.json").write_text(json.dumps(found | {"rows": rows}, indent=1) + "\n")
    tables()
    return 0


def _file(row: dict[str, Any]) -> str:
    return "conv" if "layer" in row else "ffn" if row["operation"] == "sparse_ffn" else "cpu"


def versions() -> dict[str, str]:
    """Of what is measured."""
    import torch

    from lomt_kernels import __version__, info

    native = info()["native"]
    return {
        "lomt_kernels": __version__,
        "torch": torch.__version__,
        "instructions": native.get("instruction_set", "none"),
        "compiler": native.get("compiler", "none"),
    }


if __name__ == "__main__":
    sys.exit(main())
