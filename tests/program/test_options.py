"""What can be said to ``lomt``, and what it says where that makes no sense."""

import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml

from lomt.cli import main
from lomt.cli.main import read
from lomt.cli.run import begin, identity, parser
from lomt.config import PRESETS
from lomt.methods import Study
from lomt.models import Architecture
from lomt.selection import DeepestActive, TapSearch
from lomt.sparsity import StrengthPath
from lomt.training import Recipe

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


def given(*words):
    """What ``lomt run`` takes from a command line."""
    made = parser()
    return made.parse_args(begin(made, words))


def data_of(*words):
    return vars(given(*words).data.init_args)


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
    assert vars(given(f"--study.rule={mine}.Rule").study.rule.init_args) == {"threshold": 0.4}


def test_the_demo_keeps_its_defaults():
    found = data_of("--data.validation=8")
    assert (found["size"], found["train"], found["validation"], found["batch_size"]) == ((64, 64), 640, 8, 20)


def plain(found):
    """Values as ``config.yaml`` has them."""
    return yaml.safe_load(parser().dump(found))


def deeper(values, found):
    """The part of ``found`` of which ``values`` speaks."""
    if not isinstance(values, dict):
        return found
    return {key: deeper(value, found[key]) for key, value in values.items() if key != "class_path"}


@pytest.mark.parametrize(("name", "words"), [("demo", []), ("quick", ["--quick"])])
def test_a_preset_is_what_its_file_says_and_options_count_more(name, words):
    file = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    assert deeper(file, plain(given(*words))) == deeper(file, file)
    assert file["out"] == f"runs/{name}"
    changed = given("--recipe.epochs=77", "--data.seed=5", *words)
    assert (changed.recipe.epochs, changed.data.init_args.seed, changed.recipe.lr) == (77, 5, file["recipe"]["lr"])
    assert changed.data.init_args.train == file["data"]["init_args"]["train"]


@pytest.mark.parametrize("words", [["--data=NYUv2", "--data.root=D"], ["-c", "FILE"], ["-cFILE"], ["--config=FILE"]])
def test_a_run_on_other_data_or_of_a_file_starts_from_the_defaults_of_the_classes(words, tmp_path):
    (tmp_path / "mine.yaml").write_text("tasks: [seg]")
    found = plain(given(*(word.replace("FILE", str(tmp_path / "mine.yaml")) for word in words)))
    recipe = {name: value for name, value in asdict(Recipe()).items() if value is not None}
    assert (found["network"], found["recipe"]) == (asdict(Architecture()), recipe)
    rule = {"class_path": "lomt.selection.DeepestActive", "init_args": vars(DeepestActive())}
    listed = {"methods": list(Study().methods), "seeds": [0], "selector": asdict(TapSearch()) | {"candidates": []}}
    study = asdict(Study()) | listed | {"rule": rule}
    assert found["study"] == {name: value for name, value in study.items() if value is not None}
    assert found["out"] == "runs/lomt"


def test_quick_is_another_run_than_the_demo_and_leaves_nothing_to_other_data():
    made = parser()
    assert identity(made, given("--quick")) != identity(made, given())
    found = data_of("--quick", "--data=NYUv2", "--data.root=D")
    assert found == data_of("--data=NYUv2", "--data.root=D")
    assert "quick" not in identity(made, given("--quick"))


def test_the_quick_config_that_is_printed_is_read_again(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["run", "--quick", "--print_config"])
    (tmp_path / "quick.yaml").write_text(capsys.readouterr().out)
    again, quick = (read("run", words)[1] for words in (["-c", str(tmp_path / "quick.yaml")], ["--quick"]))
    assert again.identity == quick.identity
    assert again.out == quick.out == "runs/quick"


def test_quick_in_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("quick: true")
    said = error_of(["run", "-c", str(tmp_path / "mine.yaml")], capsys)
    assert "quick: true, which comes too late: give --quick (with" in said


def test_an_option_of_the_demo_is_refused_by_another_source(capsys):
    said = error_of(["run", "--data=NYUv2", "--data.root=D", "--data.train=3"], capsys)
    assert "--data: Option 'train' is not accepted" in said


def test_the_config_that_is_printed_is_that_of_the_run(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--data=NYUv2", "--data.root=D", "--print_config"])
    assert "validation: 95" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "size", "classes"), [("nyuv2", (96, 128), 13), ("paper", (256, 256), 40)])
def test_an_example_is_the_run_that_it_documents(name, size, classes):
    read = given("-c", str(EXAMPLES / f"{name}.yaml"), "--data.root=D")
    found = vars(read.data.init_args)
    assert (found["size"], found["batch_size"], found["validation"], found["classes"]) == (size, 16, 95, classes)
    if name == "nyuv2":
        assert {key: vars(read.study.path)[key] for key in vars(StrengthPath())} == vars(StrengthPath())


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
    assert "there are single_task, multi_task, lomt, selector, sparse_multi_task, sparse_lomt" in said
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
