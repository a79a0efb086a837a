"""A path's steps at other learning rates: a dense network of the NYU-v2 protocol, trained on for seven epochs.

    python benchmarks/path_rate.py --root DIR --out runs/nyuv2-os8 --task depth 2e-3,1.5e-4 5e-4,6e-4

Each pair is a peak learning rate and a λ. Nothing is frozen on the way; validation loss and sparsity of every epoch are
printed. The dense network is the one that `benchmarks/nyuv2.py --only single_task` leaves under --out.
"""

import argparse
import sys
from dataclasses import replace

import nyuv2
import torch

from lomt.sparsity import GroupLasso
from lomt.training import fit

EPOCHS = 7


def main() -> None:
    """Train with each pair, from the same weights and with the same images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", help="learning rate and λ, as 5e-4,6e-4")
    parser.add_argument("--task", default="depth")
    parser.add_argument("--root", required=True)
    parser.add_argument("--out", required=True)
    asked = parser.parse_args()
    sys.argv = [sys.argv[0], "--root", asked.root, "--out", asked.out]
    torch.set_num_threads(1)
    setup = nyuv2.make_setup(nyuv2.options())
    for pair in asked.pairs:
        rate, strength = map(float, pair.split(","))
        network = setup.trained(f"single_task/{asked.task}/seed-0", {asked.task: setup.end}).train()
        recipe = replace(setup.recipe, epochs=EPOCHS, lr=rate)
        for row in fit(network, setup.source, recipe, penalty=GroupLasso(strength), seed=1001).history:
            loss, dead = row[f"val_loss/{asked.task}"], row["sparsity"]
            print(
                f"rate {rate:.1e}, λ {strength:.1e}, epoch {row['epoch']}: loss {loss:.3f}, dead {dead:.0%}", flush=True
            )


if __name__ == "__main__":
    main()
