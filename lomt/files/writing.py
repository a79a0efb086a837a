"""Files that are either whole or not there."""

import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL = ".partial"
"""The end of the name of what is being written: ``.name.process-number.partial``."""
FULL = (errno.ENOSPC, errno.EDQUOT)

_numbers = itertools.count()


class NotWrittenError(OSError):
    """A file that can't be written; says which one, why, and what to do.

    Args:
        path: the file, or the folder in which it should have been.
        error: what the system said.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(error.errno, error.strerror or str(error), str(path))
        self.path = path

    @property
    def full(self) -> bool:
        """Whether it is for want of room."""
        return self.errno in FULL

    def __str__(self) -> str:
        if self.full:
            there = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
            free = f"{shutil.disk_usage(there).free:,} bytes free"
            return f"{self.path} can't be written, its disk is full ({free}): make room and give the command again"
        return f"{self.path} can't be written ({self.strerror}): choose another place, or see that it can be"


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to, which becomes ``path`` where the block ends well.

    A reader never sees half a file; where writing fails nothing is left, and an older file stays as it was.

    Raises:
        NotWrittenError: the folder can't be made, the disk is full, or whatever else the system says.
    """
    draft = path.with_name(f".{path.name[:40]}.{os.getpid()}-{next(_numbers)}{PARTIAL}")
    try:
        with named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield draft
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink()


@contextmanager
def named(path: Path) -> Iterator[None]:
    """What can't be written in the block is named ``path``, the name that it was to have in the end.

    Raises:
        NotWrittenError: in the place of any other ``OSError``.
    """
    try:
        yield
    except NotWrittenError:
        raise
    except OSError as error:
        raise NotWrittenError(path, error) from error


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path`` to write files to, before they are moved there; it goes in the end.

    Raises:
        NotWrittenError: as :func:`written`.
    """
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name[:40]}-", dir=path.parent) as folder:
            yield Path(folder)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file as :func:`written` does.

    Raises:
        NotWrittenError: as there.
    """
    with written(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def sweep(folder: Path) -> None:
    """Remove what processes that are gone were writing below ``folder`` when they were killed."""
    for file in folder.rglob(f".*{PARTIAL}"):
        process = file.name.removesuffix(PARTIAL).rpartition(".")[2].partition("-")[0]
        if process.isdecimal() and not _lives(int(process)):
            with suppress(OSError):
                file.unlink()


def ready(folder: Path) -> None:
    """Make ``folder``, sweep it, and see that it can be written to, before anything is computed for it.

    Raises:
        NotWrittenError: it can't.
    """
    draft = folder / f".{os.getpid()}-{next(_numbers)}{PARTIAL}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise NotWrittenError(folder, error) from error
    sweep(folder)


def _lives(process: int) -> bool:
    """Whether another process of that number is there; what this one has begun it has ended by now."""
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
