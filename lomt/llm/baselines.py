"""What LTE is compared with: rules that choose experts of a trained model, which is not trained for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lomt.llm.adapters import FFN, find_ffns, rows
from lomt.llm.batches import NO_TOKENS, Batch, on_device, without_padding
from lomt.modes import evaluating

RANK = 64
"""Width of a predictor."""

STEPS = 600
"""In which a predictor learns, with :data:`ROWS` tokens each."""

ROWS = 512


class Selector(ABC):
    """Scores the experts of one FFN; of each token those with the best scores are kept, the same number for all.

    Args:
        ffn: the FFN, its neurons in the order of experts.
        size: neurons in an expert.
    """

    def __init__(self, ffn: FFN, size: int) -> None:
        self.ffn = ffn
        self.size = size

    @abstractmethod
    def scores(self, x: Tensor) -> Tensor:
        """``[tokens, experts]`` for the FFN's inputs ``[tokens, d]``."""

    def select(self, x: Tensor, sparsity: float) -> Tensor:
        """The experts that are kept, bool ``[tokens, experts]``, for the FFN's inputs ``[tokens, d]``."""
        return best(self.scores(x), sparsity)


class RandomExperts(Selector):
    """Other experts at random for each token: what choosing is worth.

    Args:
        ffn: as above.
        size: as above.
        seed: of the choice.
    """

    def __init__(self, ffn: FFN, size: int, seed: int = 0) -> None:
        super().__init__(ffn, size)
        self.generator = torch.Generator().manual_seed(seed)

    def scores(self, x: Tensor) -> Tensor:
        """Random numbers."""
        return torch.rand(len(x), self.ffn.neurons // self.size, generator=self.generator).to(x.device)


class MoEfication(Selector):
    """The experts whose outputs are largest, known by computing all (Zhang et al., 2022: "ground truth" selection).

    No router that leaves the model alone can choose better by this criterion; it saves no time. The paper sums the
    values of an expert's neurons, which need a ReLU; of norms of neurons' values and of outputs, outputs' did better.
    """

    def scores(self, x: Tensor) -> Tensor:
        """The norm of each expert's output."""
        values = activations(self.ffn, x).unflatten(-1, (-1, self.size))
        down = rows(self.ffn.down).unflatten(1, (-1, self.size))
        return torch.stack([(values[:, e] @ down[:, e].T).norm(dim=-1) for e in range(values.shape[1])], -1)


class Predictor(Selector):
    """A low-rank map that predicts :class:`MoEfication`'s choice from the FFN's input (Deja Vu, Liu et al., 2023).

    Two linear maps with :data:`RANK` numbers between them, trained by binary cross-entropy on whether an expert is one
    of those to keep.

    Args:
        ffn: as above.
        size: as above.
        x: inputs of the FFN to learn from, ``[tokens, d]``.
        sparsity: at which it will be asked.
        seed: of its weights and of the order of tokens.
    """

    def __init__(self, ffn: FFN, size: int, x: Tensor, sparsity: float, seed: int = 0) -> None:
        super().__init__(ffn, size)
        truth = MoEfication(ffn, size)
        with torch.no_grad():
            wanted = torch.cat([truth.select(part, sparsity) for part in x.split(4096)]).float()
        generator = torch.Generator().manual_seed(seed)
        width, experts = x.shape[1], wanted.shape[1]
        self.scale = x.float().square().mean().rsqrt()
        first = torch.randn(width, RANK, generator=generator) / width**0.5
        second = torch.randn(RANK, experts, generator=generator) / RANK**0.5
        offset = torch.full((experts,), 1 - sparsity).logit()
        self.weights = [one.to(x.device).requires_grad_() for one in (first, second, offset)]
        optimizer = torch.optim.AdamW(self.weights, lr=1e-2, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        with torch.enable_grad():
            for _ in range(STEPS):
                rows = torch.randint(len(x), (min(ROWS, len(x)),), generator=generator).to(x.device)
                loss = nn.functional.binary_cross_entropy_with_logits(self.scores(x[rows]), wanted[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        self.weights = [one.detach() for one in self.weights]

    def scores(self, x: Tensor) -> Tensor:
        """Logits of being one of those to keep."""
        first, second, offset = self.weights
        return (x.float() * self.scale) @ first @ second + offset


def best(scores: Tensor, sparsity: float) -> Tensor:
    """A mask of the best scores of each row, bool, with ``round(sparsity · n)`` of ``n`` left out.

    Raises:
        ValueError: the sparsity is below 0 or above 1.
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity is {sparsity}: use a share of 0 to 1")
    kept = scores.shape[-1] - round(sparsity * scores.shape[-1])
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, scores.topk(kept, dim=-1).indices, True)


def activations(ffn: FFN, x: Tensor) -> Tensor:
    """The values of an FFN's neurons, ``[tokens, neurons]``."""
    up: Tensor = ffn.up(x)
    return ffn.act(up) if ffn.gate is None else ffn.act(ffn.gate(x)) * up


@contextmanager
def selecting(model: nn.Module, size: int, select: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Keep only some experts in the block: those that ``select`` names, by the FFNs' names.

    Args:
        model: of a known family, ordinary, with its neurons in the order of experts.
        size: neurons in an expert.
        select: a mask ``[tokens, experts]`` for an FFN's inputs ``[tokens, d]``.
    """
    masks: dict[str, Tensor] = {}
    busy: set[str] = set()

    def read(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if name not in busy:  # a selector may ask the FFN's own maps
                busy.add(name)
                masks[name] = select[name](inputs[0].flatten(0, -2))
                busy.remove(name)

        return hook

    def gate(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            hidden, *rest = inputs
            experts = hidden.unflatten(-1, (-1, size))
            mask = masks.pop(name).view(experts.shape[:-1])
            return ((experts * mask.unsqueeze(-1)).flatten(-2), *rest)

        return hook

    handles = []
    for ffn in find_ffns(model):
        handles.append(ffn.readers[0].register_forward_pre_hook(read(ffn.name)))
        handles.append(ffn.down.register_forward_pre_hook(gate(ffn.name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def ffn_inputs(model: nn.Module, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """What the FFNs of a model read, ``[tokens, d]`` by their names, without padding.

    Raises:
        ValueError: there are no tokens in the batches.
    """
    found = find_ffns(model)
    parts: dict[str, list[Tensor]] = {ffn.name: [] for ffn in found}
    seen: dict[str, Tensor] = {}
    handles = [
        ffn.readers[0].register_forward_pre_hook(lambda _, inputs, name=ffn.name: seen.update({name: inputs[0]}))
        for ffn in found
    ]
    try:
        for given in batches:
            batch = on_device(given, model)
            with evaluating(model):
                model(**batch)
            for name, x in seen.items():
                parts[name].append(without_padding(x.flatten(0, -2), batch, name))
    finally:
        for handle in handles:
            handle.remove()
    if not all(parts.values()):
        raise ValueError(NO_TOKENS)
    return {name: torch.cat(part) for name, part in parts.items()}
