"""Rules that choose experts of a model that was not trained for it."""

import pytest
import torch

from lomt.llm.adapters import find_ffns, rows
from lomt.llm.baselines import MoEfication, Predictor, RandomExperts, best, ffn_inputs, selecting
from lomt.llm.teal import calibrate_inputs, input_sparsity, thresholding
from tests.unit.llm.models import CAUSAL, FAMILIES, build, tokens

SIZE = 8
BATCHES = [{"input_ids": tokens(4, 20)}]


def values(ffn, x):
    """The values of an FFN's neurons, in float64."""
    x = x.double()
    up = x @ rows(ffn.up).double().T + (0 if ffn.up.bias is None else ffn.up.bias.double())
    if ffn.gate is None:
        return ffn.act(up)
    return ffn.act(x @ rows(ffn.gate).double().T + (0 if ffn.gate.bias is None else ffn.gate.bias.double())) * up


def test_the_best_scores_are_kept():
    scores = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 1.0, 2.0, 3.0]])
    assert best(scores, 0.5).tolist() == [[True, False, True, False], [False, False, True, True]]
    assert best(scores, 0).all()
    assert not best(scores, 1).any()
    with pytest.raises(ValueError, match=r"sparsity is 1.5: use a share of 0 to 1"):
        best(scores, 1.5)


@pytest.mark.parametrize("family", ["llama with biases", "gpt2"])
@torch.no_grad()
def test_moefication_keeps_the_experts_with_the_largest_outputs(family):
    ffn = find_ffns(build(family))[0]
    x = torch.randn(20, 32)
    outputs = values(ffn, x).unsqueeze(1) * torch.eye(8).repeat_interleave(SIZE, 1) @ rows(ffn.down).double().T
    norms = outputs.square().sum(-1)
    mask = MoEfication(ffn, SIZE).select(x, 0.75)
    for row, norm in zip(mask, norms, strict=True):
        assert row.nonzero().flatten().tolist() == sorted(sorted(range(8), key=lambda e: -norm[e])[:2])


def test_random_experts_are_as_many_for_each_token_others_each_time_and_all_as_often():
    selector = RandomExperts(find_ffns(build())[0], SIZE, seed=3)
    x = torch.zeros(4000, 32)
    first, second = selector.select(x, 0.75), selector.select(x, 0.75)
    assert (first.sum(1) == 2).all()
    assert not first.equal(second)
    torch.testing.assert_close(first.double().mean(0), torch.full((8,), 0.25).double(), rtol=0, atol=0.03)
    assert first.equal(RandomExperts(find_ffns(build())[0], SIZE, seed=3).select(x, 0.75))


def test_a_predictor_learns_what_moefication_knows():
    model = build()
    ffn = find_ffns(model)[0]
    x = torch.randn(3000, 32, generator=torch.Generator().manual_seed(0))
    learned = Predictor(ffn, SIZE, x[:2500], 0.5)
    with torch.no_grad():
        told, truth = learned.select(x[2500:], 0.5), MoEfication(ffn, SIZE).select(x[2500:], 0.5)
    assert (told.sum(1) == 4).all()
    assert (told & truth).sum() / truth.sum() > 0.6  # half by chance
    assert not any(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("family", CAUSAL)
@torch.no_grad()
def test_all_experts_kept_is_the_model_and_none_is_it_without_ffns(family):
    model = build(family)
    names = [ffn.name for ffn in find_ffns(model)]
    expected = model(**BATCHES[0]).logits
    with selecting(model, SIZE, dict.fromkeys(names, lambda x: torch.ones(len(x), 8, dtype=torch.bool))):
        torch.testing.assert_close(model(**BATCHES[0]).logits, expected)
    with selecting(model, SIZE, dict.fromkeys(names, lambda x: torch.zeros(len(x), 8, dtype=torch.bool))):
        without = model(**BATCHES[0]).logits
    assert model(**BATCHES[0]).logits.equal(expected)
    for ffn in find_ffns(model):
        rows(ffn.down).zero_()
    torch.testing.assert_close(model(**BATCHES[0]).logits, without)


@torch.no_grad()
def test_each_token_has_its_own_mask():
    model = build()
    masks = {ffn.name: torch.rand(80, 8) < 0.5 for ffn in find_ffns(model)}
    with selecting(model, SIZE, {name: lambda _, mask=mask: mask for name, mask in masks.items()}):
        told = model(**BATCHES[0]).logits
    for ffn in find_ffns(model):
        mask = masks[ffn.name].repeat_interleave(SIZE, 1).view(4, 20, 64)
        ffn.down.register_forward_pre_hook(lambda _, inputs, mask=mask: (inputs[0] * mask,))
    torch.testing.assert_close(model(**BATCHES[0]).logits, told)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "bert in chunks"])
def test_a_selector_sees_what_the_ffn_reads_without_padding(family):
    model = build(family)
    ids = tokens(2, 6)
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2])
    told = ffn_inputs(model, [{"input_ids": ids, "attention_mask": mask}])
    assert list(told) == [ffn.name for ffn in find_ffns(model)]
    assert all(x.shape == (10, 32) for x in told.values())
    alone = ffn_inputs(model, [{"input_ids": ids[1:, :4]}])
    for name, x in told.items():
        torch.testing.assert_close(x[6:], alone[name])


def test_without_tokens_nothing_is_learned():
    with pytest.raises(ValueError, match="hold no tokens"):
        ffn_inputs(build(), [])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_thresholds_leave_out_the_wanted_share_of_what_is_read(family):
    model = build(family)
    thresholds = calibrate_inputs(model, BATCHES, 0.6)
    parts = 3 if family == "llama" else 2
    assert len(thresholds) == 2 * parts
    assert input_sparsity(model, BATCHES, thresholds) == pytest.approx(0.6, abs=1e-3)
    assert input_sparsity(model, BATCHES, calibrate_inputs(model, BATCHES, 0)) < 0.01  # a GELU may be 0 by itself
    with pytest.raises(ValueError, match=r"sparsity is 1: use a share of 0 or more, below 1"):
        calibrate_inputs(model, BATCHES, 1)


@torch.no_grad()
def test_what_is_below_its_threshold_is_read_as_zero():
    model = build()
    ffn = find_ffns(model)[0]
    thresholds = {ffn.paths["gate"]: 0.5, ffn.paths["up"]: 0.5, ffn.paths["down"]: 2.0}
    x = torch.randn(5, 32)
    with thresholding(model, thresholds):
        told = ffn.holder(x)
    hidden = values(ffn, torch.where(x.abs() > 0.5, x, 0.0))
    expected = torch.where(hidden.abs() > 2, hidden, 0.0) @ rows(ffn.down).double().T
    torch.testing.assert_close(told, expected.float())
    assert not torch.allclose(ffn.holder(x), told)
