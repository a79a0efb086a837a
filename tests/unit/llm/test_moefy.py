import copy

import pytest
import torch

from lomt.llm import Adapter, measure_sparsity, moefy, register_adapter, set_mode
from lomt.llm.adapters import ADAPTERS, find_ffns, rows
from lomt.llm.router import routers
from tests.unit.llm.models import FAMILIES, build, tokens


@pytest.mark.parametrize("grouping", ["kmeans", "random"])
@pytest.mark.parametrize("family", FAMILIES)
def test_outputs_names_and_config_stay_and_weights_load_dense(family, grouping):
    model = build(family)
    before = copy.deepcopy(model)
    expected = model(tokens()).logits
    assert moefy(model, expert_size=8, grouping=grouping) is model
    assert model.config.to_dict() == before.config.to_dict()
    torch.testing.assert_close(model(tokens()).logits, expected, rtol=1e-4, atol=1e-4)
    state = model.state_dict()
    new = {name for name in state if ".router." in name}
    assert len(new) == 4
    assert set(state) - new == set(before.state_dict())
    moved = [name for name, value in before.state_dict().items() if not torch.equal(value, state[name])]
    assert moved  # the permutation is in the ordinary weights
    dense = build(family, seed=1)
    dense.load_state_dict({name: value for name, value in state.items() if name not in new})
    torch.testing.assert_close(dense(tokens()).logits, expected, rtol=1e-4, atol=1e-4)


def captured(model, ffn, ids):
    """What goes into an FFN and what comes out, as [tokens, width]."""
    seen = {"in": [], "out": []}
    handles = [
        ffn.readers[0].register_forward_pre_hook(lambda _, inputs: seen["in"].append(inputs[0])),
        ffn.down.register_forward_hook(lambda *found: seen["out"].append(found[2])),
    ]
    model(ids)
    for handle in handles:
        handle.remove()
    return [torch.cat(parts, -2).flatten(0, -2).double() for parts in seen.values()]


@pytest.mark.parametrize("mode", ["dense", "soft", "hard"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_gates_do_what_the_formula_says_expert_by_expert(family, mode):
    model = moefy(build(family), expert_size=8)
    set_mode(model, mode)
    (router, *_), (ffn, *_) = routers(model).values(), find_ffns(model)
    router.settings.cut = 1.0
    x, y = captured(model, ffn, tokens())
    gates = torch.sigmoid(x @ router.weight.double().T + router.bias.double())
    scale = {"dense": torch.ones_like(gates), "soft": gates, "hard": (gates > router.settings.threshold).double()}[mode]
    if mode == "hard":
        assert 0.1 < scale.mean() < 0.9
    ffn = copy.deepcopy(ffn)
    expected = torch.zeros_like(y)
    for expert in range(8):
        part = slice(8 * expert, 8 * expert + 8)

        def neurons(linear, part=part):
            value = x @ rows(linear)[part].double().T
            return value if linear.bias is None else value + linear.bias[part].double()

        hidden = neurons(ffn.up)
        hidden = ffn.act(hidden) if ffn.gate is None else ffn.act(neurons(ffn.gate)) * hidden
        expected += scale[:, expert, None] * (hidden @ rows(ffn.down)[:, part].double().T)
    if ffn.down.bias is not None:
        expected += ffn.down.bias.double()
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)


def test_at_first_nearly_all_gates_are_open_and_none_is_at_the_threshold():
    model = moefy(build(), expert_size=8)
    shares = measure_sparsity(model, [{"input_ids": tokens(8, 16)}])
    assert list(shares) == ["model.layers.0.mlp", "model.layers.1.mlp"]
    assert all(share < 0.1 for share in shares.values())


def test_coactivation_puts_neurons_together_that_fire_together():
    model = build("gpt2", activation_function="relu")
    ffn = find_ffns(model)[0]
    half = torch.zeros(64, dtype=torch.bool)
    half[torch.randperm(64, generator=torch.Generator().manual_seed(0))[:32]] = True
    with torch.no_grad():  # one half fires where the first feature is up, the other where it is down; no matter how
        rows(ffn.up).normal_(0, 1e-3)
        rows(ffn.up)[:, 0] = torch.where(half, 1.0, -1.0)
        ffn.up.bias.zero_()
        ffn.up.bias.copy_(torch.arange(64) * 1e-6)  # each neuron's name
    moefy(model, 32, grouping="coactivation", batches=[{"input_ids": tokens(8, 16)}])
    first = half[(ffn.up.bias[:32] * 1e6).round().long()]
    assert first.all() or not first.any()


def test_coactivation_does_not_look_at_padding():
    ids = tokens(4, 8)
    padded = torch.cat([torch.zeros(4, 5, dtype=torch.long), ids], 1)
    mask = (torch.arange(13) >= 5).long().expand(4, 13)
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    batch = {"input_ids": padded, "attention_mask": mask, "position_ids": positions}
    plain, masked = (
        moefy(build(), 8, grouping="coactivation", batches=[given]) for given in ({"input_ids": ids}, batch)
    )
    assert torch.equal(plain.model.layers[0].mlp.up_proj.weight, masked.model.layers[0].mlp.up_proj.weight)


class Own(torch.nn.Module):
    """A network that no adapter knows."""

    def __init__(self):
        super().__init__()
        self.block = torch.nn.ModuleDict(
            {"first": torch.nn.Linear(4, 16), "act": torch.nn.ReLU(), "second": torch.nn.Linear(16, 4)}
        )

    def forward(self, x):
        return self.block["second"](self.block["act"](self.block["first"](x)))


def test_another_family_is_one_adapter(monkeypatch):
    monkeypatch.setattr("lomt.llm.adapters.ADAPTERS", dict(ADAPTERS))
    model, x = Own(), torch.randn(3, 4)
    with pytest.raises(ValueError, match=r"no FFNs are known in models of type 'Own' .*register_adapter\('Own', Ada"):
        moefy(model, 4)
    register_adapter("Own", Adapter(up="block.first", act="block.act", down="block.second"))
    before = model(x)
    torch.testing.assert_close(moefy(model, 4)(x), before)
    assert list(routers(model)) == ["block"]


def test_the_same_seed_gives_the_same_model():
    first, second, other = (moefy(build(), 8, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@torch.no_grad()
def test_routers_stay_float32_in_a_model_that_is_cast():
    model = moefy(build(), 8)
    before = {name: router.weight.clone() for name, router in routers(model).items()}
    for cast in (model.bfloat16, model.half, model.double, model.float):
        cast()
        assert all(torch.equal(router.weight, before[name]) for name, router in routers(model).items())
    assert next(iter(routers(model.to("meta")).values())).weight.is_meta
