"""One checkpoint for several speeds: a second stage that trains at all of them."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from torch import Tensor

from lomt.llm.stages import CALIBRATION
from lomt.llm.thresholds import LEVELS, calibrate, set_sparsity
from lomt.llm.trainer import LTETrainer


class SeveralLTETrainer(LTETrainer):
    """:class:`lomt.llm.LTETrainer` whose second stage draws one of :attr:`levels` for each optimizer step.

    Of a model that is trained at one sparsity, a moved threshold closes experts that it has never been without, and
    opens some that it has never had: far from that sparsity it is worse than a model that was not trained for any.
    Here it meets them all. Calibrate all of them anew when training has ended.
    """

    levels = LEVELS

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.stage == "hard":
            calibrate(self.model, islice(self.get_eval_dataloader(self.train_dataset), CALIBRATION), self.levels)

    def training_step(self, *args: Any, **options: Any) -> Tensor:
        """A micro-batch; all of an optimizer step at the same level, which a training that goes on draws again."""
        if self.stage == "hard":
            generator = torch.Generator().manual_seed(self.args.seed * 1_000_003 + self.state.global_step)
            set_sparsity(self.model, self.levels[int(torch.randint(len(self.levels), (), generator=generator))])
        return super().training_step(*args, **options)
