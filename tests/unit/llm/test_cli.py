import json
import re

import pytest
import torch

from lomt.cli import main
from lomt.llm import from_pretrained
from lomt.llm.commands import EMBEDDED
from lomt.llm.router import settings_of
from lomt.llm.tiny import TINY
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


def training(folder, out, *more):
    return [
        "llm",
        "train",
        str(folder / "text.txt"),
        "--model",
        str(folder / "model"),
        "--out",
        str(out),
        *TRAIN,
        *more,
    ]


@pytest.fixture(scope="module")
def run(folder):
    """A run, ended."""
    assert main(training(folder, folder / "run")) == 0
    return folder / "run"


def test_train_leaves_a_model_and_the_same_command_again_the_same(folder, run, capsys):
    first = from_pretrained(run).state_dict()
    assert set(settings_of(from_pretrained(run)).levels) == {0.3, 0.5, 0.7, 0.8, 0.9}
    assert main(training(folder, run)) == 0
    again = from_pretrained(run).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert f"written to {run}" in capsys.readouterr().out


def test_one_model_for_several_speeds_is_saved_at_the_wanted_one(folder, tmp_path):
    assert main(training(folder, tmp_path, "--several", "--sparsity", "0.7")) == 0
    settings = settings_of(from_pretrained(tmp_path))
    assert settings.cut == settings.levels[0.7] != settings.levels[0.5]


def test_another_command_does_not_continue_a_run(folder, run, capsys):
    assert main(training(folder, run, "--sparsity", "0.7")) == 2
    said = f"lomt llm: {run} has a run with --sparsity 0.5, this is with 0.7: choose another --out\n"
    assert capsys.readouterr().err == said


def test_eval_prints_perplexity_against_sparsity(folder, run, tmp_path, capsys):
    words = [str(folder / "text.txt"), "--model", str(run), "--length", "16", "--blocks", "8"]
    assert main(["llm", "eval", *words, "--out", str(tmp_path / "e.json")]) == 0
    rows = json.loads((tmp_path / "e.json").read_text())
    assert [row["sparsity"] for row in rows] == [0, 0.3, 0.5, 0.7, 0.8, 0.9]
    assert [row["closed"] for row in rows] == pytest.approx([0, 0.3, 0.5, 0.7, 0.8, 0.9], abs=0.1)
    printed = re.findall(r"^ +(\d+)% +([\d.]+)% +([\d.]+)$", capsys.readouterr().out, re.MULTILINE)
    assert [float(row[2]) for row in printed] == pytest.approx([row["perplexity"] for row in rows], abs=1e-4)


def test_bench_prints_tokens_per_second(run, tmp_path, capsys):
    words = ["--model", str(run), "--rounds", "2", "--sparsity", "0.5", "0.8", "--out", str(tmp_path / "b.json")]
    assert main(["llm", "bench", *words]) == 0
    (row,) = json.loads((tmp_path / "b.json").read_text())
    assert list(row["seconds a token"]) == ["dense", "0%", "50%", "80%"]
    assert row["limits"]["dense"] == row["limits"]["0%"] == 1 < row["limits"]["50%"] < row["limits"]["80%"]
    first, head, *lines = capsys.readouterr().out.splitlines()
    assert (first, head.split()) == ("1 thread", ["experts", "closed", "tokens/s", "times", "dense", "bytes'", "limit"])
    assert [line.split("  ")[-1].strip() for line in lines] == [f"{limit:.2f}" for limit in row["limits"].values()]


def test_generate_continues_prompts(run, capsys):
    assert main(["llm", "generate", "the", "quick b", "--model", str(run), "--tokens", "4", "--sparsity", "0.8"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("the")
    assert "\nquick b" in text


def test_the_whole_story_needs_no_model_and_no_text(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lomt.llm.commands.EMBEDDED", EMBEDDED | {"soft_steps": 2, "hard_steps": 2, "length": 32})
    monkeypatch.setattr(
        "lomt.llm.tiny.TINY", TINY | {"hidden_size": 24, "intermediate_size": 64, "num_hidden_layers": 2}
    )
    short = torch.arange(32 * 400) % 251
    for place in ("commands", "tiny"):
        monkeypatch.setattr(f"lomt.llm.{place}.library_tokens", lambda split: short + len(split) % 3)
    assert main(["llm", "train", "--pretrain-steps", "3", "--cpu", "--batch", "2"]) == 0
    progress = capsys.readouterr().err
    assert all(stage in progress for stage in ("dense: 100%", "LTE, soft: 100%", "LTE, hard: 100%"))
    assert main(["llm", "eval", "--blocks", "4", "--length", "32", "--sparsity", "0.5"]) == 0
    assert main(["llm", "bench", "--rounds", "1", "--sparsity", "0.5"]) == 0
    assert main(["llm", "generate", "def main(", "--tokens", "3"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^     50%  +[\d.]+%  +[\d.]+$", said, re.MULTILINE)
    assert "\ndef main(" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("generate PROMPT --model RUN", r"prompt 0 is empty \(''\): give at least one token"),
        ("generate a --model RUN --sparsity 0.55", r"sparsity 0.55 is not calibrated .*"),
        ("generate a --model MODEL", r".* has no lte.json with lte.safetensors: .*"),
        ("generate a --model nowhere", r"nowhere is not there: lomt llm train --out nowhere makes it"),
        ("eval nowhere.txt --model RUN", r".*nowhere.txt.*"),
        ("eval TEXT --model RUN --blocks 0", r"--blocks is 0: use a whole number of 1 or more"),
        ("bench --model RUN --rounds 0", r"rounds is 0: use a whole number of 1 or more"),
        ("bench --tinyllama 0", r"--tinyllama is 0: use a whole number of 1 or more"),
        ("train --model MODEL", r".* has no text to train on: name files before --model"),
        ("train --sparsity 50", r"--sparsity is 50.0: use a share of experts above 0 and below 1"),
        ("train TEXT --model MODEL --out OUT --threads 0", r"--threads is 0: use a whole number of 1 or more"),
        ("train --several --eta 1", r"--several is for sparsities, and --eta sets a price: leave one of them out"),
        ("train TEXT --model MODEL --soft-steps 0", r"--soft-steps is 0: use a whole number of 1 or more"),
        ("train TEXT --model MODEL --out OUT --expert-size 24", r"model.layers.0.mlp has 64 .*"),
        ("train TEXT --model MODEL --out OUT --length 9999", r"the text has \d+ tokens, less .*"),
    ],
)
def test_what_makes_no_sense_is_one_line(words, said, folder, run, tmp_path, capsys):
    places = {"RUN": run, "MODEL": folder / "model", "TEXT": folder / "text.txt", "OUT": tmp_path, "PROMPT": ""}
    capsys.readouterr()
    assert main(["llm", *(str(places.get(word, word)) for word in words.split())]) == 2
    assert re.fullmatch(f"lomt llm: {said}\n", capsys.readouterr().err)
