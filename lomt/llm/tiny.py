"""The embedded model: a small LLaMA over bytes, trained in minutes on what every Python has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from lomt.llm.corpus import Windows, library_tokens

STEPS = 1500
"""Of pretraining: about three minutes on one idle core."""

BATCH = 8
"""Windows in a step."""


def tiny_model(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """An untrained LLaMA of 0.7 million parameters over bytes: 3 layers, 96 wide, FFNs of 20 experts of 32 neurons.

    Args:
        seed: of its weights.
        **changes: to its config.
    """
    set_seed(seed)
    shape: dict[str, Any] = {
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
    return LlamaForCausalLM(LlamaConfig(**(shape | changes)))


def training_arguments(out: Path, steps: int, **changes: Any) -> TrainingArguments:
    """What all trainings of the embedded model share: AdamW, a cosine schedule, checkpoints to continue from.

    Args:
        out: folder of the checkpoints.
        steps: optimizer steps.
        **changes: to the arguments.
    """
    shared: dict[str, Any] = {
        "per_device_train_batch_size": BATCH,
        "max_steps": steps,
        "lr_scheduler_type": "cosine",
        "warmup_steps": min(50, steps // 10),
        "optim": "adamw_torch",
        "weight_decay": 0.1,
        "adam_beta2": 0.98,
        "max_grad_norm": 1.0,
        "logging_steps": max(1, min(50, steps // 10)),
        "save_steps": max(1, steps // 5),
        "save_total_limit": 1,
        "report_to": [],
        "use_cpu": True,
        "dataloader_pin_memory": False,
        "seed": 0,
    }
    return TrainingArguments(str(out), **(shared | changes))


def train_dense(model: LlamaForCausalLM, args: TrainingArguments, windows: Windows, **options: Any) -> LlamaForCausalLM:
    """Train a model as it is; the same call again goes on from the last checkpoint, or takes what was trained."""
    folder = Path(args.output_dir)
    if (folder / "model.safetensors").is_file():
        return type(model).from_pretrained(folder)
    trainer = Trainer(model, args, train_dataset=windows, **options)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model()
    return model


def pretrain(out: Path, steps: int = STEPS, **changes: Any) -> LlamaForCausalLM:
    """The embedded model, trained on the standard library's training files; the same call again continues.

    Args:
        out: its folder.
        steps: optimizer steps.
        **changes: to the arguments of the training: ``disable_tqdm``, ….
    """
    args = training_arguments(out, steps, **({"learning_rate": 3e-3} | changes))
    return train_dense(tiny_model(args.seed), args, Windows(library_tokens("train")))
