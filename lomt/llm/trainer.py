"""LTE's two stages on Hugging Face's ``Trainer``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from transformers import PreTrainedModel, Trainer, TrainingArguments

from lomt.checks import check_number
from lomt.llm.batches import count_tokens
from lomt.llm.budget import RATE, Budget
from lomt.llm.gates import watching
from lomt.llm.losses import EPSILON, SEPARABILITY, efficiency_loss, separability_loss
from lomt.llm.router import routers, set_mode, settings_of
from lomt.llm.saving import load_settings, save_routers

Stage = Literal["soft", "hard"]
"""Routers learn with the model; or they rest, and the model learns with hard masks."""


class LTETrainer(Trainer):
    """Hugging Face's ``Trainer`` for one stage of Learn-To-be-Efficient (Zheng et al., 2024).

    Stage ``"soft"``: the model and its routers learn with experts scaled by G; the loss is the task's +
    η · L_eff + ``separability`` · L_sep. Stage ``"hard"``: routers are frozen, experts are kept or left out, the loss
    is the task's alone. The two additional losses are means over the tokens of an optimizer step that are not padding
    (``attention_mask``), however the step is accumulated, and are computed in float32. Logs have η, the sparsity, and
    each FFN's; checkpoints have η and the stage, and a folder of one loads by :func:`lomt.llm.from_pretrained`.
    Evaluation has the stage's gates and the task's loss.

    Args:
        model: of :func:`lomt.llm.moefy`.
        args: as for ``Trainer``.
        stage: ``"soft"`` or ``"hard"``.
        eta: η, what efficiency is worth, where no target is given; the paper has 0 to 2.
        target_sparsity: share of experts to close; η is then found by dual ascent, see :class:`lomt.llm.budget.Budget`.
        rate: of that ascent, in an optimizer step.
        separability: weight of L_sep; the paper has 0.5, see :data:`lomt.llm.losses.SEPARABILITY`.
        epsilon: in L_sep; 0 in the paper.
        router_lr: the routers' learning rate; by default that of all.
        **options: for ``Trainer``: ``train_dataset``, ``data_collator``, ….

    Raises:
        ValueError: the model has no routers, or a number is out of range.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments | None = None,
        *,
        stage: Stage = "soft",
        eta: float = 1.0,
        target_sparsity: float | None = None,
        rate: float = RATE,
        separability: float = SEPARABILITY,
        epsilon: float = EPSILON,
        router_lr: float | None = None,
        **options: Any,
    ) -> None:
        if stage not in get_args(Stage):
            raise ValueError(f"stage is {stage!r}: there are {', '.join(get_args(Stage))}")
        check_number("separability", separability)
        check_number("epsilon", epsilon)
        if router_lr is not None:
            check_number("router_lr", router_lr)
        self.stage = stage
        self.budget = Budget(eta, target_sparsity, rate)
        self.separability = separability
        self.epsilon = epsilon
        self.router_lr = router_lr
        set_mode(model, stage)
        for router in routers(model).values():
            router.requires_grad_(stage == "soft")
        self._step_tokens = 1
        self._tally = _Tally()
        self._since_log: list[dict[str, float]] = []
        super().__init__(model=model, args=args, **options)
        if self.args.n_gpu > 1:
            raise ValueError(f"{self.args.n_gpu} GPUs in one process: start with torchrun or accelerate launch instead")
        self.add_callback(self.budget)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | int | None]:
        """The batches of an optimizer step; their tokens, over all processes, are what the losses are means over."""
        batches, items = super().get_batch_samples(epoch_iterator, num_batches, device)
        tokens = torch.tensor([sum(map(count_tokens, batches))], device=device)
        self._step_tokens = max(1, int(self.accelerator.reduce(tokens, "sum")))
        return batches, items

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The stage's loss while training; the task's alone otherwise."""
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with watching(self.model) as watched:
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        logits = watched.of_tokens(inputs)
        self._tally.add(logits, settings_of(self.model).cut)
        if self.stage == "soft":
            loss = loss + self._router_losses(logits, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def training_step(self, *args: Any, **options: Any) -> Tensor:
        """A micro-batch; after the last of an optimizer step, η is set for the next."""
        loss = super().training_step(*args, **options)
        if self.accelerator.sync_gradients:
            sparsity = self._tally.take(self.accelerator)
            self.budget.step(fmean(sparsity.values()))
            self._since_log.append(sparsity)
        return loss

    def create_optimizer(self, *args: Any, **options: Any) -> torch.optim.Optimizer:
        """The optimizer; with ``router_lr``, routers are a group of their own."""
        fresh = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args, **options)
        if fresh and self.router_lr is not None and self.stage == "soft":
            ours = [parameter for router in routers(self.model).values() for parameter in router.parameters()]
            known = set(map(id, ours))
            for group in optimizer.param_groups:
                group["params"] = [parameter for parameter in group["params"] if id(parameter) not in known]
            optimizer.add_param_group({"params": ours, "lr": self.router_lr, "weight_decay": 0.0})
        return optimizer

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        """Losses, with η and sparsities since the last time."""
        if "loss" in logs and self._since_log:
            layers = {name: fmean(one[name] for one in self._since_log) for name in self._since_log[0]}
            logs |= {"sparsity": fmean(layers.values()), "eta": self.budget.eta}
            logs |= {f"sparsity/{name}": value for name, value in layers.items()}
            self._since_log.clear()
        super().log(logs, *args, **options)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            save_routers(self.model, Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        mode = load_settings(Path(resume_from_checkpoint)).mode
        if mode != self.stage:
            raise ValueError(
                f"{resume_from_checkpoint} is of stage {mode!r}, and this is {self.stage!r}: "
                "give each stage an output_dir of its own"
            )
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _router_losses(self, logits: Mapping[str, Tensor], items: Tensor | int | None) -> Tensor:
        """η L_eff + λ L_sep as this micro-batch adds to it, scaled as the task's loss is by ``Trainer``."""
        if not all(one.requires_grad for one in logits.values()):
            raise ValueError(
                "the routers get no gradient: where activation_checkpointing is on, set "
                "activation_checkpointing_kwargs={'use_reentrant': False}"
            )
        threshold = settings_of(self.model).threshold
        loss = self.budget.eta * efficiency_loss(logits.values())
        loss = loss + self.separability * separability_loss(logits.values(), threshold, self.epsilon)
        # gradients are averaged over processes, and, where the task's loss is a mean, divided by the micro-batches
        loss = loss * self.accelerator.num_processes / self._step_tokens
        a_sum = (self.model_accepts_loss_kwargs and items is not None) or self.compute_loss_func is not None
        return loss if a_sum else loss * self.current_gradient_accumulation_steps


class _Tally:
    """Closed gates, by FFN."""

    def __init__(self) -> None:
        self.counts: dict[str, Tensor] = {}

    def add(self, logits: Mapping[str, Tensor], cut: float) -> None:
        for name, one in logits.items():
            count = torch.stack([(one.detach() <= cut).sum(), torch.tensor(one.numel(), device=one.device)])
            self.counts[name] = self.counts[name] + count if name in self.counts else count

    def take(self, accelerator: Any) -> dict[str, float]:
        """The shares over all processes; begin anew."""
        closed, seen = accelerator.reduce(torch.stack(list(self.counts.values())), "sum").double().unbind(1)
        shares = (closed / seen.clamp_min(1)).tolist()
        names = list(self.counts)
        self.counts = {}
        return dict(zip(names, shares, strict=True))
