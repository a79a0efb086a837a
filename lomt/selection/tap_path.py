"""The path of a selection in one training: λ grows for each task until it has no more taps than it may keep."""

import logging
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lomt.checks import check_number, check_whole
from lomt.nn import TapSelector
from lomt.selection.rule import Selection
from lomt.sparsity import SparseGroupLasso

_LOG = logging.getLogger("lomt")

START, GROWTH = 1e-3, 1e3
"""λ at the path's beginning, and how many times larger it can be at its end, for losses around 1."""
NOTES = 100
"""How often a training notes what is left."""


class TapPath:
    """Drives a :class:`lomt.nn.TapSelector` from weak to strong penalties, and reads off what each task needs.

    Each task has a λ of its own. Until ``begin`` of the training it is 0. From there on it grows as long as the task
    reads more taps than a straight line from all of them, at ``begin``, to ``keep``, at ``end``, allows, and falls
    where it does not, so that it is as weak as may be. Where a step would leave fewer, the strongest of those that it
    has killed come back, and λ falls. A task that is down to ``keep`` taps is decided: its λ is 0 again, and what
    lives is free. Where the path ends before that, those of the largest norm stay.

    λ chooses among a task's taps, and does not shrink what it reads: that gets its size back after each step. Else all
    would shrink together, which costs nothing where a norm follows, until their weights are no larger than one step of
    the optimizer, and chance decides. A tap's price is the same whatever its width: its channels have variance 1, so
    that the norm of its weight is the size of what it adds.

    Give :meth:`groups` to the optimizer, :class:`lomt.optim.ProxAdamW`, and call :meth:`step` after each of its steps.

    Args:
        selector: the layer.
        keep: taps that a task may keep.
        mix: share of the price that single channels have, from 0 to 1; the rest is that of whole taps.
        begin: share of the training before the first penalty.
        end: share of the training after which every task is decided.
        prices: tap → how many times dearer its λ is: what the depth costs that it forces; 1 where none is given.

    Attributes:
        strengths: task → its present λ.
        notes: what was left of every task as time went by: ``at``, the share of the training; and by task ``strength``,
            ``norms`` and ``channels`` of each tap.

    Raises:
        ValueError: a number or a tap is impossible.
    """

    def __init__(
        self,
        selector: TapSelector,
        keep: int = 1,
        mix: float = 0.5,
        begin: float = 0.3,
        end: float = 0.8,
        prices: Mapping[str, float] | None = None,
    ) -> None:
        check_whole("the taps to keep", keep, 1)
        if not 0 <= begin < end <= 1:
            raise ValueError(
                f"the path is from {begin} to {end}: use two shares of the training, the first one smaller"
            )
        for tap, price in (prices or {}).items():
            if tap not in selector.taps:
                raise ValueError(f"a price for {tap!r}, which is no tap: the taps are {', '.join(selector.taps)}")
            check_number(f"the price of tap {tap!r}", price, zero=False)
        self.selector, self.goal, self.begin, self.end = selector, keep, begin, end
        self.strengths = dict.fromkeys(selector.tasks, 0.0)
        self.notes: list[dict[str, Any]] = []
        widest = max(selector.channels)
        self._prices = [  # without the root of the size that the penalty has
            (prices or {}).get(tap, 1.0) * (widest / count) ** 0.5
            for tap, count in zip(selector.taps, selector.channels, strict=True)
        ]
        self._penalties = {name: [SparseGroupLasso(0.0, mix) for _ in selector.taps] for name in selector.tasks}
        self._remember()
        self._decided = {name: len(selector.surviving(name)) <= keep for name in selector.tasks}
        self._done = 0.0

    @property
    def decided(self) -> bool:
        """Whether every task has its taps."""
        return all(self._decided.values())

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups for the optimizer: one a task and tap, with its penalty, and one for the biases."""
        self._remember()
        pairs = [
            {"params": [weight], "penalty": penalty, "axis": "in", "conv_groups": 1, "weight_decay": 0.0}
            for name, penalties in self._penalties.items()
            for weight, penalty in zip(self.selector.weights[name], penalties, strict=True)
        ]
        biases = {"params": list(self.selector.biases.values()), "penalty": None, "axis": "in", "conv_groups": 1}
        return [*pairs, {**biases, "weight_decay": 0.0}]

    def step(self, done: float) -> None:
        """After a step of the optimizer.

        Args:
            done: share of the training, from 0 to 1, that is done.
        """
        self.selector.hold()
        open_tasks = [name for name in self.selector.tasks if not self._decided[name]]
        if open_tasks:
            norms, allowed = self._norms(), math.ceil(self._allowed(done))
            counts = {name: sum(norm > 0 for norm in norms[name]) for name in open_tasks}
            for name in open_tasks:
                self._spare(name, norms[name], allowed - counts[name])
            self.selector.settle()
            for name in open_tasks:
                self._grow(name, done, max(counts[name], allowed), enough=counts[name] < allowed)
        if not self.notes or int(done * NOTES) > int(self._done * NOTES):
            self._note(done)
        self._done = done

    def _grow(self, name: str, done: float, alive: int, *, enough: bool) -> None:
        """λ of a task for the next step; it is enough where it would have killed more than it should."""
        if alive > self.goal and done >= self.end:
            self.selector.keep(name, self._strongest(self._norms()[name]))
            _LOG.info("task %r still read %d taps at the path's end: those of the largest norm stay", name, alive)
            alive = self.goal
        if alive <= self.goal:
            self._decided[name] = True
            self.strengths[name] = 0.0
        elif done >= self.begin:
            rate = GROWTH ** ((done - self._done) / (self.end - self.begin))
            if not self.strengths[name]:
                self.strengths[name] = START
            else:
                self.strengths[name] *= rate if alive > self._allowed(done) and not enough else 1 / rate
        self._charge(name)

    def _charge(self, name: str) -> None:
        """A task's λ, for each of its taps at its price."""
        for penalty, price in zip(self._penalties[name], self._prices, strict=True):
            penalty.weight = self.strengths[name] * price

    def _allowed(self, done: float) -> float:
        """How many taps a task may read by now, on a straight line."""
        share = min(1.0, max(0.0, (done - self.begin) / (self.end - self.begin)))
        return self.goal + (len(self.selector.taps) - self.goal) * (1 - share)

    def _spare(self, name: str, norms: list[float], missing: int) -> None:
        """Where a step has killed more taps than it should have, those that were strongest before it come back."""
        weights, last = self.selector.weights[name], self._last[name]
        if missing > 0:
            before = [0.0 if norm else float(old.norm()) for norm, old in zip(norms, last, strict=True)]
            for number in sorted(range(len(before)), key=lambda tap: -before[tap])[:missing]:
                with torch.no_grad():
                    weights[number].copy_(last[number])
        if self.strengths[name]:
            self._restore(name)
        self._last[name] = [weight.detach().clone() for weight in weights]

    @torch.no_grad()
    def _restore(self, name: str) -> None:
        """What a task reads gets its size back, that of the first weights, so that a λ can only choose among taps."""
        weights = list(self.selector.weights[name])
        size = torch.stack(torch._foreach_norm(weights)).norm()
        torch._foreach_mul_([*weights, self.selector.biases[name]], self.selector.width**0.5 / size)

    def _remember(self) -> None:
        """The weights before the first step, or the first one after a pause."""
        self._last: dict[str, list[Tensor]] = {
            name: [weight.detach().clone() for weight in weights] for name, weights in self.selector.weights.items()
        }

    def _strongest(self, norms: list[float]) -> list[str]:
        order = sorted(range(len(norms)), key=lambda tap: -norms[tap])
        return [self.selector.taps[tap] for tap in order[: self.goal]]

    def _norms(self) -> dict[str, list[float]]:
        """Task → norm of its weight for each tap; one look at the device."""
        weights = [weight.detach() for name in self.selector.tasks for weight in self.selector.weights[name]]
        found = torch.stack(torch._foreach_norm(weights)).tolist()
        count = len(self.selector.taps)
        return {name: found[row * count : (row + 1) * count] for row, name in enumerate(self.selector.tasks)}

    def _note(self, done: float) -> None:
        norms, tasks = self._norms(), {}
        for name in self.selector.tasks:
            channels = self.selector.surviving(name)
            tasks[name] = {
                "strength": self.strengths[name],
                "norms": [round(norm, 6) for norm in norms[name]],
                "channels": [channels.get(tap, 0) for tap in self.selector.taps],
            }
        self.notes.append({"at": round(done, 4), "tasks": tasks})

    def selection(self, task: str) -> Selection:
        """What a task needs, by what the path has left of it so far.

        The score of a tap is the share of the training at whose end it was alive, and 1 and its norm more where it
        still is.
        """
        taps, norms = self.selector.taps, self._norms()[task]
        channels, scores = self.selector.surviving(task), {}
        for number, tap in enumerate(taps):
            lived = [note["at"] for note in self.notes if note["tasks"][task]["channels"][number]]
            scores[tap] = 1 + norms[number] if tap in channels else max(lived, default=0.0)
        ranking = tuple(sorted(scores.items(), key=lambda one: -one[1]))
        tap, *others = (name for name, _ in ranking)
        left = ", ".join(f"{count} channels of {name}" for name, count in channels.items())
        reason = f"of all taps, read together, {left} outlived the penalty"
        if others:
            reason += f"; the last one to go was {next((name for name in others if name not in channels), others[0])}"
        return Selection(tap, 1.0, others[0] if others else None, (tap,), reason, (tap, tap), (1.0,), ranking)

    def state_dict(self) -> dict[str, Any]:
        """To go on from; numbers and strings alone. The weights, and the optimizer's penalties, are kept elsewhere."""
        return {"decided": self._decided, "strengths": self.strengths, "notes": self.notes, "done": self._done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what :meth:`state_dict` gave; the selector has its weights, or gets them before :meth:`groups`."""
        self._remember()
        self._decided, self.strengths = dict(state["decided"]), dict(state["strengths"])
        self.notes, self._done = list(state["notes"]), state["done"]
        for name in self.selector.tasks:
            self._charge(name)
