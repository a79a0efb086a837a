"""``kill -9`` at any moment, then the same command: the same numbers as an unbroken run."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [
    *(sys.executable, "-m", "lomt", "run", "--data.size=[32,32]", "--data.train=32", "--data.validation=8"),
    *("--data.test=8", "--data.batch_size=8", "--tasks=[edges,room]", "--network.width=4", "--network.decoder_width=8"),
    *("--study.trials=1", "--recipe.epochs=2", "--study.path.start=0.01", "--study.export=false", "--threads=1"),
]
VOLATILE = ("seconds", "processor", "latency", "environment", "table", "figures", "methods", "sha256")
"""What a clock says differs from run to run; everything else may not."""


def start(out, workers=1):
    return subprocess.Popen(
        [*COMMAND, f"--out={out}", f"--workers={workers}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def numbers(out):
    found = {}
    for file in sorted(out.rglob("result.json")):
        found[str(file.relative_to(out))] = stable(json.loads(file.read_text()))
    for file in sorted(out.rglob("metrics.csv")):
        found[str(file.relative_to(out))] = stable(list(csv.DictReader(file.read_text().splitlines())))
    return found


def stable(value):
    if isinstance(value, dict):
        return {key: stable(one) for key, one in value.items() if key not in VOLATILE}
    return [stable(one) for one in value] if isinstance(value, list) else value


def kill_after(process, out, stages, delay):
    """Kill the process some moments after so many stages have ended: in the midst of a later one."""
    while process.poll() is None and len(list(out.rglob("result.json"))) < stages:
        time.sleep(0.02)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_killed_run_ends_as_an_unbroken_one(tmp_path):
    with start(tmp_path / "whole") as process:
        assert process.wait() == 0, process.stderr.read().decode()
    draw = random.Random(0)
    for stages, workers in ((0, 1), (1, 2), (4, 2)):
        with start(tmp_path / "broken", workers) as process:
            kill_after(process, tmp_path / "broken", stages, draw.uniform(0, 1))
            assert process.returncode == -signal.SIGKILL
    with start(tmp_path / "broken") as process:
        assert process.wait() == 0, process.stderr.read().decode()
    assert numbers(tmp_path / "broken") == numbers(tmp_path / "whole")
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not list(tmp_path.rglob("*.partial"))
