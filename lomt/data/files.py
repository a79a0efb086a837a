"""Reading a data set's files: whatever is wrong is said with the file's name."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def read_image(path: Path, mode: str) -> np.ndarray:
    """The pixels of a picture: ``(H, W, 3)`` for mode ``"RGB"``, ``(H, W)`` for ``"L"`` (a map of numbers), uint8.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file can't be decoded, is truncated, or a map of numbers has several channels.
    """
    try:
        with Image.open(path) as picture:
            if mode == "L" and picture.mode not in {"L", "P", "1"}:
                raise ValueError(f"its pixels are {picture.mode}, and one byte each was expected")
            return np.asarray(picture if picture.mode == "P" and mode == "L" else picture.convert(mode))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing: restore it, or take its name out of the split's list") from error
    except Exception as error:  # whatever a damaged file makes a decoder say
        raise ValueError(
            f"{path} can't be read as a picture ({_first(error)}): restore it from the data set"
        ) from error


def read_array(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file.

    Raises:
        ValueError: where the file can't be decoded, is truncated, or holds no numbers.
    """
    try:
        # A map sees at once whether the file is as long as its header says: nothing is allocated for one that lies.
        with np.errstate(over="ignore"):
            array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # whatever a damaged header makes a parser say
        raise ValueError(
            f"{path} can't be read as a .npy array ({_first(error)}): restore it from the data set"
        ) from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{path} holds {array.dtype} and no numbers: restore it from the data set")
    return np.array(array)


def read_names(path: Path) -> list[str]:
    """The names in a split's list, one a line.

    Raises:
        ValueError: where the list can't be read, is empty or has a name twice.
    """
    try:
        names = path.read_text(encoding="utf-8-sig").split()  # as editors on Windows save it, too
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"the list {path} can't be read ({error}): it names one sample a line") from error
    if not names:
        raise ValueError(f"the list {path} is empty: it names one sample a line")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"the list {path} names {', '.join(twice[:5])} more than once: name each sample once")
    return names


def expect_folder(root: Path, entries: Sequence[str], what: str) -> None:
    """Make sure that a data set's folder is one.

    Raises:
        FileNotFoundError: where the folder or one of its entries is missing, with what was found.
    """
    if not root.is_dir():
        kind = "is a file" if root.exists() else "does not exist"
        raise FileNotFoundError(f"{root} {kind}: {what} is a folder with {', '.join(entries)}")
    if missing := [entry for entry in entries if not (root / entry).exists()]:
        found = sorted(entry.name for entry in root.iterdir())
        shown = ", ".join(found[:8]) + (" …" if len(found) > 8 else "") if found else "nothing"
        raise FileNotFoundError(
            f"{root} is no {what} folder: {', '.join(missing)} is missing "
            f"(expected {', '.join(entries)}; found {shown})"
        )


def same_size(label: np.ndarray, image: np.ndarray, path: Path, image_path: Path) -> None:
    """Make sure that a label map ``(…, H, W)`` is as large as its image ``(H, W, 3)``.

    Raises:
        ValueError: where it is not, with both sizes (height × width).
    """
    if label.shape[-2:] != image.shape[:2]:
        sizes = [" × ".join(map(str, shape)) for shape in (label.shape[-2:], image.shape[:2])]
        raise ValueError(f"{path} is {sizes[0]} but its image {image_path} is {sizes[1]}: both must have one size")


def _first(error: Exception) -> str:
    """The first line of what an error says, which has no advice on how to read what can't be trusted."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def fingerprint(paths: Iterable[Path], times: bool = True) -> str:
    """A hash of names, sizes and (or not) times of files: another hash where a file was changed."""
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat() if path.exists() else None
        digest.update(repr((path.name, status and (status.st_size, status.st_mtime_ns if times else 0))).encode())
    return digest.hexdigest()[:16]


def code_version(*files: str) -> str:
    """A hash of source files: what they compute is computed anew when they change."""
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()[:16]
