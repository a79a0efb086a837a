"""Small random models of every family, built from their configs, and tokens for them."""

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
    logging,
)

from lomt.llm import moefy

logging.disable_progress_bar()

VOCABULARY = 64
SPECIAL = {"bos_token_id": 1, "eos_token_id": None, "pad_token_id": 0, "vocab_size": VOCABULARY}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LLAMA = {**SPECIAL, **SIZES, "intermediate_size": 64, "max_position_embeddings": 64, "num_key_value_heads": 2}
BERT = {**SIZES, "intermediate_size": 64, "max_position_embeddings": 64, "vocab_size": VOCABULARY, "pad_token_id": 0}
BERT |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
GPT2 = {**SPECIAL, "n_embd": 32, "n_inner": 64, "n_layer": 2, "n_head": 4, "n_positions": 64}
GPT2 |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
OPT = {**SPECIAL, **SIZES, "dropout": 0.0, "ffn_dim": 64, "word_embed_proj_dim": 32, "max_position_embeddings": 64}

FAMILIES = {
    "llama": (LlamaForCausalLM, LlamaConfig, LLAMA),
    "llama with biases": (LlamaForCausalLM, LlamaConfig, LLAMA | {"mlp_bias": True, "hidden_act": "gelu"}),
    "mistral": (MistralForCausalLM, MistralConfig, LLAMA),
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, LLAMA),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, LLAMA | {"head_dim": 8}),
    "gpt2": (GPT2LMHeadModel, GPT2Config, GPT2),
    "opt": (OPTForCausalLM, OPTConfig, OPT),
    "bert": (BertForMaskedLM, BertConfig, BERT),
    "bert in chunks": (BertForMaskedLM, BertConfig, BERT | {"chunk_size_feed_forward": 3}),
    "roberta": (RobertaForMaskedLM, RobertaConfig, BERT),
}
CAUSAL = [name for name in FAMILIES if "bert" not in name]


def build(family="llama", seed=0, **changes):
    """A model in evaluation mode, with weights and biases so large that its FFNs matter."""
    kind, config, options = FAMILIES[family]
    torch.manual_seed(seed)
    model = kind(config(**options | changes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not ("norm" in name.lower() or ".ln_" in name):
                parameter.normal_(0, 0.3)
    return model.eval()


def gated(family="llama", sparsity=0.5, **changes):
    """One with experts of 8 and hard gates, half of them closed."""
    model = moefy(build(family, **changes), expert_size=8)
    close(model, sparsity)
    return model


def close(model, sparsity=0.5):
    """Choose the threshold that closes a share of the gates for :func:`tokens`."""
    from lomt.llm import calibrate, set_sparsity

    calibrate(model, [{"input_ids": tokens()}], [sparsity])
    set_sparsity(model, sparsity)


def tokens(batch=2, length=9, seed=0):
    """Random tokens, none of them padding."""
    return torch.randint(2, VOCABULARY, (batch, length), generator=torch.Generator().manual_seed(seed))
