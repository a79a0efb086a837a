"""How small models are trained here."""

import pytest
import torch
from transformers import Trainer, set_seed

from lomt.llm.recipe import train_dense, training_arguments
from lomt.llm.text import Blocks
from lomt.llm.tiny import TINY, pretrain, tiny_model
from tests.unit.llm.models import build

DATA = Blocks(torch.arange(16 * 40) % 61, 16)


def arguments(out, **changes):
    return training_arguments(out, 4, **({"save_steps": 2, "disable_tqdm": True, "use_cpu": True} | changes))


def fresh():
    set_seed(0)
    return build()


class Killed(Trainer):
    """Ends in its third step."""

    def training_step(self, *args, **options):
        if self.state.global_step == 2:
            raise KeyboardInterrupt
        return super().training_step(*args, **options)


def test_a_killed_training_goes_on_and_ends_with_the_same_numbers_and_what_has_ended_is_taken(tmp_path):
    whole = train_dense(fresh(), arguments(tmp_path / "whole"), DATA).state_dict()
    with pytest.raises(KeyboardInterrupt):
        train_dense(fresh(), arguments(tmp_path / "killed"), DATA, Killed)
    assert (tmp_path / "killed/checkpoint-2").is_dir()
    rest = train_dense(fresh(), arguments(tmp_path / "killed"), DATA).state_dict()
    again = train_dense(build(seed=1), arguments(tmp_path / "killed"), DATA, Killed).state_dict()
    for name, value in whole.items():
        assert value.equal(rest[name]), name
        assert value.equal(again[name]), name
    assert not whole["lm_head.weight"].equal(build().state_dict()["lm_head.weight"])


def test_the_embedded_model_is_trained_on_the_library(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "lomt.llm.tiny.TINY", TINY | {"hidden_size": 24, "intermediate_size": 64, "num_hidden_layers": 1}
    )
    asked = []
    monkeypatch.setattr(
        "lomt.llm.tiny.library_tokens", lambda split: (asked.append(split), torch.arange(4096) % 256)[1]
    )
    model = pretrain(tmp_path, 2, disable_tqdm=True, use_cpu=True)
    assert asked == ["train"]
    assert not model.lm_head.weight.equal(tiny_model().lm_head.weight)


def test_the_embedded_model_has_experts_of_32_and_the_shape_that_is_said():
    model = tiny_model()
    assert sum(parameter.numel() for parameter in model.parameters()) == 688_800
    assert model.config.intermediate_size == 20 * 32
    assert tiny_model(seed=1).lm_head.weight.ne(model.lm_head.weight).any()
