"""Perplexity on held-out text against FFN sparsity, LTE beside dense and every baseline, on the embedded model.

Run: OMP_NUM_THREADS=1 python -m benchmarks.llm.quality [--work runs/quality]
Each point is a file of benchmarks/results/llm/quality; points that are there are not made again, trainings continue.
All start from one pretrained model. LTE trains it further, in two stages; the dense control trains for as many steps
with the same learning rate, and all baselines, which need no training, are rules on top of that control. Held-out text
is asked for these figures only; settings were chosen on validation files. Seeds are of the order of the text.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from lomt.files import write_record
from lomt.llm import (
    LTETrainer,
    calibrate,
    from_pretrained,
    measure_sparsity,
    moefy,
    save_pretrained,
    set_sparsity,
    train,
)
from lomt.llm.adapters import find_ffns
from lomt.llm.baselines import MoEfication, Predictor, RandomExperts, ffn_inputs, selecting
from lomt.llm.corpus import library_tokens
from lomt.llm.perplexity import perplexity
from lomt.llm.recipe import HARD, ROUTER_LR, SOFT, train_dense, training_arguments
from lomt.llm.several import SeveralLTETrainer
from lomt.llm.teal import calibrate_inputs, input_sparsity, thresholding
from lomt.llm.text import Blocks
from lomt.llm.tiny import LENGTH, pretrain

RESULTS = Path(__file__).parents[1] / "results/llm/quality"
SIZE = 32
LEVELS = (0.3, 0.5, 0.7, 0.8, 0.9)
REPEATED = (0.5, 0.8)
SEVERAL = 0.7
"""The sparsity that the first stage is trained for where the second is for all."""

KNOBS = (0.5, 0.8)
"""Sparsities that checkpoints of one training are calibrated from, to all levels."""


class Study:
    """Models and texts that points share, made when first asked for.

    Args:
        work: folder of the trainings.
        test: held-out blocks.
        hard: steps of LTE's second stage.
    """

    def __init__(self, work: Path, test: int, hard: int) -> None:
        self.work = work
        self.hard = hard
        self.train = Blocks(library_tokens("train"), LENGTH)
        self.few = list(self.train.thinned(256).batches(32))
        self.test = list(Blocks(library_tokens("test"), LENGTH).thinned(test).batches(32))
        self._dense: dict[int, PreTrainedModel] = {}

    def base(self) -> PreTrainedModel:
        """The pretrained model."""
        return pretrain(self.work / "base", disable_tqdm=True)

    def dense(self, seed: int) -> PreTrainedModel:
        """The control, with as many further steps as LTE has; neurons in the order of experts."""
        if seed not in self._dense:
            args = training_arguments(self.work / f"dense-{seed}", SOFT + self.hard, seed=seed, disable_tqdm=True)
            self._dense = {seed: moefy(train_dense(self.base(), args, self.train), SIZE).eval()}
        return self._dense[seed]

    def lte(self, level: float, seed: int, kind: type[LTETrainer] = LTETrainer) -> PreTrainedModel:
        """Trained for one sparsity, or with its second stage at all of them."""
        folder = self.work / f"{'lte' if kind is LTETrainer else 'several'}-{level:.0%}-{seed}"
        if not (folder / "lte.json").is_file():
            args = training_arguments(folder / "stages", self.hard, seed=seed, disable_tqdm=True)
            model = moefy(self.base(), SIZE)
            how = {"target_sparsity": level, "soft": {"max_steps": SOFT}, "router_lr": ROUTER_LR}
            save_pretrained(train(model, args, trainer=kind, train_dataset=self.train, **how), folder)
        return from_pretrained(folder)


def dense(study: Study, _: float, seed: int) -> tuple[float, float]:
    """The control itself."""
    return perplexity(study.dense(seed), study.test), 0.0


def lte(study: Study, level: float, seed: int) -> tuple[float, float]:
    """A training for each sparsity."""
    return _gated(study, study.lte(level, seed))


def knob(
    study: Study, level: float, seed: int, trained: float, kind: type[LTETrainer] = LTETrainer
) -> tuple[float, float]:
    """One training, and a threshold for each sparsity."""
    model = study.lte(trained, seed, kind)
    if level:
        calibrate(model, study.few, [level])
    set_sparsity(model, level)
    return _gated(study, model)


def several(study: Study, level: float, seed: int) -> tuple[float, float]:
    """One training at all sparsities, and a threshold for each."""
    return knob(study, level, seed, SEVERAL, SeveralLTETrainer)


def teal(study: Study, level: float, seed: int) -> tuple[float, float]:
    """Thresholds on inputs."""
    model = study.dense(seed)
    thresholds = calibrate_inputs(model, study.few, level)
    with thresholding(model, thresholds):
        found = perplexity(model, study.test)
    return found, input_sparsity(model, study.test, thresholds)


def moefication(study: Study, level: float, seed: int) -> tuple[float, float]:
    """The experts with the largest values."""
    model = study.dense(seed)
    return _chosen(study, level, model, {ffn.name: MoEfication(ffn, SIZE) for ffn in find_ffns(model)})


def random(study: Study, level: float, seed: int) -> tuple[float, float]:
    """Any experts."""
    model = study.dense(seed)
    return _chosen(study, level, model, {ffn.name: RandomExperts(ffn, SIZE, seed) for ffn in find_ffns(model)})


def predictor(study: Study, level: float, seed: int) -> tuple[float, float]:
    """Those that a predictor takes for the ones with the largest values."""
    model = study.dense(seed)
    seen = ffn_inputs(model, study.few)
    chosen = {ffn.name: Predictor(ffn, SIZE, seen[ffn.name], level, seed) for ffn in find_ffns(model)}
    return _chosen(study, level, model, chosen)


BASELINES = {"moefication": moefication, "predictor": predictor, "random": random, "teal": teal}
METHODS: dict[str, Callable[[Study, float, int], tuple[float, float]]] = {
    "dense": dense,
    "lte": lte,
    "lte-several": several,
    **BASELINES,
    **{f"lte-from-{trained:.0%}": partial(knob, trained=trained) for trained in KNOBS},
}


def points() -> Iterator[tuple[str, float, int]]:
    """Method, sparsity and seed of all, those that say most first."""
    yield "dense", 0.0, 0
    for level in (0.5, 0.8):
        yield "lte", level, 0
        for name in BASELINES:
            yield name, level, 0
    for level in (0.9, 0.7, 0.3):
        yield "lte", level, 0
        for name in BASELINES:
            yield name, level, 0
    for trained in KNOBS:
        for level in (0.0, *LEVELS):
            yield f"lte-from-{trained:.0%}", level, 0
    for level in LEVELS:
        yield "lte-several", level, 0
    for seed in (1, 2):
        yield "dense", 0.0, seed
        for level in REPEATED:
            for name in ("lte", *BASELINES):
                yield name, level, seed


def main() -> None:
    """Make the points that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/quality"), help="folder of the trainings")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--test", type=int, default=480, help="blocks of 128 held-out bytes")
    parser.add_argument("--hard", type=int, default=HARD, help="steps of LTE's second stage; the control has more, too")
    parser.add_argument(
        "--only", nargs="+", default=list(METHODS), metavar="METHOD", help=", ".join(METHODS).replace("%", "%%")
    )
    parser.add_argument("--levels", type=float, nargs="+", default=[0, *LEVELS], help="sparsities")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    set_verbosity_error()
    disable_progress_bar()
    study = Study(arguments.work, arguments.test, arguments.hard)
    for name, level, seed in points():
        file = arguments.out / f"{name.replace('%', '')}-{100 * level:.0f}-{seed}.json"
        if file.is_file() or name not in arguments.only or level not in arguments.levels:
            continue
        begin = time.process_time()
        found, measured = METHODS[name](study, level, seed)
        print(f"{name:14} {level:4.0%} (measured {measured:6.2%}) seed {seed}: {found:.4f}", flush=True)
        record: dict[str, Any] = {
            "method": name, "sparsity": level, "seed": seed, "measured sparsity": measured, "perplexity": found,
            "loss": math.log(found), "steps": SOFT + arguments.hard, "held-out bytes": LENGTH * arguments.test,
            "processor seconds": time.process_time() - begin, "python": platform.python_version(),
            "torch": torch.__version__,
        }  # fmt: skip
        write_record(file, record)


def _gated(study: Study, model: PreTrainedModel) -> tuple[float, float]:
    shares = measure_sparsity(model, study.test)
    return perplexity(model, study.test), sum(shares.values()) / len(shares)


def _chosen(study: Study, level: float, model: PreTrainedModel, selectors: dict[str, Any]) -> tuple[float, float]:
    shares: list[float] = []

    def select(name: str, x: torch.Tensor) -> torch.Tensor:
        mask: torch.Tensor = selectors[name].select(x, level)
        shares.append(1 - float(mask.double().mean()))
        return mask

    with selecting(model, SIZE, {name: partial(select, name) for name in selectors}):
        found = perplexity(model, study.test)
    return found, sum(shares) / len(shares)


if __name__ == "__main__":
    main()
