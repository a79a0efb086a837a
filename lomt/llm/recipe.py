"""How small models are trained here: the arguments of all, and training as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments

from lomt.llm.stages import finish

Model = TypeVar("Model", bound=PreTrainedModel)
Data = Dataset[dict[str, Tensor]]

BATCH = 8
"""Blocks in a step."""

LR = 2e-3
ROUTER_LR = 3e-3
"""Learning rates of further training, of all and of routers: the best of a few on validation files."""

SOFT = 150
HARD = 1050
"""Steps of LTE's stages on the embedded model."""


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
        "learning_rate": LR,
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
    finish(trainer(model, args, train_dataset=data))
    return model
