"""The whole experiment: train what is to be compared, make it small, compare both on the test split once."""

from collections.abc import Callable

from lomt.methods.compact import Compact
from lomt.methods.compare import BASELINE, Compare
from lomt.methods.export import Export, exporting
from lomt.methods.lomt import lomt
from lomt.methods.multi_task import conventional_trainings, multi_task
from lomt.methods.selector import selector
from lomt.methods.setup import Setup
from lomt.methods.single_task import single_task, single_trainings
from lomt.methods.sparse_shared import SHARED, sparse_lomt, sparse_multi_task
from lomt.methods.stage import Method, Parallel, Result, alone
from lomt.methods.study import Study
from lomt.methods.train import Train

METHODS: dict[str, Callable[[Setup, Study], Method]] = {
    "single_task": single_task,
    "multi_task": multi_task,
    "lomt": lomt,
    "selector": selector,
    "sparse_multi_task": sparse_multi_task,
    "sparse_lomt": sparse_lomt,
}
"""Every built-in method by its name; a new one is a new file and one line here."""


KNOWN: dict[str, Callable[[Setup, Study], list[Train]]] = {
    "single_task": single_trainings,
    "multi_task": conventional_trainings,
}
"""Methods whose trainings need nothing that others learn, so that all of these may run at once, first."""


def experiment(setup: Setup, study: Study) -> Method:
    """All methods of the study; each one's first network compacted; the comparison; and the networks as files.

    The single-task networks are dense: they are what the others are compared with, as they were trained.

    Raises:
        ValueError: where a method is not known, or λ is given to what is neither a task nor a shared backbone.
    """
    unknown = [name for name in study.methods if name not in METHODS]
    if unknown:
        raise ValueError(f"unknown method {unknown[0]!r} – there are {', '.join(METHODS)}")
    for name in study.strength:
        if name not in (*setup.task_names, *SHARED):
            there = ", ".join((*setup.task_names, *SHARED))
            raise ValueError(f"study.strength gives λ to {name!r}, no task and no shared backbone – there are {there}")
    at_once = [stage for name, known in KNOWN.items() if name in study.methods for stage in known(setup, study)]
    yield Parallel(tuple(map(alone, at_once)))
    networks: list[Result] = []
    for name in study.methods:
        networks += yield from METHODS[name](setup, study)
    firsts: dict[str, Result] = {}
    for network in networks:
        if network["method"] != BASELINE:
            firsts.setdefault(network["method"], network)
    compaction: Result = {"networks": {}}
    if firsts:
        compaction = yield Compact("compact", tuple(firsts.values()), study.round_to)
    compared = yield Compare("compare", tuple(networks), compaction)
    if firsts and study.export and exporting():
        yield Export("export", tuple(firsts.values()), study.round_to, compared)
    return networks
