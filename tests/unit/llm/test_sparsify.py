import copy

import pytest
import torch

from lomt.llm import densify, measure_sparsity, moefy, set_mode, set_sparsity, sparsify
from lomt.llm.router import settings_of
from lomt.llm.sparsify import SparseFFN
from tests.unit.llm.models import CAUSAL, FAMILIES, build, gated, tokens

HOW = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "top_k": 8},
    "beams": {"num_beams": 3, "do_sample": False},
    "without a cache": {"use_cache": False, "do_sample": False},
}


def generated(model, ids, mask=None, **how):
    torch.manual_seed(0)
    return model.generate(ids, attention_mask=torch.ones_like(ids) if mask is None else mask, max_new_tokens=8, **how)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_sparse_model_computes_what_hard_gates_do(family):
    model = gated(family)
    expected = model(tokens()).logits
    assert sparsify(model) is model
    torch.testing.assert_close(model(tokens()).logits, expected, rtol=1e-4, atol=1e-4)
    dense = moefy(build(family), expert_size=8)(tokens()).logits
    assert (dense - expected).abs().max() > 0.01  # the gates matter


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("family", CAUSAL)
def test_generation_is_that_of_hard_gates(family, how):
    model = gated(family)
    expected = generated(model, tokens(), **HOW[how])
    assert torch.equal(generated(sparsify(model), tokens(), **HOW[how]), expected)


@pytest.mark.parametrize("family", CAUSAL)
def test_a_prompt_does_not_mind_the_padding_beside_longer_ones(family):
    model = sparsify(gated(family))
    short, long = tokens(1, 4, seed=1), tokens(1, 9, seed=2)
    batch = torch.cat([torch.cat([torch.zeros(1, 5, dtype=torch.long), short], 1), long])
    mask = (batch != 0).long()
    together = generated(model, batch, mask, do_sample=False)[:, 9:]
    assert torch.equal(together[:1], generated(model, short, do_sample=False)[:, 4:])
    assert torch.equal(together[1:], generated(model, long, do_sample=False)[:, 9:])


@torch.no_grad()
def test_prompt_and_decoding_select_by_one_rule():
    model = sparsify(gated())
    ids = tokens(1, 12)
    whole = model(ids).logits
    cache, steps = None, []
    for token in ids.split(1, dim=1):
        out = model(token, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        steps.append(out.logits)
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_densify_gives_the_same_modules_and_weights_back(family):
    model = gated(family)
    modules, state = dict(model.named_modules()), {name: value.clone() for name, value in model.state_dict().items()}
    parameters = dict(model.named_parameters())
    assert densify(sparsify(model)) is model
    assert dict(model.named_modules()) == modules
    assert {name: id(one) for name, one in model.named_parameters()} == {n: id(p) for n, p in parameters.items()}
    back = model.state_dict()
    assert list(back) == list(state)
    assert all(
        torch.equal(back[name], value) and back[name].stride() == value.stride() for name, value in state.items()
    )


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bert"])
def test_packed_weights_stand_in_place_of_the_originals(family):
    model = gated(family)
    parts = [ffn for ffn in copy.copy(list(model.parameters())) if ffn.dim() == 2]
    before = sum(parameter.numel() for parameter in model.parameters())
    sparsify(model)
    packed = sum(buffer.numel() for m in model.modules() if isinstance(m, SparseFFN) for buffer in m.buffers())
    assert packed > 4000
    left = sum(parameter.numel() for parameter in model.parameters())
    assert left + packed == before
    assert sum(one.numel() == 0 for one in parts) >= 4  # whoever still holds an original holds nothing


def test_a_copy_of_a_sparse_model_is_a_model_of_its_own():
    model = sparsify(gated("opt"))
    twin = copy.deepcopy(model)
    with torch.no_grad():
        expected = twin(tokens()).logits
        set_sparsity(model, 0)
        assert torch.equal(twin(tokens()).logits, expected)
        assert not torch.equal(model(tokens()).logits, expected)
    densify(twin)
    assert settings_of(twin) is not settings_of(model)
    torch.testing.assert_close(twin(tokens()).logits, expected, rtol=1e-4, atol=1e-4)


def test_a_sparse_models_sparsity_is_measured_as_the_gated_ones():
    model, batches = gated(), [{"input_ids": tokens()}]
    assert measure_sparsity(model, batches) == measure_sparsity(sparsify(model), batches)


@pytest.mark.parametrize("family", ["llama with biases", "gpt2"])
@torch.no_grad()
def test_a_sparse_model_changes_its_dtype_as_others_do(family):
    model = gated(family).to(torch.bfloat16)
    expected = model(tokens()).logits
    changed = sparsify(gated(family)).to(torch.bfloat16)
    assert changed(tokens()).logits.dtype == torch.bfloat16
    torch.testing.assert_close(changed(tokens()).logits, expected, rtol=0.1, atol=0.5)
    back = densify(changed).state_dict()
    assert all(torch.equal(back[name], value) for name, value in model.state_dict().items())


def test_gates_that_do_nothing_do_something_once_sparse():
    model = moefy(build(), expert_size=8)
    assert settings_of(model).mode == "dense"
    assert settings_of(sparsify(model)).mode == "hard"
    with pytest.raises(ValueError, match=r"sparse already: densify\(model\)"):
        sparsify(model)
    with pytest.raises(ValueError, match=r"mode is 'dense', and the model is sparse, which selects: densify\(model\)"):
        set_mode(model, "dense")
    densify(model)
    with pytest.raises(ValueError, match=r"is not sparse: sparsify\(model\)"):
        densify(model)
    set_mode(model, "dense")


@torch.no_grad()
def test_a_sparse_model_is_one_graph():
    model = sparsify(gated())
    expected = model(tokens()).logits
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(tokens()).logits, expected, rtol=1e-4, atol=1e-4)
    torch.compiler.reset()
