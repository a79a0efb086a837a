"""The run folder: whole files, one config, one process."""

import subprocess
import sys

import pytest

from lomt.runs import RunFolder, RunFolderError

CONFIG = {"data": {"size": [64, 64]}, "recipe": {"epochs": 3, "lr": 1e-3}}


def test_a_result_is_read_as_it_was_written(tmp_path):
    folder = RunFolder(tmp_path / "run")
    assert folder.result("a/b") is None
    folder.write_result("a/b", {"x": 0.1, "y": [1, None, "z"]})
    assert folder.result("a/b") == {"x": 0.1, "y": [1, None, "z"]}
    assert list(folder.results()) == ["a/b"]
    assert [path.name for path in (tmp_path / "run/stages/a/b").iterdir()] == ["result.json"]


def test_the_same_config_goes_on(tmp_path):
    folder = RunFolder(tmp_path / "run")
    for _ in range(2):
        with folder.locked(CONFIG):
            assert folder.config() == CONFIG


def test_another_config_is_refused_by_the_values_that_differ(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.locked(CONFIG):
        pass
    other = {"data": {"size": [64, 64]}, "recipe": {"epochs": 5, "lr": 1e-3}}
    with pytest.raises(RunFolderError, match=r"recipe.epochs was 3, now 5\. Use another --out"), folder.locked(other):
        pass
    assert folder.config() == CONFIG


def test_a_run_of_an_older_version_goes_on_while_what_is_new_is_off(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.locked(CONFIG):
        pass
    newer = {**CONFIG, "recipe": {**CONFIG["recipe"], "compact_every": 0}}
    with folder.locked(newer):
        assert folder.config() == CONFIG
    newer["recipe"]["compact_every"] = 5
    with pytest.raises(RunFolderError, match=r"compact_every was None, now 5"), folder.locked(newer):
        pass


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(RunFolderError, match="no run folder"), RunFolder(tmp_path).locked(CONFIG):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_no_run_folder_says_what_makes_one(tmp_path):
    with pytest.raises(RunFolderError, match=r"no config\.yaml.*lomt run"):
        RunFolder(tmp_path / "nowhere").config()


def test_a_damaged_result_is_named(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_result("select", {})
    (tmp_path / "stages/select/result.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"select/result\.json is damaged.*remove it"):
        folder.result("select")


def test_a_second_process_is_kept_out_until_the_first_is_gone(tmp_path):
    folder = RunFolder(tmp_path / "run")
    code = (
        "import sys; from lomt.runs import RunFolder\n"
        f"with RunFolder({str(tmp_path / 'run')!r}).locked({CONFIG!r}):\n"
        "    print('in', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"in\n"
        with pytest.raises(RunFolderError, match="another process"), folder.locked(CONFIG):
            pass
        first.kill()
    with folder.locked(CONFIG):
        assert folder.config() == CONFIG
