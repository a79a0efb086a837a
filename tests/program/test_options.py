"""What can be said to ``lomt``, and what it says where that makes no sense."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lomt.cli import main
from lomt.cli.main import read
from lomt.cli.run import parser
from lomt.sparsity import StrengthPath

EXAMPLES = Path(__file__).parents[2] / "examples"
TINY = [
    *("--data.size=[32,32]", "--data.train=16", "--data.validation=8", "--data.test=8", "--data.batch_size=8"),
    *("--network.width=4", "--network.decoder=light", "--network.decoder_width=8", "--dry-run"),
    *("--study.trials=1", "--recipe.epochs=1", "--threads=1", "--study.export=false"),
]
MINE = """
from lomt.data import Source
from lomt.models import backbone
from lomt.selection import SelectionRule

class Mine(Source):
    def __init__(self, size: tuple[int, int] = (48, 40), batch_size: int = 7, validation: int = 3, seed: int = 5):
        super().__init__([], size, batch_size)
    def samples(self, split): ...

class Rule(SelectionRule):
    def __init__(self, threshold: float = 0.4): ...
    def choose(self, patterns): ...

def make():
    return backbone("resnetd18", 4, 16)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of the user's, whose name it gives."""
    (tmp_path / "lomt_test_mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    return "lomt_test_mine"


def data_of(*words):
    return vars(parser().parse_args(list(words)).data.init_args)


def error_of(words, capsys):
    """The first line of what is said, which has to be all of it but a hint at --help."""
    try:
        status = main(words)
    except SystemExit as end:
        status = end.code
    assert status in (1, 2)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 or (len(said) == 2 and said[1].startswith("see lomt")), said
    return said[0]


def test_nyuv2_starts_from_its_own_defaults():
    found = data_of("--data=NYUv2", "--data.root=D")
    assert (found["size"], found["batch_size"], found["validation"]) == ((96, 128), 16, 95)


def test_nyud_mt_starts_from_its_own_defaults():
    found = data_of("--data=NYUDMT", "--data.root=D")
    assert (found["size"], found["batch_size"], found["validation"]) == ((96, 128), 16, None)
    of_another = data_of("-c", str(EXAMPLES / "nyuv2.yaml"), "--data=NYUDMT", "--data.root=D")
    assert of_another["root"] == "D"
    assert "classes" not in of_another


def test_a_source_of_the_user_starts_from_its_own_defaults(mine):
    expected = {"size": (48, 40), "batch_size": 7, "validation": 3, "seed": 5}
    assert data_of(f"--data={mine}.Mine") == expected
    assert data_of("--data.size=[24,32]", f"--data={mine}.Mine") == expected | {"size": (24, 32)}


def test_a_rule_of_the_user_starts_from_its_own_defaults(mine):
    given = parser().parse_args([f"--study.rule={mine}.Rule"])
    assert vars(given.study.rule.init_args) == {"threshold": 0.4}


def test_the_demo_keeps_its_defaults():
    found = data_of("--data.validation=8")
    assert (found["size"], found["train"], found["validation"], found["batch_size"]) == ((64, 64), 640, 8, 20)


def test_an_option_of_the_demo_is_refused_by_another_source(capsys):
    said = error_of(["run", "--data=NYUv2", "--data.root=D", "--data.train=3"], capsys)
    assert "--data: Option 'train' is not accepted" in said


def test_the_config_that_is_printed_is_that_of_the_run(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--data=NYUv2", "--data.root=D", "--print_config"])
    assert "validation: 95" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "size", "classes"), [("nyuv2", (96, 128), 13), ("paper", (256, 256), 40)])
def test_an_example_is_the_run_that_it_documents(name, size, classes):
    given = parser().parse_args(["-c", str(EXAMPLES / f"{name}.yaml"), "--data.root=D"])
    found = vars(given.data.init_args)
    assert (found["size"], found["batch_size"], found["validation"], found["classes"]) == (size, 16, 95, classes)
    if name == "nyuv2":
        assert {key: vars(given.study.path)[key] for key in vars(StrengthPath())} == vars(StrengthPath())


def test_values_of_a_list_may_stand_in_words_of_their_own():
    for words in (["--tasks", "seg", "depth"], ["--tasks=[seg,depth]"], ["--tasks", "[seg,depth]"]):
        assert parser().parse_args(words).tasks == ["seg", "depth"]
    assert parser().parse_args(["--tasks", "seg", "--threads", "1"]).tasks == ["seg"]
    assert list(parser().parse_args(["--study.seeds", "0", "1"]).study.seeds) == [0, 1]
    assert data_of("--data.size", "96", "128")["size"] == (96, 128)
    assert tuple(read("taps", ["--size", "96", "128"])[1].size) == (96, 128)
    assert tuple(read("bench", ["--size", "96", "128", "one", "two"])[1].size) == (96, 128)
    assert read("bench", ["--size", "96", "128", "one", "two"])[1].models == ["one", "two"]
    assert read("select", ["--rule.threshold", "0.5", "folder"])[1].folder == "folder"


def test_help_says_what_there_is(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "there are single_task, multi_task, lomt, sparse_multi_task, sparse_lomt" in said
    assert "there are equal, uncertainty, dwa, geometric" in said
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "linear" in capsys.readouterr().out


def test_a_backbone_is_found_in_the_current_folder(mine, tmp_path):
    code = "import sys; from lomt.cli import main; sys.path.remove(''); sys.exit(main(sys.argv[1:]))"
    words = ["taps", f"--backbone={mine}:make", "--size", "32", "32"]
    path = os.pathsep.join([str(EXAMPLES.parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path.replace(str(tmp_path), "")}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "layer4.1" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--study.strength", "{foo: 1e-3}"], "'foo', no task and no shared backbone – there are seg, depth"),
        (["--study.strength", "{seg: -1e-3}"], "weight -0.001: λ must be a finite number"),
        (["--tasks", "[seg,seg]"], "task 'seg' is there 2 times"),
        (["--data.batch_size", "2.5"], "--data.batch_size is 2.5: use a whole number"),
        (["--recipe.epochs", "2.5"], "--recipe.epochs is 2.5: use a whole number"),
        (["--recipe.warmup", "1"], "recipe.warmup is 1.0"),
        (["--recipe.precision", "double"], "--recipe.precision is double: use one of 32-true, bf16-mixed"),
        (["--study.methods", "[]"], "study.methods is []"),
        (["--study.methods", "[lomt,lomt]"], "study.methods is ['lomt', 'lomt']"),
        (["--study.seeds", "-1"], "study.seeds is -1"),
        (["--study.penalty=GroupLasso", "--study.penalty.weight=-1"], "GroupLasso has weight -1.0: λ must be"),
        (["--data.augment.zoom=nan"], "--data.augment.zoom is nan: use a finite number"),
        (["--network.decoder_width=-1"], "the width of decoder Light is -1"),
        (["--network.decoder=deeplab", "--network.decoder_width=0"], "the width of decoder DeepLab is 0"),
        (["--threads=-2"], "threads is -2"),
        (["--accelerator=tpu"], "unknown device 'tpu': use auto, cpu"),
    ],
)
def test_an_option_that_makes_no_sense_is_named_with_its_value(words, said, capsys):
    assert said in error_of(["run", *TINY, *words], capsys)


def test_a_gpu_that_is_not_there_is_not_ignored(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    said = error_of(["run", *TINY, "--accelerator=gpu"], capsys)
    assert "device 'gpu' is asked for, and torch finds no GPU here" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x00\xff\xfe\x80", "is no text"),
        (b"a,b\n1: 2: 3\n", "is no YAML"),
        (b"a,b\n1,2\n3,4\n" * 20, "holds no options with values"),
        (b"", "holds no options with values"),
        (b"recipe:\n  speed: 3\n", "'recipe' does not accept option 'speed' (with "),
    ],
)
def test_a_config_that_is_none_is_named(content, said, tmp_path, capsys):
    (tmp_path / "config.yaml").write_bytes(content)
    found = error_of(["run", "-c", str(tmp_path / "config.yaml")], capsys)
    assert said in found
    assert str(tmp_path / "config.yaml") in found
