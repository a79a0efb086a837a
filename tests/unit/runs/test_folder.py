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
        folder.write_result("a", {"x": 1})
    other = {"data": {"size": [64, 64]}, "recipe": {"epochs": 5, "lr": 1e-3}}
    with pytest.raises(RunFolderError, match=r"recipe.epochs was 3, now 5\. Use another --out"), folder.locked(other):
        pass
    assert folder.config() == CONFIG


def test_a_run_of_an_older_version_goes_on_while_what_is_new_is_off(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.locked(CONFIG):
        folder.write_result("a", {"x": 1})
    newer = {**CONFIG, "recipe": {**CONFIG["recipe"], "stable_epochs": 0}}
    with folder.locked(newer):
        assert folder.config() == CONFIG
    newer["recipe"]["stable_epochs"] = 5
    with pytest.raises(RunFolderError, match=r"stable_epochs was None, now 5"), folder.locked(newer):
        pass


def test_a_config_that_nothing_was_computed_for_gives_way(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with folder.locked({**CONFIG, "recipe": {"epochs": -1}}):
        (folder.stages / "a").mkdir(parents=True)
    with folder.locked(CONFIG):
        assert folder.config() == CONFIG


def test_what_is_left_of_a_kill_at_the_first_file_is_no_obstacle(tmp_path):
    for name in (".config.yaml.999999999-0.partial", ".999999999-0.partial", ".lock"):
        (tmp_path / name).write_text("reci")
    with RunFolder(tmp_path).locked(CONFIG):
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "config.yaml"]


def test_what_killed_writers_left_is_swept_and_what_a_living_one_writes_is_not(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_result("a/b", {})
    dead = folder.stages / "a/b/.weights.pt.999999999-3.partial"
    living = folder.stages / "a/.weights.pt.1-0.partial"
    for file in (dead, living):
        file.write_bytes(b"half")
    with folder.locked(CONFIG):
        assert living.exists()
        assert not dead.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda text: text[:500],
        lambda text: text[:-1],
        lambda text: text.replace("epochs: 3", "epochs: 7"),
        lambda _: "\x00\x01\ufffd{[",
        lambda _: "- a list",
    ],
)
def test_a_damaged_config_is_named_and_what_to_do_works(tmp_path, damage):
    config = CONFIG | {f"key {number}": "x" * 20 for number in range(40)}
    folder, file = RunFolder(tmp_path), tmp_path / "config.yaml"
    with folder.locked(config):
        folder.write_result("a", {"x": 1})
    file.write_text(damage(file.read_text()))
    with pytest.raises(
        RunFolderError, match=r"config\.yaml is damaged \(.+\): restore it, or remove it and give"
    ) as said:
        folder.config()
    assert "\n" not in str(said.value)
    file.unlink()
    with folder.locked(config):
        assert folder.config() == config
        assert folder.result("a") == {"x": 1}


def test_a_config_without_a_checksum_is_taken_as_it_is(tmp_path):
    (tmp_path / "config.yaml").write_text("recipe: {epochs: 3}")
    assert RunFolder(tmp_path).config() == {"recipe": {"epochs": 3}}


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(RunFolderError, match="no run folder"), RunFolder(tmp_path).locked(CONFIG):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_no_run_folder_says_what_makes_one(tmp_path):
    with pytest.raises(RunFolderError, match=r"no config\.yaml.*lomt run"):
        RunFolder(tmp_path / "nowhere").config()


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"{}", b"\xff\xfe", b"[" * 100_000, b'"seg"', None])
def test_a_damaged_result_is_named(tmp_path, damage):
    folder = RunFolder(tmp_path)
    folder.write_result("select", {"taps": {"seg": "layer3"}})
    file = tmp_path / "stages/select/result.json"
    file.write_bytes(file.read_bytes().replace(b"layer3", b"layer1") if damage is None else damage)
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
