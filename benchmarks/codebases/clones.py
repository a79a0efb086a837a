"""Clones of other people's repositories: what is imported from them, although they are no packages."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import torch


def commit(folder: Path) -> str:
    """The commit that a clone is at."""
    said = subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def imported(folder: Path, name: str) -> ModuleType:
    """A module of a clone, whose folder stays on the path: it may import others of its own."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module(name)


def definitions(script: Path, *names: str, mended: tuple[str, str] = ("", ""), **values: Any) -> dict[str, Any]:
    """Classes and functions of a script, wherever they are defined in it; the script, which would train, isn't run.

    Args:
        script: the file.
        names: of what is wanted; the first of each name is taken.
        mended: a piece of text that today's torch refuses, and what stands there instead.
        values: what they name and do not define, such as ``torch``.
    """
    text = script.read_text()
    text = text.replace(*mended) if mended[0] else text
    found: dict[str, ast.stmt] = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in names:
            found.setdefault(node.name, node)
    if missing := set(names) - set(found):
        raise ValueError(f"{script} defines no {', '.join(sorted(missing))}: is it at the commit that was tried?")
    module = ModuleType(script.stem)
    sys.modules[module.__name__] = module  # by which its classes are pickled
    module.__dict__.update(values)
    exec(compile(ast.Module(list(found.values()), []), script, "exec"), module.__dict__)
    return module.__dict__


class _Absent(MetaPathFinder, Loader):
    """Stands for packages that aren't installed, and that a codebase imports for its data, plots and logs."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        absent = any(f"{name}.".startswith(f"{package}.") for package in self.packages)
        return ModuleSpec(name, self, is_package=True) if absent else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _Empty(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=f"{self.__name__}.{name}")


def without(*packages: str) -> None:
    """From now on, importing these works where they aren't installed; what is taken from them does nothing."""
    sys.meta_path.append(_Absent(packages))  # last: what is installed is found before


def torchvision_beside_cpu_torch() -> None:
    """Let torchvision be imported where its binary doesn't fit torch's: its operators are declared, never called."""
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        importlib.import_module("torchvision").operators = library  # which would forget them if it were collected
