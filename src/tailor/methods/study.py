"""What is asked of a run: which methods, how often, and how layers are chosen."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tailor.selection import DeepestActive, SelectionRule
from tailor.sparsity import GroupLasso, Penalty, StrengthPath


@dataclass(frozen=True)
class Study:
    """The design of the comparison.

    Attributes:
        methods: names of ``tailor.methods.METHODS``, in the order in which they run; Δm needs "single_task".
        seeds: every network that enters the table is trained once with each.
        trials: sparse trainings for each task; a layer counts as needed where all of them agree.
        rule: how the patterns of the sparse trainings become taps.
        penalty: what makes groups die; its weight is λ. "auto" is a group lasso whose λ is found for each task.
        strength: λ of single tasks that is not the penalty's own, or not to be searched for; under the name of a
            multi-task method ("multi_task", "lomt") that of its shared backbone, where a sparse form of it is trained.
        path: how λ is found where it is not given.
    """

    methods: Sequence[str] = ("single_task", "multi_task", "lomt")
    seeds: Sequence[int] = (0,)
    trials: int = 3
    rule: SelectionRule = field(default_factory=DeepestActive)
    penalty: Penalty | Literal["auto"] = "auto"
    strength: Mapping[str, float] = field(default_factory=dict)
    path: StrengthPath = field(default_factory=StrengthPath)

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials is {self.trials}: use 1 or more")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds is {list(self.seeds)}: give one or more, each once")

    def penalty_of(self, name: str) -> Penalty | None:
        """The penalty with the λ of a task or of a method; none where λ is to be found."""
        if self.penalty == "auto":
            return GroupLasso(self.strength[name]) if name in self.strength else None
        penalty = copy.copy(self.penalty)
        penalty.weight = self.strength.get(name, penalty.weight)
        return penalty
