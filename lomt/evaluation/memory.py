"""How much memory a pass needs, as the operating system sees it."""

import ctypes
import gc
import threading
from collections.abc import Callable
from pathlib import Path

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_growth(call: Callable[[], object]) -> int | None:
    """By how much the process grows, at its highest, while ``call`` runs.

    All memory counts, whoever asked for it: PyTorch's tensors, the workspaces of its kernels, ONNX Runtime's arena.
    Free memory goes back to the system before, so that it is not used again unseen; and ``call`` runs in a thread of
    its own, since kernels keep workspaces for each thread.

    Args:
        call: a pass that was not run before; whatever it raises comes through.

    Returns:
        Bytes; None where the system does not tell (it is Linux that does).
    """
    gc.collect()
    if not _give_back():
        return None
    before = _kilobytes("VmRSS")
    _in_thread(call)
    return max(0, 1024 * (_kilobytes("VmHWM") - before))


def _give_back() -> bool:
    """Return free memory to the system, and begin a new high-water mark; whether that worked."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        RESET.write_text("5")
    except (OSError, AttributeError, TypeError):
        return False
    return True


def _kilobytes(key: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1])


def _in_thread(call: Callable[[], object]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 – raised again below, where it can be caught
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
