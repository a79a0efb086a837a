import json
import re

import pytest
import torch

from lomt.cli import main
from lomt.llm import from_pretrained
from lomt.llm.router import settings_of
from tests.unit.llm.models import build

OPTIONS = {"expert-size": 8, "soft-steps": 4, "hard-steps": 2, "save-steps": 2, "batch": 2, "length": 16, "lr": 1e-3}
TRAIN = ["--cpu", *(word for name, value in OPTIONS.items() for word in (f"--{name}", str(value)))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of bytes, and a text."""
    folder = tmp_path_factory.mktemp("model")
    build(vocab_size=256).save_pretrained(folder / "model")
    (folder / "text.txt").write_text("the quick brown fox – " * 40, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """A run, ended."""
    assert (
        main(["llm", "train", str(folder / "model"), str(folder / "text.txt"), "--out", str(folder / "run"), *TRAIN])
        == 0
    )
    return folder / "run"


def test_train_leaves_a_model_and_the_same_command_again_the_same(folder, run, capsys):
    first = from_pretrained(run).state_dict()
    assert set(settings_of(from_pretrained(run)).levels) == {0.3, 0.5, 0.7, 0.8, 0.9}
    words = ["llm", "train", str(folder / "model"), str(folder / "text.txt"), "--out", str(run), *TRAIN]
    assert main(words) == 0
    again = from_pretrained(run).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert f"written to {run}" in capsys.readouterr().out


def test_eval_prints_perplexity_against_sparsity(folder, run, tmp_path, capsys):
    words = [str(run), str(folder / "text.txt"), "--length", "16", "--blocks", "8", "--out", str(tmp_path / "e.json")]
    assert main(["llm", "eval", *words]) == 0
    rows = json.loads((tmp_path / "e.json").read_text())
    assert [row["sparsity"] for row in rows] == [0, 0.3, 0.5, 0.7, 0.8, 0.9]
    assert [row["closed"] for row in rows] == pytest.approx([0, 0.3, 0.5, 0.7, 0.8, 0.9], abs=0.1)
    printed = re.findall(r"^ +(\d+)% +([\d.]+)% +([\d.]+)$", capsys.readouterr().out, re.MULTILINE)
    assert [float(row[2]) for row in printed] == pytest.approx([row["perplexity"] for row in rows], abs=1e-4)


def test_generate_continues_prompts(run, capsys):
    assert main(["llm", "generate", str(run), "the", "quick b", "--tokens", "4", "--sparsity", "0.8"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("the")
    assert "\nquick b" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generate", "RUN", ""], r"lomt llm: prompt 0 is empty \(''\): give at least one token\n"),
        (["generate", "RUN", "a", "--sparsity", "0.55"], r"lomt llm: sparsity 0.55 is not calibrated .*\n"),
        (["generate", "MODEL", "a"], r"lomt llm: .* has no lte.json with lte.safetensors: .*\n"),
        (["eval", "RUN", "nowhere.txt"], r"lomt llm: .*nowhere.txt.*\n"),
        (
            ["train", "MODEL", "TEXT", "--out", "OUT", "--expert-size", "24"],
            r"lomt llm: model.layers.0.mlp has 64 .*\n",
        ),
        (
            ["train", "MODEL", "TEXT", "--out", "OUT", "--length", "9999"],
            r"lomt llm: the text has \d+ tokens, less .*\n",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line(words, said, folder, run, tmp_path, capsys):
    places = {"RUN": run, "MODEL": folder / "model", "TEXT": folder / "text.txt", "OUT": tmp_path}
    capsys.readouterr()
    assert main(["llm", *(str(places.get(word, word)) for word in words)]) == 2
    assert re.fullmatch(said, capsys.readouterr().err)
