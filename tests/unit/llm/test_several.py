"""A second stage at several sparsities."""

import torch

from lomt.llm import moefy, train
from lomt.llm.recipe import training_arguments
from lomt.llm.router import settings_of
from lomt.llm.several import SeveralLTETrainer
from lomt.llm.text import Blocks
from tests.unit.llm.models import build

DATA = Blocks(torch.arange(16 * 40) % 61, 16)


class Watched(SeveralLTETrainer):
    """Says which stage had which threshold in which step."""

    levels = (0.25, 0.5, 0.75)
    seen: list[tuple[str, int, float]] = []  # noqa: RUF012

    def compute_loss(self, *args, **options):
        self.seen.append((self.stage, self.state.global_step, settings_of(self.model).cut))
        return super().compute_loss(*args, **options)


def test_each_step_has_one_of_the_levels_for_all_its_micro_batches(tmp_path):
    Watched.seen.clear()
    options = {
        "disable_tqdm": True,
        "use_cpu": True,
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 2,
    }
    args = training_arguments(tmp_path, 12, **options)
    model = train(
        moefy(build(), 8), args, target_sparsity=0.5, soft={"max_steps": 2}, trainer=Watched, train_dataset=DATA
    )
    cuts = settings_of(model).levels
    assert set(cuts) >= set(Watched.levels)
    assert {cut for stage, _, cut in Watched.seen if stage == "soft"} == {0.0}
    drawn = [{cut for stage, at, cut in Watched.seen if (stage, at) == ("hard", step)} for step in range(12)]
    assert all(len(one) == 1 for one in drawn)
    assert len(set.union(*drawn)) == len(Watched.levels)
    # That of the target moves again once training has ended.
    assert set.union(*drawn) > {cuts[level] for level in Watched.levels if level != 0.5}
    assert settings_of(model).cut == cuts[0.5]
