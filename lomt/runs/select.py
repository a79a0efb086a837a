"""Choose layers anew from the sparse trainings that a run holds."""

from collections import defaultdict
from typing import Any

from lomt.methods import choose
from lomt.runs.folder import RunFolder, RunFolderError
from lomt.selection import SelectionRule


def select(folder: RunFolder, rule: SelectionRule) -> dict[str, Any]:
    """Each task's selection by ``rule``; the run stays as it is.

    Raises:
        RunFolderError: where this is no run folder, or no sparse training has ended in it.
        ValueError: where the rule has no answer: says why.
    """
    folder.config()
    trials: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for result in folder.results().values():
        if result.get("method") == "sparse":
            (task,) = result["taps"]
            trials[task].append(result)
    if not trials:
        raise RunFolderError(
            f"{folder.path} holds no sparse training that has ended: run the method 'lomt' in it first"
        )
    selections: dict[str, Any] = choose(rule, trials)["selections"]
    return selections
