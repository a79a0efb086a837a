"""Ctrl-C and SIGTERM: the status that shells expect, one line, and the same command goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lomt

RUN = [
    *("run", "--data.size=[32,32]", "--data.train=32", "--data.validation=8", "--data.test=8", "--data.batch_size=8"),
    *("--tasks=[edges]", "--network.width=4", "--network.decoder=light", "--network.decoder_width=8", "--threads=1"),
    *("--study.methods=[single_task]", "--study.export=false", "--recipe.schedule=constant", "--recipe.epochs=100000"),
]
PYTHON = """
import lomt
from lomt.data import Scenes
from lomt.methods import Study
from lomt.models import Architecture
from lomt.training import Recipe
data = Scenes(size=(32, 32), train=32, validation=8, test=8, batch_size=8)
lomt.run(data.tasks[3:4], data, out={out!r}, network=Architecture(width=4, decoder="light", decoder_width=8),
         study=Study(methods=("single_task",), export=False), show_progress=False, threads=1,
         recipe=Recipe(epochs=100_000, schedule="constant"))
"""


def written(folder):
    return [file.stat().st_mtime_ns for file in folder.rglob("last.ckpt")]


def stop(command, folder, sent):
    """Send a signal in the midst of a training; the status, and what was said but for the bar."""
    before = written(folder)
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while process.poll() is None and written(folder) == before:
            time.sleep(0.02)
        process.send_signal(sent)
        said = process.communicate()[1].decode()
    return process.returncode, [line for line in said.splitlines() if line.strip() and "%" not in line]


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_says_one_line_and_can_go_on(tmp_path, sent, status):
    command = ["-m", "lomt", *RUN, f"--out={tmp_path / 'run'}"]
    assert stop(command, tmp_path, sent) == (status, ["stopped; the same command again continues"])
    assert not list(tmp_path.rglob("*.partial"))
    assert stop(command, tmp_path, sent)[0] == status  # it went on: another command would have been refused


@pytest.mark.slow
def test_from_python_a_stopped_run_ends_the_process_as_plain_python_does(tmp_path):
    command = ["-c", PYTHON.format(out=str(tmp_path / "run"))]
    assert stop(command, tmp_path, signal.SIGTERM) == (143, ["stopped; the same command again continues"])
    status, said = stop(command, tmp_path, signal.SIGINT)
    assert status == -signal.SIGINT  # which shells call 130
    assert said[-1] == "KeyboardInterrupt: stopped; the same command again continues"


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_fit_of_linear_models_says_one_line(tmp_path, sent, status):
    code = (
        "import os, signal, sys, lomt.linear.cli as linear\n"
        f"linear._fit = lambda *_: (os.kill(os.getpid(), {int(sent)}), signal.pause())\n"
        f"from lomt.cli import main; sys.exit(main(['linear', '--out={tmp_path}']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (status, "stopped")


def test_ctrl_c_within_an_exec_ends_with_the_status(tmp_path):
    (tmp_path / "stopped.py").write_text(
        "import sys, lomt.linear.cli as linear\n"
        "linear._run = lambda *_: exec('raise KeyboardInterrupt')\n"
        "from lomt.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-m", "stopped", "linear"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(lomt.__file__).parents[1])},
    )
    assert (done.returncode, done.stderr.strip()) == (130, "stopped")


def test_ctrl_c_is_heard_while_numba_compiles(tmp_path):
    """It hands machine code to a callback of a C library, which swallows what is raised there."""
    code = """
import os, signal, sys
from lomt.__main__ import main

def send(frame, event, _):
    if event == "call" and frame.f_code.co_name == "_raw_object_cache_notify":
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGINT)

sys.setprofile(send)
sys.exit(main())
"""
    words = ["linear", "fit", "--alpha=0.1", f"--out={tmp_path / 'out'}"]
    cold = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, env=cold)
    assert (done.returncode, done.stderr.strip(), done.stdout) == (130, "stopped", "")
