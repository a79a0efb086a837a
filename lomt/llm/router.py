"""The router of an FFN: which of its experts a token needs, and how that reaches the FFN."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lomt.llm.adapters import FFN, rows

Mode = Literal["dense", "soft", "hard"]
"""What gates do: nothing; scale each expert by G; keep the experts with G > τ, unscaled."""


@dataclass
class Settings:
    """What all routers of a model share; kept with its weights.

    Attributes:
        expert_size: neurons in an expert.
        mode: what the gates do.
        cut: an expert is kept where its logit is above it: τ = sigmoid(cut), 0.5 at first.
        levels: sparsity → cut, as :func:`lomt.llm.calibrate` found them.
    """

    expert_size: int
    mode: Mode = "dense"
    cut: float = 0.0
    levels: dict[float, float] = field(default_factory=dict)

    @property
    def threshold(self) -> float:
        """τ, between 0 and 1."""
        return 0.5 * (1 + math.tanh(self.cut / 2))


class Router(nn.Module):
    """One affine map from an FFN's input to a logit for each of its experts; G = sigmoid(logit).

    Weights are float32, and stay so in a model that is cast to another dtype, and logits are computed in float32: the
    decision G > τ must not hang on bfloat16's three digits. At first every row is the centre of its expert's input
    weights, scaled so that it moves logits by about :data:`SPREAD`, above a bias of :data:`BIAS`: nearly every gate is
    open, the hard model is nearly the dense one, and experts whose neurons an input excites most come first (the paper
    leaves it open; zeros would make its separability loss infinite).

    Args:
        ffn: the FFN, its neurons already in the order of experts.
        settings: shared by the routers of a model.
    """

    SPREAD = 0.5
    BIAS = 1.0

    def __init__(self, ffn: FFN, settings: Settings) -> None:
        super().__init__()
        experts = ffn.neurons // settings.expert_size
        centres = rows(ffn.readers[0]).float().unflatten(0, (experts, settings.expert_size)).mean(1)
        scale = self.SPREAD / centres.norm(dim=1, keepdim=True).clamp_min(1e-12)
        self.weight = nn.Parameter(centres * scale)
        self.bias = nn.Parameter(torch.full((experts,), self.BIAS, device=centres.device))
        self.settings = settings
        self.name = ffn.name
        self.sparse = False
        """Whether the FFN is in its packed form, which does nothing but select."""
        self.seen: list[Tensor] | None = None
        """Logits, while :func:`lomt.llm.gates.watching` looks on."""
        self._logits: Tensor | None = None
        ffn.readers[0].register_forward_pre_hook(self._read)
        ffn.down.register_forward_pre_hook(self._gate)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[..., experts]`` in float32 of inputs ``[..., d]``."""
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                logits = nn.functional.linear(x.float(), self.weight, self.bias)
        else:
            logits = nn.functional.linear(x.float(), self.weight, self.bias)
        if self.seen is not None:
            self.seen.append(logits)
        return logits

    def active(self, x: Tensor) -> Tensor:
        """The experts that a token keeps, bool ``[..., experts]``: the one rule, for training, prompts and decoding."""
        active: Tensor = self(x) > self.settings.cut
        return active

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Router:
        """Go where the model goes, and stay float32 where it changes its dtype."""

        def keep(old: Tensor) -> Tensor:
            new = fn(old)
            return new if new.dtype == old.dtype else old.to(new.device)

        super()._apply(keep, recurse)
        return self

    def _read(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if self.settings.mode != "dense" or self.seen is not None:
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.settings.mode == "soft"):
                self._logits = self(inputs[0])

    def _gate(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        logits, self._logits = self._logits, None
        if logits is None or self.settings.mode == "dense":
            return None
        gates = logits.sigmoid() if self.settings.mode == "soft" else logits > self.settings.cut
        hidden, *rest = inputs
        experts = hidden.unflatten(-1, (-1, self.settings.expert_size))
        return ((experts * gates.to(hidden.dtype).unsqueeze(-1)).flatten(-2), *rest)


def routers(model: nn.Module) -> dict[str, Router]:
    """The routers of a model in its order, by the names of their FFNs.

    Raises:
        ValueError: it has none.
    """
    found = {module.name: module for module in model.modules() if isinstance(module, Router)}
    if not found:
        raise ValueError(f"{type(model).__name__} has no routers: lomt.llm.moefy(model) adds them")
    return found


def settings_of(model: nn.Module) -> Settings:
    """The settings that the routers of a model share.

    Raises:
        ValueError: it has none.
    """
    return next(iter(routers(model).values())).settings


def set_mode(model: nn.Module, mode: Mode) -> None:
    """Choose what the gates of a model do: nothing, scale, or select.

    Raises:
        ValueError: there is no such mode, the model has no routers, or it is sparse, which goes with ``"hard"`` alone.
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode is {mode!r}: there are {', '.join(get_args(Mode))}")
    if mode != "hard" and is_sparse(model):
        raise ValueError(f"mode is {mode!r}, and the model is sparse, which selects: densify(model) first")
    settings_of(model).mode = mode


def is_sparse(model: nn.Module) -> bool:
    """Whether a model with routers is in the form that :func:`lomt.llm.sparsify` gives it.

    Raises:
        ValueError: it has no routers.
    """
    return any(router.sparse for router in routers(model).values())
