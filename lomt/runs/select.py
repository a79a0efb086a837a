"""Choose layers anew from what a run has trained for it."""

from collections import defaultdict
from typing import Any

from lomt.methods import choose
from lomt.runs.folder import RunFolder, RunFolderError
from lomt.selection import SelectionRule


def select(folder: RunFolder, rule: SelectionRule) -> dict[str, Any]:
    """Each task's selection by ``rule``; the run stays as it is.

    Raises:
        RunFolderError: where this is no run folder, or nothing that the rule needs has ended in it.
        ValueError: where the rule has no answer: says why.
    """
    folder.config()
    probes = rule.needs == "probes"
    trials: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, result in folder.results().items():
        if probes and "losses" in result:
            trials[name.split("/")[1]].append(result)
        elif not probes and result.get("method") == "sparse":
            (task,) = result["taps"]
            trials[task].append(result)
    if not trials:
        what = "probe" if probes else "sparse training"
        how = f", with study.rule {rule.name!r}" if probes else ""
        raise RunFolderError(f"{folder.path} holds no {what} that has ended: run the method 'lomt' in it first{how}")
    selections: dict[str, Any] = choose(rule, trials)["selections"]
    return selections
