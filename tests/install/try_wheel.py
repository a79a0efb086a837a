"""Try the wheel and the sdist of a folder away from the sources: python tests/install/try_wheel.py dist."""

import json
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

import torch

# What torch needs, and torch.
LINKED = (
    "torch",
    "torchgen",
    "functorch",
    "numpy",
    "typing_extensions",
    "sympy",
    "mpmath",
    "networkx",
    "jinja2",
    "markupsafe",
)
LINKED += ("filelock", "fsspec")
NEEDED = (
    "CMakeLists.txt",
    "setup.py",
    "pyproject.toml",
    "csrc/bindings.cpp",
    "csrc/shrink/cuda.cu",
    "csrc/shrink/call.h",
)


def fresh(folder: Path, wheel: Path) -> Path:
    """An environment that has torch, linked from this one, and the wheel; returns its interpreter."""
    venv.create(folder, with_pip=False, symlinks=True)
    (target,) = folder.glob("lib/python*/site-packages")
    here = Path(torch.__file__).parent.parent
    for entry in here.iterdir():
        if entry.name.lower().replace("-", ".").split(".")[0] in LINKED:
            (target / entry.name).symlink_to(entry)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return folder / "bin/python"


def run(python: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the interpreter away from the sources."""
    return subprocess.run(
        [str(python), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=python.parent,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", **environment},
    )


def missing_from(sdist: Path) -> list[str]:
    """What an sdist lacks."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    return [name for name in NEEDED if name not in names]


def main() -> int:
    """Try what lies in the folder; returns 0 where all is well."""
    folder = Path(sys.argv[1])
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    missing = missing_from(sdist)
    if missing:
        print(f"{sdist} lacks {', '.join(missing)}")
        return 1
    with tempfile.TemporaryDirectory() as place:
        python = fresh(Path(place), wheel)
        done = run(python, "-m", "lomt_kernels", "--json")
        print(done.stderr, end="")
        found = json.loads(done.stdout)
        print(f"{wheel.name}: {found['native']}")
        version = run(python, "-m", "lomt", "--version").stdout.strip()
        print(f"{sdist.name}: complete; {version}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
