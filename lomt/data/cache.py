"""Arrays that are computed once: built whole, renamed into place, memory-mapped ever after."""

import hashlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from lomt.files import read_record, write_record

if sys.platform != "win32":
    import fcntl

Chunk = Mapping[str, np.ndarray]
"""Some samples: for every key an array ``(n, …)``, with the same n."""


def cache_folder() -> Path:
    """The folder for derived data: ``LOMT_CACHE``, else ``lomt`` in the user's cache folder."""
    if chosen := os.environ.get("LOMT_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lomt"


def cached(
    kind: str, identity: Mapping[str, object], count: int, build: Callable[[], Iterable[Chunk]]
) -> dict[str, np.ndarray]:
    """The arrays of a whole data set, from the cache or built now.

    An entry is a folder ``<kind>-<hash of identity>`` of ``.npy`` files and an ``entry.json`` with their sizes and
    checksums. It is built under another name and renamed when whole, so that a broken build leaves nothing behind;
    an entry that is truncated or altered is built again. Of processes that want the same entry one builds it.

    Args:
        kind: a readable name of what is stored.
        identity: JSON-able; everything that determines the arrays. Another identity is another entry.
        count: how many samples there will be.
        build: gives the samples in order, in chunks; called only when there is no sound entry.

    Returns:
        Read-only memory-mapped arrays ``(count, …)``, one a key.

    Raises:
        OSError: where the entry can't be written: names the folder and the bytes that are needed.
    """
    text = json.dumps(identity, sort_keys=True)
    root = cache_folder()
    entry = root / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    if (arrays := _opened(entry)) is not None:
        return arrays
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / f"{entry.name}.lock").open("w")
    except OSError as error:
        raise OSError(f"the cache folder {root} can't be written ({error}): set LOMT_CACHE to one that can") from error
    with lock, _locked(lock.fileno()):
        arrays = _opened(entry)  # another process may have built it while this one waited
        if arrays is None:
            _build(entry, text, count, build)
            arrays = _opened(entry)
    if arrays is None:
        raise OSError(f"the cache entry {entry} was written but reads back otherwise: is the disk sound?")
    return arrays


def _opened(entry: Path) -> dict[str, np.ndarray] | None:
    """The arrays of a sound entry; ``None`` for one that is not there or is damaged."""
    arrays: dict[str, np.ndarray] = {}
    try:
        for key, (size, checksum) in read_record(entry / "entry.json", "it is built again")["files"].items():
            path = entry / f"{key}.npy"
            if path.stat().st_size != size or _checksum(path) != checksum:
                return None
            arrays[key] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return arrays


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            value = zlib.crc32(block, value)
    return value


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """One process at a time; a lock dies with its process. Where the system has no such locks, nobody waits."""
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield


def _build(entry: Path, identity: str, count: int, build: Callable[[], Iterable[Chunk]]) -> None:
    """Writes an entry beside its place, then renames it there."""
    for leftover in entry.parent.glob(f"{entry.name}.partial-*"):  # of a build that was killed: we hold the lock
        shutil.rmtree(leftover, ignore_errors=True)
    partial = entry.with_name(f"{entry.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        _write(partial, count, build())
        files = {path.stem: (path.stat().st_size, _checksum(path)) for path in sorted(partial.glob("*.npy"))}
        write_record(partial / "entry.json", {"identity": json.loads(identity), "files": files})
        if entry.exists():  # a damaged one; whoever has it open keeps its pages
            shutil.rmtree(entry)
        partial.rename(entry)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write(folder: Path, count: int, chunks: Iterable[Chunk]) -> None:
    """One ``.npy`` a key, filled chunk by chunk: a disk that fills up raises here and never kills by SIGBUS."""
    done, needed = 0, 0
    with ExitStack() as stack:
        label = f"preparing {folder.name.partition('-')[0]}, once"
        bar = stack.enter_context(tqdm(total=count, desc=label, unit=" images", leave=False, disable=None))
        files: dict[str, BinaryIO] = {}
        for chunk in chunks:
            rows = len(next(iter(chunk.values())))
            try:
                if not files:
                    needed = count * sum(array.nbytes for array in chunk.values()) // rows
                    _check_space(folder.parent, needed)
                    for key, array in chunk.items():
                        files[key] = stack.enter_context((folder / f"{key}.npy").open("wb"))
                        _write_header(files[key], (count, *array.shape[1:]), array.dtype)
                for key, array in chunk.items():
                    files[key].write(np.ascontiguousarray(array).data)
                    files[key].flush()
            except OSError as error:
                raise OSError(
                    f"the cache folder {folder.parent} can't take {needed} bytes ({error}): free some space, "
                    "or set LOMT_CACHE to a folder with more; nothing half-written is left"
                ) from error
            done += rows
            bar.update(rows)
    if done != count:
        raise ValueError(f"{done} samples were built where {count} were promised")


def _write_header(file: BinaryIO, shape: tuple[int, ...], dtype: np.dtype) -> None:
    descr = np.lib.format.dtype_to_descr(dtype)
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


def _check_space(folder: Path, needed: int) -> None:
    if (free := shutil.disk_usage(folder).free) < needed:
        raise OSError(f"only {free} bytes are free")
