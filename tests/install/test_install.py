"""What is built installs and runs elsewhere, with what the machine has, and says in a line what it lacks."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
_spec = importlib.util.spec_from_file_location("try_wheel", Path(__file__).with_name("try_wheel.py"))
try_wheel = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(try_wheel)

OWN = (
    "lomt",
    "lomt_kernels",
    "csrc",
    "CMakeLists.txt",
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
)
SHRINK = "import torch, lomt_kernels as k; print(k.group_shrink(torch.tensor([[3.0, 0.3], [4.0, 0.4]]), 2.5).tolist())"


def copied(folder):
    """The sources without what a build or git leaves there."""
    for name in OWN:
        ignore = shutil.ignore_patterns("__pycache__", "_C.*", "_build.json")
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        else:
            folder.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def test_what_is_no_python_is_in_the_package_too():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["lomt"]
    files = [file for file in (ROOT / "lomt").rglob("*.*") if file.suffix != ".py" and "__pycache__" not in file.parts]
    assert len(files) > len(data)
    assert not [file for file in files if not any(file.match(f"lomt/{pattern}") for pattern in data)]


def build(sources, out, **environment):
    """Build a wheel as ``pip install`` does, without its network; the process that has done so."""
    # pip hides why a build failed behind a line of its own; all of what it prints is looked at.
    return subprocess.run(
        *([[sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", str(out), str(sources)]]),
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | environment,
    )


def installed(tmp_path, **environment):
    """An interpreter with the wheel of a build."""
    done = build(copied(tmp_path / "so urces"), tmp_path / "out", **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "out").glob("*.whl")
    return try_wheel.fresh(tmp_path / "venv", wheel), wheel


@pytest.mark.slow
def test_a_wheel_with_native_code(tmp_path):
    """From a folder with a space in its name and without git: it knows no torch, and works away from the sources."""
    python, wheel = installed(tmp_path, LOMT_KERNELS_BUILD="cpu")
    assert "linux" in wheel.name
    found = json.loads(try_wheel.run(python, "-m", "lomt_kernels", "--json").stdout)
    assert "baseline" in found["native"]["instruction_sets"]
    assert "built without CUDA" in found["cuda"]["why_not"]
    assert found["operations"]["group_shrink"]["cpu"]["chosen"] == "native"
    assert try_wheel.run(python, "-c", SHRINK).stdout == "[[1.5, 0.0], [2.0, 0.0]]\n"
    assert try_wheel.run(python, "-m", "lomt", "--version").stdout.startswith("lomt ")
    (binary,) = (tmp_path / "venv").rglob("_C.*.so")
    symbols = subprocess.run(["nm", "-D", str(binary)], capture_output=True, text=True, check=True).stdout
    assert "PyInit__C" in symbols
    names = [line.split()[-1] for line in symbols.splitlines()]
    assert not [name for name in names if "torch" in name or "c10" in name or "2at" in name]
    # In the sources it is there, too, for who runs the next command there.
    assert [file.name for file in (tmp_path / "so urces/lomt_kernels").glob("_C.*.so")] == [binary.name]
    # Newer Python files beside it: it is not used, and says so.
    package = binary.parent / "__init__.py"
    package.write_text(package.read_text().replace('__version__ = "', '__version__ = "9.'))
    found = json.loads(try_wheel.run(python, "-m", "lomt_kernels", "--json").stdout)
    assert "the Python files beside it of 9." in found["native"]["why_not"]
    assert "pip install ." in found["native"]["why_not"]
    assert found["operations"]["group_shrink"]["cpu"]["chosen"] == "reference"


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"LOMT_KERNELS_BUILD": "none"}, "LOMT_KERNELS_BUILD=none"),
        ({"CC": "false", "CXX": "false"}, "the C++ compiler 'false' compiles nothing"),
        ({"CXX": "/no/such/compiler"}, "there is no C++ compiler"),
    ],
)
def test_a_wheel_without_native_code(tmp_path, environment, reason):
    python, _ = installed(tmp_path, **environment)
    found = json.loads(try_wheel.run(python, "-m", "lomt_kernels", "--json").stdout)
    assert reason in found["native"]["why_not"]
    assert found["operations"]["group_shrink"]["cpu"]["chosen"] == "reference"
    assert try_wheel.run(python, "-c", SHRINK).stdout == "[[1.5, 0.0], [2.0, 0.0]]\n"
    asked = try_wheel.run(python, "-c", SHRINK, LOMT_KERNELS_BACKEND="native")
    assert "LOMT_KERNELS_BACKEND=native can't be taken" in asked.stderr
    assert reason in asked.stderr


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"LOMT_KERNELS_BUILD": "gpu"}, "LOMT_KERNELS_BUILD=gpu: use one of auto, cuda, cpu, none"),
        ({"LOMT_KERNELS_BUILD": "cpu", "CXX": "false"}, "LOMT_KERNELS_BUILD=cpu, but the C++ compiler 'false'"),
        ({"LOMT_KERNELS_BUILD": "cuda", "CUDACXX": "/no/nvcc"}, "LOMT_KERNELS_BUILD=cuda, but /no/nvcc does not work"),
    ],
)
def test_what_was_asked_for_by_name_fails_loudly(tmp_path, environment, words):
    done = build(copied(tmp_path / "sources"), tmp_path / "out", **environment)
    assert done.returncode != 0
    assert words in " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("file", ["cpu.cpp", "cuda.cu"])
def test_a_syntax_error_fails_the_build(tmp_path, file):
    """Under auto, too: only what the machine lacks is left out, not what is wrong in the sources."""
    if file == "cuda.cu" and shutil.which("nvcc") is None:
        pytest.skip("no nvcc on this machine")
    sources = copied(tmp_path / "sources")
    with (sources / "csrc/shrink" / file).open("a") as code:
        code.write("int x = ;\n")
    done = build(sources, tmp_path / "out")
    assert done.returncode != 0
    assert "building lomt_kernels._C failed, see above; LOMT_KERNELS_BUILD=none installs" in done.stdout + done.stderr


def test_the_sdist_is_complete(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "build",
            "--sdist",
            "--no-isolation",
            "--outdir",
            tmp_path,
            copied(tmp_path / "sources"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,) = tmp_path.glob("*.tar.gz")
    assert try_wheel.missing_from(sdist) == []
