"""``python -m lomt_kernels``: what was found here, what is chosen for each operation, and why not the others."""

import argparse
import json
import sys
import textwrap
from typing import Any

from lomt_kernels.facts import INSTALL_TRITON, info

WIDTH = 120


def main(arguments: list[str] | None = None) -> int:
    """Print it; returns 0, or 1 where an operation has no backend at all."""
    parser = argparse.ArgumentParser(
        prog="python -m lomt_kernels",
        description="What was found on this machine, what is chosen for each operation, and why not the others.",
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    found = info()
    if parser.parse_args(arguments).json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(lines(found)))
    choices = [choice for devices in found["operations"].values() for choice in devices.values()]
    return 0 if all(choice["chosen"] for choice in choices) else 1


def lines(found: dict[str, Any]) -> list[str]:
    """What is printed."""
    native, cuda = found["native"], found["cuda"]
    said = [
        f"lomt_kernels {found['version']}",
        f"torch        {found['torch']}",
        f"triton       {found['triton'] or f'not installed: {INSTALL_TRITON}'}",
        f"native       {native.get('why_not') or _native(native)}",
        f"cuda         {cuda.get('why_not') or _cuda(cuda)}",
        f"GPUs         {', '.join(found['gpus']) or 'none is visible'}",
    ]
    if found["asked"]:
        said.append(f"asked for    {found['asked']}, by LOMT_KERNELS_BACKEND")
    said.append("")
    for operation, devices in found["operations"].items():
        for device, choice in devices.items():
            said.append(f"{operation} on {device}: {choice['chosen'] or 'none'}")
            for other, reason in choice["why_not"].items():
                said += textwrap.wrap(f"{other}: {reason}", WIDTH, initial_indent="    not ", subsequent_indent=" " * 8)
    return said


def _native(facts: dict[str, Any]) -> str:
    return f"by {facts['compiler']}, uses {facts['instruction_set']} of {', '.join(facts['instruction_sets'])}"


def _cuda(facts: dict[str, Any]) -> str:
    return f"by nvcc {facts['version']}, for {', '.join(f'sm_{number}' for number in facts['architectures'])}"


if __name__ == "__main__":
    sys.exit(main())
