"""Plots, the report and the command line."""

from __future__ import annotations

import json
import warnings
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from lomt.linear import (
    MixedMultiTaskLasso,
    MixedMultiTaskLassoCV,
    breast_cancer,
    plot_coefficients,
    plot_cv,
    plot_path,
    plot_stability,
    simulate,
    stability_selection,
)
from lomt.linear.cli import main
from lomt.linear.table import read_table

mpl.use("Agg")


@pytest.fixture(scope="module")
def table():
    data = simulate(1, 1, samples=60, features=6, active=2)
    frame = pd.DataFrame(np.vstack(data.Xs), columns=[f"gene{j}" for j in range(6)])
    frame["task"] = ["dose"] * 60 + ["ill"] * 60
    frame["y"] = np.concatenate(data.ys)
    return frame


@pytest.fixture(scope="module")
def fitted(table):
    X, y, task = table.drop(columns=["task", "y"]), table["y"], table["task"]
    model = MixedMultiTaskLassoCV(n_alphas=8, cv=3).fit(X, y, task=task)
    return model, stability_selection(X, y, task, n_pairs=2, n_alphas=6)


def test_plots_draw_into_the_axes_given_and_give_them_back(fitted):
    model, stability = fitted
    for draw in (
        lambda ax: plot_path(model.path_, model.coef_names_, ax),
        lambda ax: plot_cv(model, ax),
        lambda ax: plot_coefficients(model, ax),
        lambda ax: plot_stability(stability, ax),
    ):
        ax = Figure().add_subplot()
        assert draw(ax) is ax
        assert ax.has_data()


def test_the_curves_are_the_numbers(fitted):
    model, _ = fitted
    lines = plot_path(model.path_, ax=Figure().add_subplot()).lines
    drawn = {tuple(line.get_ydata()) for line in lines}
    norms = model.path_.row_norms
    assert drawn == {tuple(norms[:, j]) for j in range(6) if norms[:, j].any()}
    assert [line.get_label() for line in plot_cv(model, Figure().add_subplot()).lines][:2] == [
        "regression (1)",
        "classification (1)",
    ]


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href") and value and value[0] != "#"]


def test_report_from_a_long_table(table, tmp_path, capsys):
    table.to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "out"
    options = ["--task-column", "task", "--target", "y", "--alphas", "6", "--folds", "3", "--pairs", "2"]
    assert main(["report", str(tmp_path / "t.csv"), *options, "--out", str(out)]) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    parser = _Tags()
    parser.feed(page)
    assert parser.tags.count("svg") == 4 + 1  # and the mark
    assert all(link.startswith("data:") for link in parser.links)  # nothing to fetch
    assert 'name="viewport"' in page
    assert "gene" in page
    result = json.loads((out / "result.json").read_text())
    assert set(result["training_scores"]) == {"dose", "ill"}
    coefficients = pd.read_csv(out / "coefficients.csv", index_col=0)
    assert list(coefficients.columns) == ["dose", "ill"]
    assert "report.html" in capsys.readouterr().out


def test_a_long_table_may_hold_words_beside_numbers(table, tmp_path):
    words = table["y"].astype(object)
    words[60:] = np.where(table["y"][60:] > 0, "yes", "no")
    words[3], words[70] = None, None
    table.assign(y=words).to_csv(tmp_path / "t.csv", index=False)
    arguments = [str(tmp_path / "t.csv"), "--task-column", "task", "--target", "y", "--alpha", "0.1"]
    assert main(["fit", *arguments, "--out", str(tmp_path)]) == 0
    scores = json.loads((tmp_path / "result.json").read_text())["training_scores"]
    assert 0 < min(scores.values()) <= max(scores.values()) <= 1
    assert list(pd.read_csv(tmp_path / "coefficients.csv", index_col=0).columns) == ["dose", "ill"]


def test_names_that_a_spreadsheet_would_run_are_texts_in_the_coefficients(table, tmp_path):
    wide = table.drop(columns=["task"]).rename(columns={"y": "@y", "gene0": "=1+1"})
    wide.to_csv(tmp_path / "t.csv", index=False)
    assert main(["fit", str(tmp_path / "t.csv"), "--target", "@y", "--alpha", "0.1", "--out", str(tmp_path)]) == 0
    coefficients = pd.read_csv(tmp_path / "coefficients.csv", index_col=0)
    assert list(coefficients.columns) == ["'@y"]
    assert "'=1+1" in coefficients.index
    assert coefficients["'@y"].dtype == float


def test_results_that_can_not_be_written_are_said_before_anything_is_fitted(tmp_path, capsys, monkeypatch):
    (tmp_path / "out").write_text("mine")
    monkeypatch.setattr("lomt.linear.cli._fit", None)
    assert main(["fit", "--alpha", "0.1", "--out", str(tmp_path / "out")]) == 2
    assert f"{tmp_path / 'out'} can't be written (" in capsys.readouterr().err


def test_fit_on_a_wide_table(table, tmp_path):
    wide = table.drop(columns=["task"]).assign(sign=table["y"] > 0)
    wide.to_csv(tmp_path / "t.csv", index=False)
    arguments = ["--target", "y", "sign", "--alpha", "0.1", "--losses", "y=huber", "--out", str(tmp_path)]
    assert main(["fit", str(tmp_path / "t.csv"), *arguments]) == 0
    assert json.loads((tmp_path / "result.json").read_text())["alpha"] == 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "nobody"], "no column 'nobody'"),
        ([], "--target"),
        (["--target", "y"], "feature 'task' is no number"),
        (["--target", "y", "--drop", "task", *(f"gene{j}" for j in range(6))], "no column is left for the features"),
        (["--target", "y", "task", "--task-column", "task"], "--task-column goes with one --target"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(table, tmp_path, capsys, arguments, message):
    table.to_csv(tmp_path / "t.csv", index=False)
    assert main(["cv", str(tmp_path / "t.csv"), *arguments, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "is empty"), ("a,b\n", "has a header but no rows"), ("a,b\n1,2,3,4\n1,2\n1,2,3,4,5\n", "no CSV file")],
)
def test_what_is_no_table_is_said(tmp_path, capsys, content, message):
    (tmp_path / "t.csv").write_text(content)
    assert main([str(tmp_path / "t.csv"), "--target", "b", "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,a,y\n", "columns 1 and 2 have the same name 'a'; every column needs one of its own"),
        ("y,a,y\n", "columns 1 and 3 have the same name 'y'"),
        ("\ufeffa,a,y\n", "columns 1 and 2 have the same name 'a'"),
        (",a,y\n", "column 1 has no name; name it, or leave it out with --drop ''"),
        ("a,y,\n", "column 3 has no name"),
        ("a,y\n", "has rows of more cells than the 2 of its header; name every column"),
        ("a,b,c,y\n", ", line 2 ends after 3 of 4 cells; mend it"),
        ("a,b,y\n1,2,3\n2\n", ", line 3 ends after 1 of 3 cells; mend it"),
    ],
)
def test_a_header_that_does_not_name_each_column_once_is_refused(content, said, tmp_path, capsys):
    (tmp_path / "t.csv").write_text(content + "1,2,3\n2,1,4\n3,3,1\n")
    assert main(["fit", str(tmp_path / "t.csv"), "--target", "y", "--alpha", "1", "--out", str(tmp_path / "out")]) == 2
    found = capsys.readouterr().err
    assert f"{tmp_path / 't.csv'}" in found
    assert said in found


def test_columns_keep_the_names_of_the_header(tmp_path):
    (tmp_path / "t.csv").write_text(",a,a.1,no,no,y,\n0,1,2,x,y,3,\n1,2,1,x,y,,\n2,3,3,x,y,1,\n")
    table = read_table(tmp_path / "t.csv", ["y"], None, ["", "no"])
    assert list(table.X.columns) == ["a", "a.1"]
    np.testing.assert_array_equal(table.y["y"], [3, np.nan, 1])


def test_columns_without_a_table_are_refused(capsys):
    assert main(["fit", "--target", "y", "--alpha", "1"]) == 2
    assert "say which CSV file" in capsys.readouterr().err


def test_a_report_without_a_command_and_the_word_report_are_the_same(tmp_path, capsys):
    options = ["--alphas", "3", "--folds", "2", "--pairs", "0", "--alpha-min-ratio", "0.5"]
    assert main([*options, "--out", str(tmp_path / "a")]) == 0
    assert main(["report", *options, "--out", str(tmp_path / "b")]) == 0
    pages = [(tmp_path / name / "report.html").read_text(encoding="utf-8") for name in "ab"]
    assert pages[0] == pages[1]
    assert "smallest that was tried" in pages[0]
    capsys.readouterr()


def test_a_warning_is_one_line_for_who_runs_the_command(table, tmp_path, capsys):
    table.assign(one="yes").drop(columns="task").to_csv(tmp_path / "t.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        arguments = ["fit", str(tmp_path / "t.csv"), "--target", "y", "one", "--alpha", "0.1", "--out", str(tmp_path)]
        assert main(arguments) == 0
    assert capsys.readouterr().err.startswith("lomt linear: task 'one' has only the class 'yes'")


def test_the_embedded_table_is_the_default():
    X, labels = breast_cancer()
    assert X.shape == (569, 20)
    assert labels.shape == (569, 11)
    assert set(labels["diagnosis"]) == {"benign", "malignant"}
    assert not set(X.columns) & set(labels.columns)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "y", "--task-column", "y"], "column 'y' is named by --target and --task-column"),
        (["--target", "y", "--drop", "y"], "column 'y' is named by --target and --drop"),
        (["--target", "y", "--task-column", "task", "--drop", "task"], "'task' is named by --task-column and --drop"),
        (["--target", "y", "y", "--drop", "task"], "column 'y' is named by --target and --target"),
        (["--target", "y", "--drop", "task", "--pairs", "-1"], "--pairs -1: give a number of 0 or more"),
        (["--target", "y", "--drop", "task", "--folds", "1"], "--folds 1: give a number of 2 or more"),
        (["--target", "y", "--drop", "task", "--alphas", "0"], "--alphas 0: give a number of 1 or more"),
        (["--target", "y", "--drop", "task", "--jobs", "0"], "--jobs 0"),
    ],
)
def test_options_that_make_no_sense_are_named(words, said, table, tmp_path, capsys):
    table.to_csv(tmp_path / "t.csv", index=False)
    assert main(["report", str(tmp_path / "t.csv"), *words, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bytes(99), "is no text in UTF-8 (it has null bytes)"),
        ("a,größe\n1,2\n".encode("utf-16"), "is no text in UTF-8 (it has null bytes)"),
        ("a,größe\n1,2\n".encode("latin-1"), "is no text in UTF-8 (byte 0xf6); save it as a CSV file in UTF-8"),
        (b"\xff\xd8\xff\xe0 picture", "is no text in UTF-8 (byte 0xff)"),
    ],
)
def test_a_file_that_is_no_table_is_named(content, said, tmp_path, capsys):
    (tmp_path / "t.csv").write_bytes(content)
    assert main(["fit", str(tmp_path / "t.csv"), "--target", "y", "--alpha", "1", "--out", str(tmp_path / "out")]) == 2
    found = capsys.readouterr().err
    assert f"t.csv {said}" in found
    assert len(found.splitlines()) == 1


def test_two_tasks_of_one_name_are_refused():
    y = pd.DataFrame(np.eye(8)[:, :2], columns=["dose", "dose"])
    with pytest.raises(ValueError, match="two columns of y have the name 'dose'; every task needs a name of its own"):
        MixedMultiTaskLasso(0.1).fit(np.eye(8), y)


def test_numbers_of_pairs():
    with pytest.raises(ValueError, match="n_pairs must be at least 1, got -1"):
        stability_selection(np.eye(8), np.arange(8.0), n_pairs=-1)
