"""How long the embedded model's whole story takes, from the first command to the last: python -m benchmarks.llm.story.

`lomt llm train`, `eval`, `bench` and `generate` in an empty folder, each a process of its own, as a newcomer
types them. Wall and processor seconds and peak memory of each; writes benchmarks/results/llm/story.json.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lomt.evaluation.environment import environment
from lomt.files import write_record

RESULTS = Path(__file__).parents[1] / "results/llm/story.json"
COMMANDS = (("train",), ("eval",), ("bench",), ("generate", "def main("))


def told(command: tuple[str, ...], folder: str) -> dict[str, Any]:
    """Run one command to its end; what it cost and what it said."""
    words = [sys.executable, "-m", "lomt", "llm", *command]
    begin = time.perf_counter()
    running = subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    said = running.stdout.read()
    _, status, usage = os.wait4(running.pid, 0)
    if status:
        raise SystemExit(f"lomt llm {' '.join(command)} failed: {said}")
    return {
        "command": f"lomt llm {' '.join(command)}",
        "seconds": round(time.perf_counter() - begin, 1),
        "processor": round(usage.ru_utime + usage.ru_stime, 1),
        "peak MB": usage.ru_maxrss // 1024,
        "said": re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines(),
    }


def line(record: dict[str, Any]) -> str:
    """All of it in a sentence's part."""
    steps = record["commands"]
    wall, processor = sum(one["seconds"] for one in steps), sum(one["processor"] for one in steps)
    most = max(one["peak MB"] for one in steps)
    return f"{wall / 60:.1f} minutes, {processor / 60:.1f} of a processor, {most / 1000:.1f} GB at most"


def main() -> None:
    """Run the commands in turn."""
    with tempfile.TemporaryDirectory() as folder:
        steps = []
        for command in COMMANDS:
            steps.append(told(command, folder))
            print(steps[-1]["command"], steps[-1]["seconds"], "s", flush=True)
    record = {"environment": environment(), "cores": os.cpu_count(), "commands": steps}
    write_record(RESULTS, record)
    print(line(record))


if __name__ == "__main__":
    main()
