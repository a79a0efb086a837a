"""Has CMake build ``lomt_kernels._C`` (CMakeLists.txt describes it); everything else stands in pyproject.toml.

``LOMT_KERNELS_BUILD`` says what to build: ``auto``, the default, what the machine can; ``cuda`` and ``cpu`` that, or
fail; ``none`` nothing, for plain PyTorch and Triton. torch is not needed to build.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
MODES = ("auto", "cuda", "cpu", "none")
FACTS = "_build.json"


def mode() -> str:
    """What was asked for."""
    asked = os.environ.get("LOMT_KERNELS_BUILD", "auto")
    if asked not in MODES:
        raise SystemExit(f"LOMT_KERNELS_BUILD={asked}: use one of {', '.join(MODES)}")
    return asked


def why_no_native() -> str | None:
    """Why nothing native can be built; None where it can."""
    if mode() == "none":
        return "it was built with LOMT_KERNELS_BUILD=none"
    compiler = os.environ.get("CXX", "c++")
    try:
        probe = ["-x", "c++", "-std=c++17", "-fsyntax-only", "-"]
        done = subprocess.run([*shlex.split(compiler), *probe], input="int i;", text=True, capture_output=True)
    except (OSError, ValueError) as error:
        return f"there is no C++ compiler: {error}"
    if not done.returncode:
        return None
    said = done.stderr.strip().splitlines()
    return f"the C++ compiler {compiler!r} compiles nothing ({said[0] if said else f'status {done.returncode}'})"


def version() -> str:
    """Of the Python files, which the binary must have too."""
    found = re.search(r'^__version__ = "(.+)"$', (HERE / "lomt_kernels/__init__.py").read_text(), re.MULTILINE)
    assert found
    return found[1]


class CMakeBuild(build_ext):
    """Builds the module where setuptools wants it, and leaves a copy beside the sources, for those who run there."""

    def build_extension(self, ext: Extension) -> None:
        """Configure, build, copy."""
        import pybind11

        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        # Isolated builds delete their cmake and pybind11 afterwards: what they configured must not be found again.
        isolated = Path(pybind11.__file__).is_relative_to(tempfile.gettempdir())
        kept = HERE / "build" / f"cmake-{sys.implementation.cache_tag}-{mode()}"
        folder = Path(tempfile.mkdtemp(prefix="lomt-kernels-")) if isolated or not _writable(HERE) else kept
        try:
            self._cmake(folder, pybind11.get_cmake_dir())
            (built,) = folder.glob("_C.*.so")
            for place in {target, HERE / "lomt_kernels" / target.name}:
                _replace(built, place)
            self.why_no_cuda = (folder / "why_no_cuda.txt").read_text()
        finally:
            if folder != kept:
                shutil.rmtree(folder, ignore_errors=True)

    def _cmake(self, folder: Path, pybind11: str) -> None:
        cmake = _tool("cmake")
        configure = [
            *(cmake, "-G", "Ninja", "-S", str(HERE), "-B", str(folder)),
            f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11}",
            f"-DLOMT_KERNELS_BUILD={mode()}",
            f"-DLOMT_VERSION={version()}",
            "-DLOMT_TESTS=OFF",
        ]
        for command in (configure, [cmake, "--build", str(folder), "--target", "_C"]):
            done = subprocess.run(command, stdout=sys.stderr)
            if done.returncode:
                raise SystemExit(
                    "building lomt_kernels._C failed, see above; LOMT_KERNELS_BUILD=none installs without native code"
                )


class PythonBuild(build_py):
    """Writes beside the Python files what became of the native ones, for ``python -m lomt_kernels`` to tell."""

    def run(self) -> None:
        """Copy the Python files, build the native ones, write the facts."""
        super().run()
        build = self.get_finalized_command("build_ext")
        self.run_command("build_ext")
        facts = {
            "version": version(),
            "mode": mode(),
            "why_no_native": WHY_NO_NATIVE,
            "why_no_cuda": getattr(build, "why_no_cuda", None) or None,
        }
        places = (
            [HERE / "lomt_kernels"]
            if self.editable_mode
            else [HERE / "lomt_kernels", Path(self.build_lib) / "lomt_kernels"]
        )
        for place in places:
            if WHY_NO_NATIVE and _writable(place):
                for stale in place.glob("_C.*.so"):
                    stale.unlink()
            if _writable(place):
                (place / FACTS).write_text(json.dumps(facts, indent=1) + "\n")


def _tool(name: str) -> str:
    """A program that pip brought along, else the machine's."""
    beside = Path(sys.executable).parent / name
    found = shutil.which(name) or (str(beside) if beside.exists() else None)
    if found is None:
        raise SystemExit(f"there is no {name}: pip install {name}, or build with isolation, as pip does by default")
    return found


def _writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK)


def _replace(built: Path, place: Path) -> None:
    """Copy under another name and rename: a running process keeps the module that it has loaded."""
    if not _writable(place.parent) and place.parent.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    new = place.with_suffix(f".{os.getpid()}")
    shutil.copyfile(built, new)
    new.replace(place)


WHY_NO_NATIVE = why_no_native()
if WHY_NO_NATIVE:
    if mode() in ("cuda", "cpu"):
        raise SystemExit(f"LOMT_KERNELS_BUILD={mode()}, but {WHY_NO_NATIVE}")
    print(f"lomt_kernels: no native code, since {WHY_NO_NATIVE}", file=sys.stderr)

options = {}
if not _writable(HERE):
    scratch = tempfile.mkdtemp(prefix="lomt-kernels-")
    options = {"egg_info": {"egg_base": scratch}, "build": {"build_base": scratch}}

setup(
    ext_modules=[] if WHY_NO_NATIVE else [Extension("lomt_kernels._C", sources=[])],
    cmdclass={"build_ext": CMakeBuild, "build_py": PythonBuild},
    options=options,
)
