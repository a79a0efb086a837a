import math

import pytest
import torch

from lomt.llm import calibrate, measure_sparsity, moefy, set_sparsity, sparsify
from lomt.llm.router import settings_of
from tests.unit.llm.models import build, gated, tokens

BATCHES = [{"input_ids": tokens(4, 16, seed)} for seed in range(3)]


def overall(model):
    shares = measure_sparsity(model, BATCHES)
    return sum(shares.values()) / len(shares)


def test_each_level_closes_its_share_of_gates():
    model = moefy(build(), 8)
    cuts = calibrate(model, BATCHES, [0.3, 0.5, 0.9])
    assert list(cuts.values()) == sorted(cuts.values())
    for level in cuts:
        set_sparsity(model, level)
        assert overall(model) == pytest.approx(level, abs=0.02)


def test_one_layer_may_close_more_than_another():
    model = moefy(build(), 8)
    with torch.no_grad():
        model.model.layers[0].mlp.router.bias.add_(1)
    calibrate(model, BATCHES, [0.5])
    set_sparsity(model, 0.5)
    first, second = measure_sparsity(model, BATCHES).values()
    assert first < 0.45 < 0.55 < second


def test_calibration_leaves_the_model_as_it_runs():
    model = moefy(build(), 8)
    calibrate(model, BATCHES, [0.5])
    assert (settings_of(model).mode, settings_of(model).cut) == ("dense", 0.0)
    set_sparsity(model, 0.5)
    before = settings_of(model).cut
    calibrate(model, BATCHES, [0.8])
    assert settings_of(model).cut == before
    assert set(settings_of(model).levels) == {0.5, 0.8}


@torch.no_grad()
def test_the_knob_turns_on_a_sparse_model_too_and_0_is_dense():
    dense = build()(tokens()).logits
    model = sparsify(gated())
    half = model(tokens()).logits
    set_sparsity(model, 0)
    assert settings_of(model).cut == -math.inf
    torch.testing.assert_close(model(tokens()).logits, dense, rtol=1e-4, atol=1e-4)
    set_sparsity(model, 0.5)
    assert torch.equal(model(tokens()).logits, half)


def test_padding_has_no_say():
    ids = BATCHES[0]["input_ids"]
    padded = {
        "input_ids": torch.cat([ids, torch.zeros(4, 9, dtype=torch.long)], 1),
        "attention_mask": (torch.arange(25) < 16).long().expand(4, 25),
    }
    plain, masked = (calibrate(moefy(build(), 8), [batch], [0.5])[0.5] for batch in (BATCHES[0], padded))
    assert masked == pytest.approx(plain, abs=1e-5)


def test_the_threshold_as_a_share():
    settings = settings_of(moefy(build(), 8))
    assert settings.threshold == 0.5
    settings.cut = 2.0
    assert settings.threshold == pytest.approx(1 / (1 + math.exp(-2)))
    settings.cut = -math.inf
    assert settings.threshold == 0


@pytest.mark.parametrize("level", [0, 1, -0.1, 50, float("nan")])
def test_a_level_out_of_range(level):
    with pytest.raises(ValueError, match=r"level is .*: use shares of experts above 0 and below 1"):
        calibrate(moefy(build(), 8), BATCHES, [level])


def test_a_level_that_was_not_calibrated():
    model = gated()
    with pytest.raises(ValueError, match=r"sparsity 0.55 is not calibrated \(there are 0, 0.5\): calibrate\("):
        set_sparsity(model, 0.55)


def test_no_tokens():
    model = moefy(build(), 8)
    batch = {"input_ids": tokens(), "attention_mask": torch.zeros(2, 9, dtype=torch.long)}
    for empty in ([], [batch]):
        with pytest.raises(ValueError, match="the batches hold no tokens"):
            calibrate(model, empty)
        with pytest.raises(ValueError, match="the batches hold no tokens"):
            measure_sparsity(model, empty)


def test_another_passs_mask():
    batch = {"input_ids": tokens(2, 9), "attention_mask": torch.ones(2, 9, dtype=torch.long)}
    from lomt.llm.batches import without_padding

    with pytest.raises(ValueError, match=r"it has seen 17 tokens, the attention mask has 18 \(2, 9\): give the mask"):
        without_padding(torch.ones(17, 4), batch, "it")
