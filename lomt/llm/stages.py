"""Both stages of LTE, one after the other; the same call again continues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from lomt.llm.saving import SETTINGS
from lomt.llm.thresholds import calibrate, set_sparsity
from lomt.llm.trainer import LTETrainer

Model = TypeVar("Model", bound=PreTrainedModel)

CALIBRATION = 8
"""Batches of the training data from which the threshold between the stages is taken."""


def train(
    model: Model,
    args: TrainingArguments,
    *,
    eta: float = 1.0,
    target_sparsity: float | None = None,
    soft: Mapping[str, Any] | None = None,
    hard: Mapping[str, Any] | None = None,
    trainer: type[LTETrainer] = LTETrainer,
    **options: Any,
) -> Model:
    """Teach a model to be efficient: stage ``"soft"``, then stage ``"hard"``, each as ``args`` say.

    With ``target_sparsity``, η is found by dual ascent, and τ moves to where exactly that share of gates is closed on
    the first training batches: between the stages, and again at the end, since the second stage moves what routers
    read. Without, τ stays at 0.5 and sparsity comes out as it does.

    The learning rate is constant in the first stage, after its warm-up, and takes the course of ``args`` in the second:
    both together are one schedule. A first stage of a quarter of the steps is a good beginning: with hard masks the
    model regains most of what gates took.

    Each stage has a folder in ``args.output_dir``, with its checkpoints and, when it is done, its model. The same call
    again, with the same model of :func:`lomt.llm.moefy`, goes on from the last checkpoint.

    Args:
        model: of :func:`lomt.llm.moefy`.
        args: of both stages.
        eta: η, where no target is given.
        target_sparsity: share of experts to close.
        soft: what the first stage has otherwise in its arguments: ``{"num_train_epochs": 1}``.
        hard: what the second has.
        trainer: a subclass of :class:`lomt.llm.LTETrainer`.
        **options: for the trainer: ``train_dataset``, ``data_collator``, ``router_lr``, ….

    Returns:
        The model, in mode ``"hard"``.
    """
    out = Path(args.output_dir)
    ours: dict[str, Any] = {"eta": eta, "target_sparsity": target_sparsity}
    constant = {"lr_scheduler_type": "constant_with_warmup"} | dict(soft or {})
    first = trainer(model, replace(args, output_dir=str(out / "soft"), **constant), **ours, **options)
    _run(first)
    if target_sparsity is not None:
        _meet(first, target_sparsity)
    second = trainer(model, replace(args, output_dir=str(out / "hard"), **(hard or {})), stage="hard", **options)
    _run(second, target_sparsity)
    return model


def _run(trainer: LTETrainer, sparsity: float | None = None) -> None:
    """Train, or go on, meet a sparsity and keep the model; or take what was kept."""
    folder = Path(trainer.args.output_dir)
    if (folder / SETTINGS).is_file():
        trainer._load_from_checkpoint(str(folder))
        return
    _go_on(trainer)
    if sparsity is not None:
        _meet(trainer, sparsity)
    trainer.save_model()


def _meet(trainer: LTETrainer, sparsity: float) -> None:
    """Move τ to where that share of gates is closed on the first training batches."""
    batches = islice(trainer.get_eval_dataloader(trainer.train_dataset), CALIBRATION)
    calibrate(trainer.model, batches, [sparsity])
    set_sparsity(trainer.model, sparsity)


def finish(trainer: Trainer) -> None:
    """Train to the end, from the last checkpoint in the trainer's folder if there is one, and keep the model there."""
    _go_on(trainer)
    trainer.save_model()


def _go_on(trainer: Trainer) -> None:
    folder = Path(trainer.args.output_dir)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    trainer.train(resume_from_checkpoint=last)
