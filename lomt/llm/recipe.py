"""How small models are trained here: as they are, or to be efficient; each call again continues where it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from lomt.llm.moefy import moefy
from lomt.llm.stages import train

Model = TypeVar("Model", bound=PreTrainedModel)
Data = Dataset[dict[str, Tensor]]

BATCH = 8
"""Blocks in a step."""

ROUTER_LR = 1e-3
"""The routers' learning rate, the best of a few on the embedded model's validation files."""

SOFT = 0.5
"""Share of LTE's steps that are of its first stage."""


def training_arguments(out: Path, steps: int, **changes: Any) -> TrainingArguments:
    """What all trainings share: AdamW, a cosine schedule, checkpoints to continue from.

    Args:
        out: folder of the checkpoints.
        steps: optimizer steps.
        **changes: to the arguments.
    """
    shared: dict[str, Any] = {
        "per_device_train_batch_size": BATCH,
        "max_steps": steps,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "cosine",
        "warmup_steps": min(50, steps // 10),
        "optim": "adamw_torch",
        "weight_decay": 0.1,
        "adam_beta2": 0.98,
        "logging_steps": max(1, min(50, steps // 10)),
        "save_steps": max(1, steps // 5),
        "save_total_limit": 1,
        "report_to": [],
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(str(out), **(shared | changes))


def train_dense(model: Model, args: TrainingArguments, data: Data, trainer: type[Trainer] = Trainer) -> Model:
    """Train a model as it is.

    Args:
        model: causal.
        args: of the training; its ``output_dir`` gets checkpoints and, at the end, the model.
        data: ``input_ids`` and ``labels``.
        trainer: a subclass of ``Trainer``.

    Returns:
        The model; one that was trained before is loaded.
    """
    folder = Path(args.output_dir)
    if (folder / "model.safetensors").is_file():
        return type(model).from_pretrained(folder)
    made = trainer(model, args, train_dataset=data)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    made.train(resume_from_checkpoint=last)
    made.save_model()
    return model


def train_efficient(
    model: Model, args: TrainingArguments, data: Data, sparsity: float, expert_size: int = 32, **options: Any
) -> Model:
    """Group a dense model's neurons and train it by LTE's two stages, ``args.max_steps`` together.

    Args:
        model: dense, causal.
        args: of both stages; ``output_dir`` gets a folder for each.
        data: ``input_ids`` and ``labels``.
        sparsity: share of experts to close.
        expert_size: neurons in an expert.
        **options: for :class:`lomt.llm.LTETrainer`, in place of its defaults, and of :data:`ROUTER_LR`.

    Returns:
        The model, in mode ``"hard"`` at that sparsity.
    """
    soft = max(1, round(SOFT * args.max_steps))
    return train(
        moefy(model, expert_size, seed=args.seed),
        args,
        target_sparsity=sparsity,
        soft={"max_steps": soft},
        hard={"max_steps": max(1, args.max_steps - soft)},
        train_dataset=data,
        **({"router_lr": ROUTER_LR} | options),
    )
