"""The stage that reads patterns and gives each task its tap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lomt.methods.setup import Setup
from lomt.methods.stage import Preview, Result, Stage
from lomt.selection import SelectionRule
from lomt.sparsity import Pattern
from lomt.training import Progress


@dataclass(frozen=True)
class Select(Stage):
    """Choose a tap for each task.

    Attributes:
        rule: patterns → tap.
        trials: for each task, the results of what its rule needs.
    """

    rule: SelectionRule
    trials: Mapping[str, Sequence[Result]]

    def run(self, setup: Setup, folder: Path, progress: Progress) -> Result:  # noqa: ARG002
        """Apply the rule to every task's patterns.

        Raises:
            ValueError: where a task has no layer left: names it, and says what to do.
        """
        selected = choose(self.rule, self.trials)
        for task, selection in selected["selections"].items():
            if selection["tap"] is None:
                raise ValueError(
                    f"task {task!r} has no tap: {selection['reason']}. Give it a lower --study.strength.{task} and the "
                    "run another --out"
                )
        return selected

    def preview(self, setup: Setup) -> Preview:
        """Before anything is trained, the end of the backbone is all that can be said."""
        taps = dict.fromkeys(self.trials, setup.end)
        return Preview(result={"taps": taps}, work=0.0, what="choose a tap for each task (shown: the end, at most)")


def choose(rule: SelectionRule, trials: Mapping[str, Sequence[Mapping[str, Any]]]) -> Result:
    """The taps of all tasks, and why.

    Args:
        rule: patterns → tap.
        trials: for each task, results with what the rule needs: the pattern of a network, or the losses of probes.

    Returns:
        ``taps`` (task → name, none where no layer is left) and ``selections`` (task → everything that the rule says).
    """
    selections = {
        task: rule.select([_evidence(rule, result) for result in results]) for task, results in trials.items()
    }
    return {
        "taps": {task: selection.tap for task, selection in selections.items()},
        "selections": {task: selection.to_dict() for task, selection in selections.items()},
    }


def _evidence(rule: SelectionRule, result: Mapping[str, Any]) -> Any:
    return result["losses"] if rule.needs == "probes" else Pattern.from_dict(result["pattern"])
