import json

import pytest

from lomt.report import render
from lomt.report.conflict import conflict, shares
from lomt.report.diagnosis import diagnosed, early
from lomt.report.read import read


@pytest.fixture
def folder(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg", "depth", "edges"), seeds=1, trials=1)
    example.write_diagnosis(folder, ("seg", "depth", "edges"))
    return folder


def test_every_network_has_its_standings_causes_and_figures(folder):
    networks = diagnosed(read(folder))
    assert [network.method for network in networks] == ["conventional multi-task", "tailored (LOMT)"]
    first = networks[0]
    assert first.summary == "edges loses against single-task networks on validation (2 seeds)."
    assert [one.loses for one in first.standings] == [False, False, True]
    (why,) = first.verdicts
    assert why.task == "edges"
    assert [cause["kind"] for cause in why.causes] == ["imbalance", "unknown"]
    assert why.picture.count('class="curve') == 2
    assert "attached at layer4" in why.picture


def test_the_map_has_a_cell_for_every_layer_that_a_pair_shares(folder):
    (first, _) = read(folder).diagnosis["networks"]
    gradients = first["gradients"]
    layers = len(gradients["layers"])
    assert conflict(gradients).count('class="against"') == 3 * (layers - 1)
    assert "−0.31 ± 0.05 over 8 batches" in conflict(gradients)
    assert shares(gradients, {}).count('class="part"') == 3 * layers


def test_a_cosine_that_rounds_to_nothing_has_no_sign(folder):
    (first, _) = read(folder).diagnosis["networks"]
    for pair in first["gradients"]["pairs"]:
        pair["layers"] = {name: {"mean": -0.001, "std": None, "count": 1} for name in pair["layers"]}
    assert ">.00<" in conflict(first["gradients"])


def test_nothing_shared_is_no_map(folder):
    (first, _) = read(folder).diagnosis["networks"]
    nothing = first["gradients"] | {"layers": [], "pairs": [], "shares": {}}
    assert conflict(nothing) is None
    assert shares(nothing, {}) is None


def test_the_page_says_what_to_try(folder):
    page = render(folder)
    assert " \\\n  --recipe.balancing geometric \\\n  --out runs/demo-geometric</pre>" in page
    assert "the same call of lomt.run with recipe.balancing = geometric" in page


def test_a_diagnosis_of_an_unfinished_run_is_marked_when_it_has_ended(example, folder):
    file = folder / "diagnosis.json"
    record = json.loads(file.read_text())
    example.write_json(file, record | {"missing": [], "ended": True})
    assert early(read(folder)) == ""
    example.write_json(file, record | {"missing": [], "ended": False})
    assert early(read(folder)) == (
        "This was judged before the run had ended. The run has ended since: diagnose it again."
    )
    example.write_json(file, record | {"missing": ["lomt/seed-1"], "ended": False})
    page = render(folder)
    assert '<p class="problem">This was judged before the run had ended, without lomt/seed-1.' in page


def test_without_a_diagnosis_the_page_says_how_to_get_one(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg", "edges"), seeds=1, trials=1)
    assert f"<code>lomt diagnose {folder}</code>" in render(folder)


def test_a_damaged_diagnosis_is_named(folder):
    (folder / "diagnosis.json").write_text("{")
    page = render(folder)
    assert "diagnosis.json is damaged" in page
    assert "remove it and diagnose again" in page


def test_texts_of_a_diagnosis_are_no_markup(example, folder):
    evil = "<script>alert(1)</script>"
    file = folder / "diagnosis.json"
    record = file.read_text().replace("its share is 4.3 %", evil).replace("layer2.0.conv1", evil)
    example.write_json(file, json.loads(record))
    page = render(folder)
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(1)" in page
