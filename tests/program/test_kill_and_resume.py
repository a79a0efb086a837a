"""``kill -9`` at any moment, then the same command: the same numbers as an unbroken run."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

COMMAND = [
    *(sys.executable, "-m", "tailor", "run", "--data.size=[32,32]", "--data.train=32", "--data.validation=8"),
    *("--data.test=8", "--data.batch_size=8", "--tasks=[edges,room]", "--network.width=4", "--network.decoder_width=8"),
    *("--study.trials=1", "--recipe.epochs=2", "--study.penalty.weight=0.01", "--threads=1"),
]
VOLATILE = ("seconds", "latency", "environment", "table", "figures", "methods")
"""What a clock says differs from run to run; everything else may not."""


def start(out):
    return subprocess.Popen([*COMMAND, f"--out={out}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def numbers(out):
    found = {}
    for file in sorted(out.rglob("result.json")):
        result = json.loads(file.read_text())
        found[str(file.relative_to(out))] = {key: value for key, value in result.items() if key not in VOLATILE}
    for file in sorted(out.rglob("metrics.csv")):
        found[str(file.relative_to(out))] = file.read_text()
    return found


@pytest.mark.slow
def test_a_killed_run_ends_as_an_unbroken_one(tmp_path):
    begin = time.monotonic()
    with start(tmp_path / "whole") as process:
        assert process.wait() == 0, process.stderr.read().decode()
    duration = time.monotonic() - begin
    draw = random.Random(0)
    killed = 0
    for _ in range(4):
        with start(tmp_path / "broken") as process:
            try:
                process.wait(duration * draw.uniform(0.3, 0.7))
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
                killed += 1
    assert killed >= 1
    with start(tmp_path / "broken") as process:
        assert process.wait() == 0, process.stderr.read().decode()
    assert numbers(tmp_path / "broken") == numbers(tmp_path / "whole")
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not list(tmp_path.rglob("*.partial"))
