"""What is asked of a run: which methods, how often, and how layers are chosen."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tailor.selection import DeepestActive, SelectionRule
from tailor.sparsity import GroupLasso, Penalty


@dataclass(frozen=True)
class Study:
    """The design of the comparison.

    Attributes:
        methods: names of ``tailor.methods.METHODS``, in the order in which they run; Δm needs "single_task".
        seeds: every network that enters the table is trained once with each.
        trials: sparse trainings for each task; a layer counts as needed where all of them agree.
        rule: how the patterns of the sparse trainings become taps.
        penalty: what makes groups die; its weight is λ.
        strength: λ of single tasks that differ from the penalty's own.
    """

    methods: Sequence[str] = ("single_task", "multi_task", "lomt")
    seeds: Sequence[int] = (0,)
    trials: int = 3
    rule: SelectionRule = field(default_factory=DeepestActive)
    penalty: Penalty = field(default_factory=lambda: GroupLasso(1e-3))
    strength: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ValueError(f"trials is {self.trials}: use 1 or more")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds is {list(self.seeds)}: give one or more, each once")

    def penalty_of(self, task: str) -> Penalty:
        """The penalty with the λ of ``task``."""
        penalty = copy.copy(self.penalty)
        penalty.weight = self.strength.get(task, penalty.weight)
        return penalty
