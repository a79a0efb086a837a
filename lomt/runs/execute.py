"""Run a method's stages in order, in a folder; again is continue."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lomt.files import NotWrittenError
from lomt.interrupts import Terminated, terminating
from lomt.methods import Method, Result, Workshop
from lomt.runs.bar import Bar
from lomt.runs.folder import RunFolder, RunFolderError
from lomt.runs.plan import plan
from lomt.training import forget

CONTINUES = "stopped; the same command again continues"


def execute(
    folder: RunFolder,
    config: Mapping[str, Any],
    method: Callable[[], Method],
    workshop: Workshop,
    show_progress: bool = True,
) -> list[Result]:
    """Every stage that has not ended yet, in order; returns what the method returns.

    Nothing is written before the whole of it has been planned, so that what can't work leaves the folder free.

    Args:
        folder: where the run is, or will be.
        config: what the run is; a folder of another one is refused.
        method: makes the generator of stages; called twice, once to plan and once to run.
        workshop: data, tasks, and how networks are made and trained.
        show_progress: show a bar.

    Raises:
        RunFolderError: where the folder holds another run, another process works in it, or the disk is full; what
            was computed is kept.
        KeyboardInterrupt: Ctrl-C; what was computed is kept.
        Terminated: SIGTERM, the same.
    """
    folder.check(config)
    planned = plan(method(), workshop)
    with _stopped_said(folder.path), folder.locked(config):
        works = {line.stage.name: line.preview.work for line in planned}
        ended = [name for name in works if folder.result(name) is not None]
        with Bar(works, ended, show_progress) as bar:
            return _run(folder, method(), workshop, bar)


def _run(folder: RunFolder, stages: Method, workshop: Workshop, bar: Bar) -> list[Result]:
    try:
        stage = next(stages)
        while True:
            place = folder.stages / stage.name
            result = folder.result(stage.name)
            if result is None:
                with bar.stage(stage.name, stage.preview(workshop).work):
                    result = stage.run(workshop, place, bar)
                    folder.write_result(stage.name, result)
            forget(place)
            stage = stages.send(result)
    except StopIteration as end:
        networks: list[Result] = end.value
        return networks


@contextmanager
def _stopped_said(path: Path) -> Iterator[None]:
    """What ends a run from outside says that the same command goes on, also where Python called."""
    try:
        with terminating():
            try:
                yield
            except Terminated as stop:
                stop.line = CONTINUES
                raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt(CONTINUES) from None
    except OSError as error:
        said = error if isinstance(error, NotWrittenError) else NotWrittenError(Path(error.filename or path), error)
        if not said.full:
            raise
        raise RunFolderError(
            f"{said}; ended stages are kept, and the broken one goes on from its last epoch"
        ) from error
