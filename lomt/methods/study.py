"""What is asked of a run: which methods, how often, and how layers are chosen."""

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lomt.checks import check_whole
from lomt.selection import DeepestActive, SelectionRule, TapSearch
from lomt.sparsity import GroupLasso, Penalty, StrengthPath


@dataclass(frozen=True)
class Study:
    """The design of the comparison.

    Attributes:
        methods: what is trained and compared, in this order; Δm needs "single_task".
        seeds: every network that enters the table is trained once with each.
        trials: sparse trainings for each task; a layer counts as needed where all of them agree.
        rule: how the patterns of the sparse trainings become taps.
        penalty: what makes groups die; its weight is λ. "auto" is a group lasso whose λ is found for each task.
        strength: λ of single tasks that is not the penalty's own, or not to be searched for; under the name of a
            multi-task method ("multi_task", "lomt") that of its shared backbone, where a sparse form of it is trained.
        path: how λ is found where it is not given.
        selector: how the method "selector" looks for taps in one training.
        taps: fixed taps, task → module, in place of those that the rule would choose.
        no_task_worse_than: the most that a task may lose in the tailored network, as a share of its dense
            single-task network's metrics on the validation split, 0.01 or 1%; taps and weights of tasks that lose
            more are changed until none does. None asks for nothing. On the command line also --no-task-worse-than.
        export: write the last network as safetensors and ONNX, where the extra "export" is installed.
        round_to: in compaction, channel counts are kept at multiples of this; 8 or 16 suits many devices.
    """

    methods: Sequence[str] = ("single_task", "multi_task", "lomt")
    seeds: Sequence[int] = (0,)
    trials: int = 3
    rule: SelectionRule = field(default_factory=DeepestActive)
    penalty: Penalty | Literal["auto"] = "auto"
    strength: Mapping[str, float] = field(default_factory=dict)
    path: StrengthPath = field(default_factory=StrengthPath)
    selector: TapSearch = field(default_factory=TapSearch)
    taps: Mapping[str, str] = field(default_factory=dict)
    no_task_worse_than: float | str | None = None
    round_to: int = 1
    export: bool = True

    def __post_init__(self) -> None:
        for name in ("trials", "round_to"):
            check_whole(f"study.{name}", getattr(self, name), 1)
        for name in ("methods", "seeds"):
            given = list(getattr(self, name))
            if not given or len(set(given)) < len(given):
                raise ValueError(f"study.{name} is {given}: give one or more, each once")
        for seed in self.seeds:
            check_whole("a seed of study.seeds", seed)
        object.__setattr__(self, "no_task_worse_than", _share(self.no_task_worse_than))

    @property
    def trial_seeds(self) -> list[int]:
        """Seeds of the dense networks that the trials begin with: those of the table first, so that none is wasted."""
        others = (seed for seed in itertools.count() if seed not in self.seeds)
        return list(itertools.islice(itertools.chain(self.seeds, others), self.trials))

    def penalty_of(self, name: str) -> Penalty | None:
        """The penalty with the λ of a task or of a method; none where λ is to be found."""
        if self.penalty == "auto":
            return GroupLasso(self.strength[name]) if name in self.strength else None
        penalty = copy.copy(self.penalty)
        penalty.weight = self.strength.get(name, penalty.weight)
        return penalty


def _share(given: float | str | None) -> float | None:
    """A share of 1, also from a text such as 1%."""
    if given is None:
        return None
    try:
        text = str(given).strip()
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise ValueError(f"no_task_worse_than is {given}: use a share such as 0.01, or 1%")
    return share
