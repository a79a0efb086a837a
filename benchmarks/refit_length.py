"""How long to refit: networks of LOMT's path in the NYU-v2 protocol, trained on without a penalty, on validation.

    python benchmarks/refit_length.py --root DIR --out runs/nyuv2-os8 2,7 3,7 3,15 4,30

Each pair is a step of the path and a number of epochs. Printed are Δm of the penalized network, its
multiply-accumulates once it is compacted, and Δm after the refit. The path is the one that
`benchmarks/nyuv2.py --only sparse_lomt` leaves under --out. What is trained here is removed in the end.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import nyuv2
import torch
from nyuv2_table import single, validation_delta

from lomt.compaction import compact
from lomt.evaluation import cost
from lomt.files import read_record
from lomt.methods import Refit, Study
from lomt.methods.path import networks_of
from lomt.methods.stage import AGAIN
from lomt.runs import RunFolder


def main() -> None:
    """Refit each, and say what it was and what it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", help="step and epochs, as 3,15")
    parser.add_argument("--root", required=True)
    parser.add_argument("--out", required=True)
    asked = parser.parse_args()
    sys.argv = [sys.argv[0], "--root", asked.root, "--out", asked.out]
    torch.set_num_threads(1)
    given = nyuv2.options()
    setup, path = nyuv2.make_setup(given), RunFolder(asked.out).result("path/lomt")
    if path is None:
        raise SystemExit(f"{asked.out} holds no path of LOMT: run benchmarks/nyuv2.py --only sparse_lomt first")
    alone = single(RunFolder(given.results), setup.tasks)
    candidates = {one["stage"]: one for one in networks_of(path)}
    for pair in asked.pairs:
        step, epochs = map(int, pair.split(","))
        sparse = candidates[f"path/lomt/step-{step}"]
        point = read_record(setup.stages / sparse["stage"] / "point.json", AGAIN)
        small = compact(setup.trained(sparse["stage"], sparse["taps"]), setup.example)
        before = validation_delta(point["validation"], alone, setup.tasks)
        search = replace(Study().path, refit=epochs / given.epochs)
        with tempfile.TemporaryDirectory(dir=setup.stages) as folder:
            stage = Refit(Path(folder).name, "refit", (sparse,), search)
            after = stage.run(setup, Path(folder), lambda *_: None)
        macs, delta = cost(small, setup.example).macs, validation_delta(after["validation"], alone, setup.tasks)
        print(
            f"λ {sparse['strengths'][-1]:.1e}, {macs / 1e6:.0f} M MACs: Δm {before:+.1f}, "
            f"after {epochs} epochs {delta:+.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
