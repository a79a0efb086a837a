import pytest
import torch
from torch import nn
from transformers import ViTConfig, ViTModel

from lomt.llm import calibrate, densify, measure_sparsity, moefy, save_pretrained, set_mode, sparsify
from tests.unit.llm.models import build, gated, tokens


def test_neurons_that_the_expert_size_does_not_divide():
    model = build()
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(
        ValueError,
        match=r"model.layers.0.mlp has 64 neurons, which experts of 24 do not divide: choose expert_size 8 or 16 or 32",
    ):
        moefy(model, expert_size=24)
    assert all(map(torch.equal, before, model.parameters()))
    with pytest.raises(ValueError, match=r"has 68 neurons, .*: choose expert_size from the divisors of 68"):
        moefy(build(intermediate_size=68), expert_size=32)


@pytest.mark.parametrize("size", [0, -8, 2.5, "8"])
def test_an_expert_size_that_is_none(size):
    with pytest.raises(ValueError, match=rf"expert_size is {size}: use a whole number of 1 or more"):
        moefy(build(), expert_size=size)


def test_a_model_without_known_ffns():
    model = ViTModel(ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16))
    with pytest.raises(
        ValueError, match=r"no FFNs are known in models of type 'vit' \(known: llama, .*\): register_adapter\('vit', "
    ):
        moefy(model)
    part = build().model.layers[0].self_attn
    with pytest.raises(ValueError, match=r"LlamaAttention of type 'llama' has no FFN as Adapter\(.*: register_adapter"):
        moefy(part)


def test_an_activation_without_a_kernel():
    with pytest.raises(ValueError, match=r"model.layers.0.mlp has the activation Tanh: there are kernels for gelu, "):
        moefy(build(hidden_act="tanh"))


class Linear4bit(nn.Linear):
    """What a library that quantizes puts in the place of a linear map."""


class Packed(torch.Tensor):
    """A tensor as torchao has them: floating-point outside, integers inside."""


@pytest.mark.filterwarnings("ignore:torch.*deprecated")
def test_a_model_that_torch_has_quantized():
    model = torch.ao.quantization.quantize_dynamic(build(), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(ValueError, match=r"the gate map of model.layers.0.mlp is a torch.ao.*Linear .*unquantized"):
        moefy(model)


@pytest.mark.parametrize("kind", ["a class", "a tensor", "float8"])
def test_other_quantized_weights(kind):
    model = build()
    mlp = model.model.layers[1].mlp
    if kind == "a class":
        mlp.down_proj = Linear4bit(64, 32, bias=False)
    elif kind == "a tensor":
        mlp.down_proj.weight = nn.Parameter(mlp.down_proj.weight.data.as_subclass(Packed))
    else:
        mlp.down_proj.weight = nn.Parameter(mlp.down_proj.weight.data.to(torch.float8_e4m3fn))
    with pytest.raises(ValueError, match=r"the down map of model.layers.1.mlp is a .* load the model unquantized and"):
        moefy(model)


def test_a_model_without_weights_in_memory():
    with pytest.raises(ValueError, match=r"the gate map of model.layers.0.mlp has no weights in memory"):
        moefy(build().to("meta"))


def test_routers_twice_or_not_at_all(tmp_path):
    model = build()
    for call in (
        lambda: sparsify(model),
        lambda: set_mode(model, "hard"),
        lambda: calibrate(model, [{"input_ids": tokens()}]),
        lambda: measure_sparsity(model, [{"input_ids": tokens()}]),
        lambda: save_pretrained(model, tmp_path),
    ):
        with pytest.raises(ValueError, match=r"LlamaForCausalLM has no routers: lomt.llm.moefy\(model\) adds them"):
            call()
    with pytest.raises(ValueError, match="has routers already: moefy once"):
        moefy(moefy(model))
    with pytest.raises(ValueError, match="has routers already: moefy once"):
        moefy(sparsify(model))
    densify(model)


def test_words_that_are_not_known():
    with pytest.raises(ValueError, match="grouping is 'metis': there are kmeans, coactivation, random"):
        moefy(build(), grouping="metis")
    with pytest.raises(ValueError, match="mode is 'loud': there are dense, soft, hard"):
        set_mode(gated(), "loud")


def test_coactivation_wants_tokens_and_others_do_not():
    with pytest.raises(ValueError, match="grouping 'coactivation' needs batches"):
        moefy(build(), 8, grouping="coactivation")
    with pytest.raises(ValueError, match="grouping 'kmeans' takes no batches"):
        moefy(build(), 8, batches=[])
    with pytest.raises(ValueError, match="the batches hold no tokens"):
        moefy(build(), 8, grouping="coactivation", batches=[])


def test_a_gradient_through_a_sparse_model():
    with pytest.raises(RuntimeError, match="sparse_ffn has no gradient: call it under "):
        sparsify(gated())(tokens())
