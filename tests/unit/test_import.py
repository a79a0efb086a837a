"""Importing costs next to nothing, the core needs torch and NumPy alone, and a missing extra says so in a line."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lomt
from lomt.extras import MissingExtraError, need

ROOT = Path(__file__).parents[2]
CORE = ("balancing", "compaction", "models", "optim", "selection", "sparsity", "tasks")
BLOCK = """
import sys
import torch, numpy

OWN = {"lomt", "lomt_kernels", "numpy", "torch", "triton"}
# What torch itself requires.
TORCH = {"filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx", "setuptools", "sympy", "typing_extensions"}

def there(name):
    top = name.partition(".")[0]
    return top.startswith("_") or top in OWN | TORCH | set(sys.stdlib_module_names)

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return self.finder.find_spec(name, path, target) if there(name) else None

sys.meta_path[:] = map(Without, sys.meta_path)
for name in [name for name in sys.modules if not there(name)]:
    del sys.modules[name]
"""


def blocked(code):
    """Run code where every module but ours, torch's and NumPy's is missing."""
    return subprocess.run([sys.executable, "-c", BLOCK + code], capture_output=True, text=True, check=False)


def test_importing_loads_no_heavy_library():
    code = (
        "import sys, lomt; dir(lomt);"
        "print([name for name in ('torch', 'numpy', 'lightning', 'torchmetrics', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("room", CORE)
def test_the_core_needs_torch_and_numpy_alone(room):
    done = blocked(f"""
import importlib, pkgutil
room = importlib.import_module("lomt.{room}")
names = [found.name for found in pkgutil.walk_packages(room.__path__, "lomt.{room}.")]
names = [name for name in names if not name.startswith("lomt.tasks.metrics")]
for name in names:
    importlib.import_module(name)
print(len(names))
""")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1


def test_the_core_trains_and_compacts_a_network():
    done = blocked("""
import lomt
from lomt.optim import ProxAdamW, parameter_groups
from lomt.sparsity import GroupLasso
from lomt.models import Network, backbone
from lomt.tasks import Depth
net = Network(backbone("resnetd18", width=4), [Depth("depth")], {"depth": "layer2"}, decoders="light")
optimizer = ProxAdamW(parameter_groups(net, GroupLasso(10.0)), lr=1e-2)
image = torch.randn(2, 3, 32, 32)
net.tasks[0].loss(net(image)["depth"], torch.ones(2, 1, 32, 32)).backward()
optimizer.step()
print(sum(p.numel() for p in net.parameters()) > sum(p.numel() for p in lomt.compact(net.eval(), image).parameters()))
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import lomt.data", "lomt.data needs pillow, tqdm: pip install 'lomt-kernels[train]'"),
        (
            "import lomt.runs",
            "lomt.runs needs lightning, torchmetrics, tqdm, pyyaml: pip install 'lomt-kernels[train]'",
        ),
        ("import lomt.export", "lomt.export needs onnx, onnxruntime, onnxscript, safetensors: "),
        ("import lomt.linear", "lomt.linear needs joblib, matplotlib, numba, scipy, scikit-learn: "),
        ("import lomt.llm", "lomt.llm needs accelerate, safetensors, transformers: pip install 'lomt-kernels[llm]'"),
        ("import lomt.report", "lomt.report needs pillow, pyyaml: pip install 'lomt-kernels[report]'"),
        ("import lomt; lomt.run", "lomt.runs needs lightning"),
        (
            "from lomt.tasks import Depth; Depth('depth').metrics()",
            "a task's metrics needs torchmetrics: pip install 'lomt-kernels[train]'",
        ),
    ],
)
def test_a_missing_extra_is_one_line(code, words):
    last = blocked(code).stderr.strip().splitlines()[-1]
    assert last.startswith("lomt.extras.MissingExtraError: ")
    assert words in last


def test_the_command_line_without_its_extra():
    done = blocked("from lomt.cli import main; sys.exit(main(['run']))")
    assert done.returncode == 1
    assert done.stderr == "error: lomt run needs jsonargparse, pyyaml: pip install 'lomt-kernels[cli]'\n"


def test_help_and_version_load_nothing_heavy():
    for option in ("--help", "--version"):
        code = (
            f"import sys; from lomt.cli import main\ntry: main(['{option}'])\nfinally: print("
            "[name for name in ('torch', 'numpy', 'jsonargparse', 'yaml') if name in sys.modules], file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stderr.strip() == "[]"


def test_matplotlib_serves_the_linear_wing_alone():
    rooms = {
        file.relative_to(ROOT / "lomt").parts[0]
        for file in (ROOT / "lomt").rglob("*.py")
        if re.search(r"^\s*(from|import) matplotlib", file.read_text(), re.MULTILINE)
    }
    assert rooms == {"linear"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [name for name, needed in extras.items() if any(one.startswith("matplotlib") for one in needed)] == [
        "linear"
    ]


def test_what_is_installed_is_not_needed():
    need("this test", "test", "pytest")
    with pytest.raises(MissingExtraError, match=r"it needs no_such: pip install 'lomt-kernels\[train\]'"):
        need("it", "train", "pytest", "no_such")


@pytest.mark.parametrize("name", lomt.__all__)
def test_every_name_is_there(name):
    assert getattr(lomt, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'sew'"):
        lomt.sew  # noqa: B018
