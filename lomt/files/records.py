"""Records: JSON objects that hold their own checksum, so that damage is seen and not computed with."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lomt.files.writing import write_atomically

CHECKSUM = "sha256"
"""The key under which a record holds the checksum of all the rest of it."""


class DamagedFileError(ValueError):
    """A file that is not what was written.

    Args:
        path: the file.
        wrong: what is wrong with it.
        remedy: what to do.
    """

    def __init__(self, path: Path, wrong: object, remedy: str) -> None:
        super().__init__(f"{path} is damaged ({wrong}): {remedy}")


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON object with its checksum, whole or not at all.

    Raises:
        NotWrittenError: it can't be written.
    """
    plain = json.loads(json.dumps(record))
    write_atomically(path, json.dumps(plain | {CHECKSUM: _checksum(plain)}, indent=1))


def read_record(path: Path, remedy: str) -> dict[str, Any]:
    """Read a JSON object that :func:`write_record` wrote, and hold it against its checksum.

    Args:
        path: the file.
        remedy: what to do where it is damaged, for the message.

    Raises:
        FileNotFoundError: it is not there.
        DamagedFileError: it is no JSON object, empty, without a checksum, or another one than was written.
    """
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(path, error, remedy) from error
    if not isinstance(found, dict) or not found:
        raise DamagedFileError(path, "it holds no JSON object with anything in it", remedy)
    checksum = found.pop(CHECKSUM, None)
    if checksum is None:
        raise DamagedFileError(path, f"it has no checksum, {CHECKSUM!r}", remedy)
    if checksum != _checksum(found):
        raise DamagedFileError(path, "it is not what was written, by its checksum", remedy)
    return found


def _checksum(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
