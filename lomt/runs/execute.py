"""Run a method's stages in order, in a folder; again is continue."""

import errno
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lomt.methods import Method, Result, Workshop
from lomt.runs.bar import Bar
from lomt.runs.folder import RunFolder, RunFolderError
from lomt.runs.plan import plan
from lomt.training import CHECKPOINT


def execute(
    folder: RunFolder,
    config: Mapping[str, Any],
    method: Callable[[], Method],
    workshop: Workshop,
    show_progress: bool = True,
) -> list[Result]:
    """Every stage that has not ended yet, in order; returns what the method returns.

    Args:
        folder: where the run is, or will be.
        config: what the run is; a folder of another one is refused.
        method: makes the generator of stages; called twice, once to plan and once to run.
        workshop: data, tasks, and how networks are made and trained.
        show_progress: show a bar.

    Raises:
        RunFolderError: where the folder holds another run, another process works in it, or the disk is full; what
            was computed is kept.
    """
    with _disk_full_said(folder), folder.locked(config):
        planned = plan(method(), workshop)
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
            # A checkpoint serves a broken-off stage alone.
            (place / CHECKPOINT).unlink(missing_ok=True)
            stage = stages.send(result)
    except StopIteration as end:
        networks: list[Result] = end.value
        return networks


@contextmanager
def _disk_full_said(folder: RunFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunFolderError(
            f"the disk of {folder.path} is full ({shutil.disk_usage(folder.path).free:,} bytes free): make room and "
            "give the same command again; ended stages are kept, and the broken one goes on from its last epoch"
        ) from error
