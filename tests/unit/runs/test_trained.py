"""Which networks of a run a diagnosis compares."""

import pytest

from lomt.runs import RunFolder, RunFolderError, trained


@pytest.fixture
def write(tmp_path):
    """Makes a run folder of results alone."""

    def make(methods, *results, begun=()):
        folder = RunFolder(tmp_path / "run")
        with folder.locked({"study": {"methods": methods, "seeds": [0]}}):
            for stage, method, seed, tasks in results:
                left = {"stage": stage, "method": method, "seed": seed, "taps": dict.fromkeys(tasks, "end")}
                folder.write_result(stage, left | {"validation": {}})
        for stage in begun:
            (folder.stages / stage).mkdir(parents=True, exist_ok=True)
            (folder.stages / stage / "metrics.csv").write_text("epoch")
        return folder

    return make


ALONE = [("single_task/a/seed-0", "single_task", 0, "a"), ("single_task/b/seed-0", "single_task", 0, "b")]
BOTH = ["single_task", "multi_task", "lomt"]


def test_methods_stand_in_the_order_of_the_study_and_seeds_in_theirs(write):
    rest = [("lomt/seed-0", "lomt", 0, "ab"), ("multi_task/seed-1", "multi_task", 1, "ab")]
    folder = write(BOTH, *ALONE, *rest, ("multi_task/seed-0", "multi_task", 0, "ab"))
    found = trained(folder)
    assert list(found.together) == ["multi_task", "lomt"]
    assert [result["seed"] for result in found.together["multi_task"]] == [0, 1]
    assert len(found.alone) == 2
    assert found.missing == ()


def test_sparse_trainings_are_no_baseline(write):
    sparse = ("sparse/a/trial-0", "sparse", 0, "a")
    folder = write(["lomt"], sparse, ("lomt/seed-0", "lomt", 0, "ab"))
    with pytest.raises(RunFolderError, match="no dense single-task networks"):
        trained(folder)


def test_of_several_rounds_the_one_that_was_compared_counts(write):
    rounds = [(f"lomt/seed-0{part}", "lomt", 0, "ab") for part in ("", "/round-1", "/round-2")]
    folder = write(BOTH, *ALONE, *rounds)
    assert trained(folder).together["lomt"][0]["stage"] == "lomt/seed-0/round-2"
    folder.write_result("compare", {"rows": [{"stages": ["lomt/seed-0/round-1"]}]})
    assert trained(folder).together["lomt"][0]["stage"] == "lomt/seed-0/round-1"


def test_what_has_not_ended_is_named_but_no_step_of_a_path_that_has(write):
    begun = ("multi_task/seed-1", "path/a/step-0", "multi_task/seed-0")
    folder = write(BOTH, *ALONE, ("multi_task/seed-0", "multi_task", 0, "ab"), begun=begun)
    folder.write_result("path/a", {"strength": 1.0})
    assert trained(folder).missing == ("multi_task/seed-1", "lomt")


def test_a_task_without_a_baseline_is_named_with_the_stage_to_add(write):
    folder = write(["multi_task"], ALONE[0], ("multi_task/seed-0", "multi_task", 0, "ab"))
    with pytest.raises(RunFolderError, match=r"no dense single-task network for b.*'\[single_task, multi_task\]'"):
        trained(folder)


@pytest.mark.parametrize("config", ["data: {}", "study: mine.yaml", "study: {methods: lomt}"])
def test_a_config_without_methods_is_said(write, config):
    folder = write(BOTH, *ALONE, ("multi_task/seed-0", "multi_task", 0, "ab"))
    (folder.path / "config.yaml").write_text(config)
    with pytest.raises(RunFolderError, match=r"config\.yaml does not say study\.methods"):
        trained(folder)
