"""Run a method's stages in order, in a folder; again is continue."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lomt.files import NotWrittenError
from lomt.interrupts import Terminated, terminating
from lomt.methods import Method, Parallel, Result, Setup, Stage, follow
from lomt.runs.bar import Bar
from lomt.runs.folder import RunFolder, RunFolderError
from lomt.runs.plan import plan
from lomt.runs.said import ended
from lomt.runs.workers import ahead
from lomt.training import forget

CONTINUES = "stopped; the same command again continues"


def execute(
    folder: RunFolder,
    config: Mapping[str, Any],
    method: Callable[[], Method],
    setup: Setup,
    show_progress: bool = True,
    workers: int = 1,
) -> list[Result]:
    """Every stage that has not ended yet, in order; returns what the method returns.

    Nothing is written before the whole of it has been planned, so that what can't work leaves the folder free.

    Args:
        folder: where the run is, or will be.
        config: what the run is; a folder of another one is refused.
        method: makes the generator of stages; called twice, once to plan and once to run.
        setup: data, tasks, and how networks are made and trained.
        show_progress: show a bar, and a line for each stage that ends.
        workers: processes that train at the same time, where a method allows it.

    Raises:
        RunFolderError: where the folder holds another run, another process works in it, or the disk is full; what
            was computed is kept.
        KeyboardInterrupt: Ctrl-C; what was computed is kept.
        Terminated: SIGTERM, the same.
    """
    folder.check(config)
    planned = plan(method(), setup)
    with _stopped_said(folder.path), folder.locked(config):
        works = {line.stage.name: line.preview.work for line in planned}
        ended = [name for name in works if folder.result(name) is not None]
        with Bar(works, ended, show_progress) as bar:
            return list(_run(folder, method(), setup, bar, workers))


def _run(folder: RunFolder, method: Method, setup: Setup, bar: Bar, workers: int) -> Any:
    """What a method returns, once all of its stages have ended."""

    def answer(asked: Stage | Parallel) -> Any:
        if isinstance(asked, Parallel):
            return together(asked.methods)
        result = folder.result(asked.name)
        if result is None:
            with bar.stage(asked.name, asked.preview(setup).work):
                result = asked.run(setup, folder.stages / asked.name, bar)
                folder.write_result(asked.name, result)
            bar.say(ended(asked.name, result, setup.tasks))
        forget(folder.stages / asked.name)
        return result

    def together(methods: Sequence[Method]) -> list[Any]:
        failed = None
        if workers > 1 and len(methods) > 1:
            with bar.together() as tell:
                failed = ahead(methods, workers, lambda one, note: _run(folder, one, setup, bar.of(note), 1), tell)
        found = {} if failed is None else {failed: follow(methods[failed], answer)}  # says why, or mends it
        return [found[number] if number in found else follow(one, answer) for number, one in enumerate(methods)]

    return follow(method, answer)


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
