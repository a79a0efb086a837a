"""The embedded model: a small LLaMA over bytes, trained in minutes on what every Python has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM, Trainer, set_seed

from lomt.llm.corpus import library_tokens
from lomt.llm.recipe import train_dense, training_arguments
from lomt.llm.text import Blocks

STEPS = 1500
"""Of pretraining: about three minutes on one idle core."""

LENGTH = 128
"""Bytes in a block of its text."""

TINY: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 96,
    "intermediate_size": 640,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
"""0.7 million parameters: 3 layers, 96 wide, FFNs of 20 experts of 32 neurons."""


def tiny_model(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """An untrained LLaMA over bytes, of the shape :data:`TINY`.

    Args:
        seed: of its weights.
        **changes: to its config.
    """
    set_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**(TINY | changes)))


def pretrain(out: Path, steps: int = STEPS, trainer: type[Trainer] = Trainer, **changes: Any) -> LlamaForCausalLM:
    """The embedded model, trained on the standard library's training files; the same call again continues.

    Args:
        out: its folder.
        steps: optimizer steps.
        trainer: a subclass of ``Trainer``.
        **changes: to the arguments of the training: ``seed``, ``disable_tqdm``, ….
    """
    args = training_arguments(out, steps, **({"learning_rate": 3e-3} | changes))
    return train_dense(tiny_model(args.seed), args, Blocks(library_tokens("train"), LENGTH), trainer)
