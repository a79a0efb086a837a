"""Tensors in files: written whole or not at all, and never read with a bit that is not what it was."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from lomt.files import DamagedFileError, write_atomically


def save(content: object, path: Path) -> None:
    """``torch.save`` beside ``path``, then rename.

    Raises:
        NotWrittenError: it can't be written.
    """
    write_atomically(path, packed(content))


def packed(content: object) -> bytes:
    """What :func:`save` writes."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def load(path: Path, remedy: str) -> Any:
    """What :func:`save` wrote, on the CPU.

    Args:
        path: the file.
        remedy: what to do where it is damaged, for the message.

    Raises:
        FileNotFoundError: it is not there.
        DamagedFileError: it is empty, cut off, something else, or has a bit that is not what it was.
    """
    check(path, remedy)
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # whatever torch makes of an archive that is none of its own
        raise DamagedFileError(path, "it is an archive, but none of tensors", remedy) from error


def check(path: Path, remedy: str) -> None:
    """Hold a file of :func:`save` against the checksums in it; torch itself does not look at them.

    Raises:
        FileNotFoundError: it is not there.
        DamagedFileError: as :func:`load`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except FileNotFoundError:
        raise
    except Exception as error:  # whatever garbage makes a reader of archives raise
        raise DamagedFileError(path, error, remedy) from error
    if bad is not None:
        raise DamagedFileError(path, f"the checksum of {bad} is not that of its content", remedy)
