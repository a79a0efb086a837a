"""Which networks of a run can be compared, and what to add where one can't."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lomt.methods import METHODS, Result
from lomt.methods.compare import BASELINE
from lomt.runs.folder import RunFolder, RunFolderError


@dataclass(frozen=True)
class Trained:
    """The dense networks that a run holds.

    Attributes:
        config: the run's.
        alone: results of the single-task trainings.
        together: method → results of its multi-task trainings, by seed.
        missing: stages that the run's study asks for and that have not ended.
    """

    config: Mapping[str, Any]
    alone: tuple[Result, ...]
    together: Mapping[str, tuple[Result, ...]]
    missing: tuple[str, ...]

    def of(self, methods: Sequence[str]) -> "Trained":
        """The same with some multi-task methods only, or with all if none is named.

        Raises:
            RunFolderError: where one has no network.
        """
        for method in methods:
            if method not in self.together:
                raise RunFolderError(
                    f"no multi-task network of {method!r} has ended in this run: {', '.join(self.together)} have"
                )
        return replace(self, together={method: self.together[method] for method in methods or self.together})


def trained(folder: RunFolder) -> Trained:
    """What ended in a run.

    Raises:
        RunFolderError: where this is no run folder, or where it holds nothing to compare: says whether to go on with
            the run, or what to add to its study.
    """
    config = folder.config()
    alone = tuple(result for result in _networks(folder) if result["method"] == BASELINE)
    by_seed = together(folder)
    missing = _missing(folder, config)
    learned = {task for those in by_seed.values() for result in those for task in result["taps"]}
    without = sorted(learned - {task for result in alone for task in result["taps"]})
    if not by_seed:
        _refuse(folder, config, "no multi-task network", "multi_task", missing)
    if without or not alone:
        what = f"no dense single-task network for {', '.join(without)}" if alone else "no dense single-task networks"
        _refuse(folder, config, what, BASELINE, missing)
    return Trained(config, alone, by_seed, missing)


def together(folder: RunFolder) -> dict[str, tuple[Result, ...]]:
    """Method → its multi-task networks, one a seed: of several, the one that was compared, else the last.

    What a method leaves on its way, under another name, is none.
    Methods stand in the order of the run's study.
    """
    chosen = {stage for row in (folder.result("compare") or {}).get("rows", ()) for stage in row["stages"]}
    found: dict[str, dict[int, Result]] = {}
    for result in _networks(folder):
        if len(result["taps"]) > 1 and result["method"] in METHODS:
            by_seed = found.setdefault(result["method"], {})
            if by_seed.get(result["seed"], {}).get("stage") not in chosen:
                by_seed[result["seed"]] = result
    order = _asked(folder, folder.config())
    methods = sorted(found, key=lambda method: order.index(method) if method in order else len(order))
    return {method: tuple(found[method][seed] for seed in sorted(found[method])) for method in methods}


def _networks(folder: RunFolder) -> list[Result]:
    return [result for result in folder.results().values() if "validation" in result and "taps" in result]


def _asked(folder: RunFolder, config: Mapping[str, Any]) -> list[str]:
    """The methods of the run's study."""
    study = config.get("study")
    methods = study.get("methods") if isinstance(study, Mapping) else None
    if not isinstance(methods, list):
        raise RunFolderError(f"{folder.path / 'config.yaml'} does not say study.methods: restore it")
    return methods


def _missing(folder: RunFolder, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Trainings that have begun and not ended, and methods of which none has."""
    begun = {file.parent.relative_to(folder.stages).as_posix() for file in folder.stages.rglob("metrics.csv")}
    ended = folder.results()
    methods = {result.get("method") for result in ended.values()}
    waiting = [method for method in _asked(folder, config) if method not in methods]
    stopped = sorted(stage for stage in begun if not any(stage == one or stage.startswith(f"{one}/") for one in ended))
    return (*stopped, *(method for method in waiting if not any(method in one for one in begun)))


def _refuse(folder: RunFolder, config: Mapping[str, Any], what: str, needed: str, missing: tuple[str, ...]) -> None:
    methods = _asked(folder, config)
    again = f"lomt run -c {shlex.quote(str(folder.path / 'config.yaml'))}"
    if needed in methods:
        raise RunFolderError(
            f"{folder.path} holds {what} that has ended (not ended: {', '.join(missing) or needed}): go on with the "
            f"run first, '{again} --out {shlex.quote(str(folder.path))}'"
        )
    wanted = [BASELINE, *(method for method in methods if method != BASELINE)]
    wanted += [needed] if needed not in wanted else []
    raise RunFolderError(
        f"{folder.path} holds {what}, so there is nothing to compare: add the stages of {needed}, with "
        f"\"{again} --study.methods '[{', '.join(wanted)}]' --out {shlex.quote(f'{folder.path}-compared')}\""
    )
