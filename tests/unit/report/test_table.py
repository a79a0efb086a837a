from lomt.report.read import read
from lomt.report.table import groups, headings
from lomt.report.verdict import verdict


def test_groups_and_their_lines(run_folder):
    found = read(run_folder).comparison
    shown = {group.name: [line.name for line in group.lines] for group in groups(found)}
    assert list(shown) == ["all tasks", "seg", "depth", "normals", "edges", "room", "cost"]
    assert shown["depth"] == ["RMSE", "AbsRel"]
    assert shown["cost"] == ["parameters", "multiply-accumulates", "latency"]
    others = {group.name: [line.name for line in group.lines] for group in groups(found, headline_only=False)}
    assert others["depth"] == ["MAE", "δ < 1.25"]
    assert "room" not in others
    assert [head.seeds for head in headings(found)] == [2, 2, 2]


def test_better_is_positive_for_both_directions(run_folder):
    shown = {group.name: group.lines for group in groups(read(run_folder).comparison)}
    conventional = {name: shown[name][0].cells[1] for name in ("depth", "edges")}
    assert shown["depth"][0].arrow == "↓"
    assert conventional["depth"].note == "+2.1 %"
    assert conventional["depth"].tone == "better"
    assert conventional["edges"].note == "−3.5 %"
    assert conventional["edges"].tone == "worse"


def test_spread_is_written_and_the_best_is_marked(run_folder):
    line = groups(read(run_folder).comparison)[0].lines[0]
    single, conventional, tailored = line.cells
    assert single.note == "baseline"
    assert tailored.text == "+2.84"
    assert tailored.std == "± 0.28"
    assert (conventional.best, tailored.best) == (False, True)


def test_latency_has_its_quartiles(run_folder):
    latency = groups(read(run_folder).comparison)[-1].lines[-1]
    assert (latency.cells[2].text, latency.cells[2].note) == ("10.1", "9.80–10.6")


def test_a_compacted_network_has_a_column_with_costs_of_its_own(example, tmp_path):
    methods = ("single_task", "lomt", "sparse_lomt")
    run = read(example.write_run(tmp_path / "run", tasks=("seg", "edges"), methods=methods, trials=1))
    heads = headings(run.comparison, verdict(run).network)
    assert [head.name for head in heads][2:] == ["tailored, sparse", "tailored, sparse, compacted"]
    assert [head.taken for head in heads] == [False, False, False, True]
    assert heads[2].seeds == heads[3].seeds == 2
    shown = {group.name: group.lines for group in groups(run.comparison)}
    for name in ("all tasks", "seg", "edges"):
        assert all(line.cells[2] == line.cells[3] for line in shown[name])
    assert shown["all tasks"][0].cells[3].best
    assert [line.cells[3].text for line in shown["cost"]] == ["310 k", "429 M", "4.10"]
    assert [line.cells[3].best for line in shown["cost"]] == [True, True, True]


def test_one_seed_has_no_spread_and_nan_is_a_dash(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg", "depth"), seeds=1, trials=1)
    stored = example.compared(("seg", "depth"), ("single_task", "multi_task", "lomt"), 1)
    stored["rows"][1]["test"]["seg"]["mIoU"] = float("nan")
    stored["methods"]["lomt"] = {}
    example.write_json(folder / "stages/compare/result.json", stored)
    shown = {group.name: group.lines for group in groups(read(folder).comparison)}
    assert [cell.text for cell in shown["seg"][0].cells] == ["0.306", "–", "0.311"]
    assert {cell.std for cell in shown["seg"][0].cells} == {""}
    assert [line.cells[2].text for line in shown["cost"]] == ["–", "–", "–"]


def test_a_seed_without_a_figure_is_owned_up_to(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg",), seeds=3, trials=1)
    stored = example.compared(("seg",), ("single_task", "lomt"), 3)
    stored["rows"][5]["test"]["seg"]["mIoU"] = None
    example.write_json(folder / "stages/compare/result.json", stored)
    cell = groups(read(folder).comparison)[1].lines[0].cells[1]
    assert "2 of 3 seeds" in cell.note
