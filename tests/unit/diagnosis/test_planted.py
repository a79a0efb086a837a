"""Whole runs with a planted cause: the diagnosis must name it first, and say what to change."""

from lomt.diagnosis import describe
from lomt.files import read_record
from lomt.runs import diagnose


def first_cause(folder, setup, task):
    record = diagnose(folder, setup, show_progress=False)
    (network,) = record["networks"]
    (verdict,) = [one for one in network["verdicts"] if one["task"] == task]
    return verdict["causes"][0], record


def test_labels_that_are_each_others_negative_conflict_and_the_outcome_is_kept(train_run, patches, mean):
    folder, setup = train_run(patches(("up", "down")), {"up": "11", "down": "11"}, mean)
    cause, record = first_cause(folder, setup, "up")
    assert cause["kind"] == "conflict"
    assert cause["rival"] == "down"
    assert cause["weight"] > 0.5
    (pair,) = record["networks"][0]["gradients"]["pairs"]
    assert all(spread["mean"] < -0.5 for spread in pair["layers"].values())
    assert "cosine −" in cause["evidence"]
    stored = read_record(folder.path / "diagnosis.json", "")
    assert stored == record
    assert diagnose(folder, setup, show_progress=False)["networks"] == record["networks"]
    said = describe(stored)
    assert "why up loses in multi_task" in said
    assert "1 seed, so no spread is known" in said
    assert "the same call of lomt.run with" in said


def test_a_loss_times_1000_drowns_the_others(train_run, patches, linear):
    source = patches(("texture", "noise"), weights=(1.0, 1000.0))
    folder, setup = train_run(source, {"texture": "11", "noise": "11"}, linear)
    cause, record = first_cause(folder, setup, "texture")
    assert cause["kind"] == "imbalance"
    assert cause["weight"] > 0.9
    assert cause["remedies"][0]["options"] == {"recipe.balancing": "geometric"}
    (network,) = record["networks"]
    assert network["gradients"]["relative_share"]["noise"] > 1.9
    losing = [one["task"] for one in network["standings"] if one["loses"]]
    assert [one["task"] for one in network["verdicts"]] == losing


def test_a_tap_before_the_feature_exists_is_too_shallow(train_run, patches, linear):
    taps = {"far": "0", "near": "11"}
    folder, setup = train_run(patches(("far", "near")), taps, linear, method="lomt")
    cause, record = first_cause(folder, setup, "far")
    assert cause["kind"] == "too shallow"
    assert cause["tap"] in ("6", "9", "11")
    assert cause["remedies"][0]["options"]["study.taps"] == f"{{far: {cause['tap']}, near: 11}}"
    (probes,) = [one for one in record["networks"][0]["probes"] if one["task"] == "far"]
    assert probes["alone"]["taps"] == ["0", "3", "6", "9", "11"]
