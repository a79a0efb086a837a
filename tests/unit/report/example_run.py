"""Writes run folders as runs leave them, with made-up figures, for the tests of the report."""

import csv
import math
from pathlib import Path

import numpy as np
import yaml

from lomt.files import write_record
from lomt.files.records import CHECKSUM

TASKS = {
    "seg": {
        "kind": "Segmentation",
        "dense": True,
        "channels": 5,
        "class_names": ["floor", "wall", "box", "ball", "lamp"],
        "headline": ["mIoU"],
        "higher_is_better": {"mIoU": True, "pixel_accuracy": True},
        "units": {},
    },
    "depth": {
        "kind": "Depth",
        "dense": True,
        "channels": 1,
        "class_names": None,
        "headline": ["RMSE", "AbsRel"],
        "higher_is_better": {"MAE": False, "RMSE": False, "AbsRel": False, "delta1": True},
        "units": {"MAE": "m", "RMSE": "m"},
    },
    "normals": {
        "kind": "Normals",
        "dense": True,
        "channels": 3,
        "class_names": None,
        "headline": ["mean_angle", "within_11.25"],
        "higher_is_better": {"mean_angle": False, "median_angle": False, "within_11.25": True},
        "units": {"mean_angle": "°", "median_angle": "°", "within_11.25": "%"},
    },
    "edges": {
        "kind": "Edges",
        "dense": True,
        "channels": 1,
        "class_names": None,
        "headline": ["ODS_F"],
        "higher_is_better": {"ODS_F": True, "MAE": False},
        "units": {},
    },
    "room": {
        "kind": "Classification",
        "dense": False,
        "channels": 3,
        "class_names": ["office", "kitchen", "hall"],
        "headline": ["accuracy"],
        "higher_is_better": {"accuracy": True},
        "units": {},
    },
}
SINGLE = {
    "seg": {"mIoU": 0.306, "pixel_accuracy": 0.612},
    "depth": {"MAE": 0.661, "RMSE": 0.860, "AbsRel": 0.241, "delta1": 0.62},
    "normals": {"mean_angle": 36.8, "median_angle": 30.1, "within_11.25": 14.2},
    "edges": {"ODS_F": 0.512, "MAE": 0.141},
    "room": {"accuracy": 0.71},
}
GAINS = {
    "single_task": {},
    "multi_task": {"seg": 1.2, "depth": 2.1, "normals": -0.6, "edges": -3.5, "room": 2.0},
    "lomt": {"seg": 1.6, "depth": 2.9, "normals": 0.4, "edges": 6.2, "room": 3.1},
    "sparse_lomt": {"seg": 2.0, "depth": 3.1, "normals": 0.9, "edges": 6.4, "room": 3.3},
}
COSTS = {
    "single_task": (14_890_000, 9_840_000_000, (41.0, 39.8, 43.1)),
    "multi_task": (4_213_000, 3_120_000_000, (16.2, 15.7, 17.0)),
    "lomt": (1_729_000, 1_716_000_000, (10.1, 9.8, 10.6)),
    "sparse_lomt": (1_729_000, 1_716_000_000, (10.2, 9.9, 10.7)),
    "sparse_lomt, compacted": (310_000, 429_000_000, (4.1, 4.0, 4.3)),
}
PER_TASK = {"seg": "layer4.0.conv2", "depth": "layer4.0.conv1", "normals": "layer3.1.conv2", "edges": "layer2.0.conv2"}


def taps_of(tasks):
    """Where the tailored network has its decoders."""
    return {task: PER_TASK.get(task, "layer4.0.conv2") for task in tasks}


def candidates(depths=(2, 2, 2, 2), width=16, convs=2, expansion=1):
    """The taps of a ResNet-D, in order of completion."""
    found = [(f"stem.conv{i}", width // (2 if i < 3 else 1), 2) for i in (1, 2, 3)]
    found += [("stem", width, 2), ("maxpool", width, 4)]
    for stage, depth in enumerate(depths):
        channels, stride = width * 2**stage * expansion, 4 if stage == 0 else 8
        for block in range(depth):
            name = f"layer{stage + 1}.{block}"
            if block == 0 and (stage or expansion > 1):
                found += [(f"{name}.downsample.{i}", channels, stride) for i in (0, 1)]
                found.append((f"{name}.downsample", channels, stride))
            for conv in range(1, convs + 1):
                inner = channels if conv == convs else channels // expansion
                found += [(f"{name}.conv{conv}", inner, stride), (f"{name}.bn{conv}", inner, stride)]
            found.append((name, channels, stride))
        found.append((f"layer{stage + 1}", channels, stride))
    return [{"name": name, "channels": channels, "stride": stride} for name, channels, stride in found]


def pattern(tap, seed, named):
    """Layers whose share of live channels falls towards the tap, and next to nothing after it."""
    rng = np.random.default_rng(seed)
    convs = [one for one in named if ".conv" in one["name"] or one["name"].endswith("downsample.1")]
    names = [one["name"] for one in convs]
    at = names.index(tap) if tap in names else len(names) - 1
    layers, inputs = [], 3
    for index, one in enumerate(convs):
        share = 1.0 - 0.75 * index / max(1, at) if index <= at else 0.0
        alive = rng.random(inputs) < max(share, 0.0)
        if index <= at:
            alive[rng.integers(inputs)] = True
        ranked = not one["name"].startswith("stem") and "downsample" not in one["name"]
        layers.append({"name": one["name"], "alive": "".join("01"[int(one)] for one in alive), "ranked": ranked})
        inputs = one["channels"]
    return {"layers": layers}


def history(tasks, seed, epochs, sparse=False, level=1.0):
    """Rows of ``metrics.csv``."""
    rng = np.random.default_rng(seed)
    rows = []
    for epoch in range(1, epochs + 1):
        fall = math.exp(-3 * epoch / epochs)
        row = {"epoch": epoch}
        for task in tasks:
            row[f"train_loss/{task}"] = level * (0.35 + 1.6 * fall + 0.02 * rng.standard_normal())
            row[f"val_loss/{task}"] = level * (0.55 + 1.4 * fall + 0.04 * rng.standard_normal())
            for metric, value in SINGLE[task].items():
                worse = 1 + (0.7 if not TASKS[task]["higher_is_better"][metric] else -0.6) * fall
                row[f"{task}/{metric}"] = value * worse * (1 + 0.015 * rng.standard_normal())
            if len(tasks) > 1:
                row[f"weight/{task}"] = 0.37 * (1 + (0.5 + 0.3 * len(task)) * (1 - fall))
        row["lr"] = 1e-3 * (1 - epoch / epochs)
        row["sparsity"] = max(0.0, 0.62 * (1 - fall) - 0.1) if sparse else 0.0
        rows.append(row)
    return rows


def write_json(path, content):
    """Write a record, or one that was read from another's text, with the folders above."""
    write_record(path, {key: value for key, value in content.items() if key != CHECKSUM})


def write_training(folder, stage, method, taps, seed, epochs=8, named=None, ended=True, cut=None):
    """One training stage; one that has not ended has curves and no result."""
    sparse = method == "sparse"
    rows = history(list(taps), seed + len(stage), epochs, sparse)
    place = folder / "stages" / stage
    place.mkdir(parents=True, exist_ok=True)
    with (place / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    if ended:
        result = {
            "stage": stage,
            "method": method,
            "taps": taps,
            "seed": seed,
            "penalty": "GroupLasso(weight=0.0003)" if sparse else None,
            "epochs": epochs,
            "stopped": "sparsity has stabilized" if sparse else None,
            "validation": rows[-1],
            "parameters": COSTS.get(method, COSTS["multi_task"])[0],
            "macs": COSTS.get(method, COSTS["multi_task"])[1],
            "pattern": pattern(cut or "layer4", seed + len(stage), named or candidates()),
            "seconds": 31.4 + seed,
        }
        write_json(place / "result.json", result)


def write_trainings(folder, tasks, methods, seeds, trials, named=None, epochs=8):
    """All training stages, and the selection."""
    end = dict.fromkeys(tasks, "layer4")
    taps = taps_of(tasks)
    for seed in range(seeds):
        if "single_task" in methods:
            for task in tasks:
                name = f"single_task/{task}/seed-{seed}"
                write_training(folder, name, "single_task", {task: "layer4"}, seed, epochs, named)
        for method in set(methods) - {"single_task"}:
            where = taps if method.endswith("lomt") else end
            write_training(folder, f"{method}/seed-{seed}", method, where, seed, epochs, named)
    selections = {}
    for task in tasks if trials else ():
        for trial in range(trials):
            name = f"sparse/{task}/trial-{trial}"
            write_training(folder, name, "sparse", {task: "layer4"}, trial, epochs, named, cut=taps[task])
        per_trial = [taps[task]] * (trials - 1) + ["layer4.1.conv1"]
        selections[task] = {
            "tap": taps[task],
            "stability": (trials - 1) / trials,
            "runner_up": "layer4.1.conv1",
            "per_trial": per_trial,
            "reason": f"the deepest layer that is alive in all {trials} trials",
        }
    if trials:
        write_json(folder / "stages/select/result.json", {"taps": taps, "selections": selections})


def write_paths(folder, tasks):
    """What the stages leave that search λ: at last one λ too strong, one in between."""
    for task in tasks:
        points = [
            {"strength": strength, "start": start, "excess": excess, "sparsity": dead, "deepest": deepest, "epochs": 2}
            for strength, start, excess, dead, deepest in (
                (1e-4, None, -0.004, 0.0, "layer4.1.conv2"),
                (4e-4, 0, 0.009, 0.41, "layer4.0.conv2"),
                (8e-4, 1, 0.31, 0.78, "layer2.0.conv2"),
                (5.7e-4, 1, 0.018, 0.55, taps_of([task])[task]),
            )
        ]
        result = {
            "stage": f"path/{task}",
            "tasks": [task],
            "strength": 5.7e-4,
            "chosen": 3,
            "reason": "λ 5.7e-04 is the strongest within 2.0%",
            "tolerance": 0.02,
            "dense": {task: 0.6},
            "epochs": 8,
            "points": points,
        }
        write_json(folder / f"stages/path/{task}/result.json", result)
        write_json(folder / f"stages/path/{task}/step-0/point.json", points[0])
        (folder / f"stages/path/{task}/step-0/metrics.csv").write_text("epoch,train_loss/seg\n1,0.5\n")


def compared(tasks, methods, seeds, named=None, scale=1.0):
    """What the stage ``compare`` leaves."""
    rows = []
    for method in methods:
        gains = GAINS.get(method, GAINS["multi_task"])
        for seed in range(seeds):
            wobble = 0.4 * (seed - (seeds - 1) / 2)
            test, deltas = {}, {}
            for task in tasks:
                gain = (scale * gains.get(task, 0.0) + wobble) / 100
                signs = {name: 1 if up else -1 for name, up in TASKS[task]["higher_is_better"].items()}
                test[task] = {name: value * (1 + signs[name] * gain) for name, value in SINGLE[task].items()}
                deltas[task] = 100 * gain
            delta = {"mean": sum(deltas.values()) / len(deltas), "per_task": deltas}
            single = method == "single_task"
            stages = [f"single_task/{task}/seed-{seed}" for task in tasks] if single else [f"{method}/seed-{seed}"]
            rows.append(
                {
                    "method": method,
                    "seed": seed,
                    "stages": stages,
                    "taps": taps_of(tasks) if method.endswith("lomt") else dict.fromkeys(tasks, "layer4"),
                    "test": test,
                    "delta_m": None if single or "single_task" not in methods else delta,
                }
            )
    costs = {}
    compacted = [f"{method}, compacted" for method in methods if f"{method}, compacted" in COSTS]
    for method in (*methods, *compacted):
        parameters, macs, times = COSTS.get(method, COSTS["multi_task"])
        latency = dict(zip(("median", "low", "high"), times, strict=True)) | {
            "repeats": 50,
            "threads": 2,
            "device": "cpu",
        }
        costs[method] = {"parameters": parameters, "macs": macs, "latency": latency}
    return {
        "tasks": [{"name": task, **TASKS[task]} for task in tasks],
        "candidates": named or candidates(),
        "rows": rows,
        "methods": costs,
        "environment": {
            "date": "2026-01-31",
            "python": "3.11.9",
            "torch": "2.13.0",
            "lomt": "0.1.0",
            "machine": "x86_64, 2 cores",
            "threads": 2,
        },
    }


def write_compaction(folder, methods):
    """What the stage ``compact`` leaves: of the sparse networks something is removed."""
    networks = {}
    for method in methods:
        about = {"network": f"{method}/seed-0", "seed": 0, "said": "nothing is dead, unchanged", "changed": False}
        if f"{method}, compacted" in COSTS:
            forms = (("as trained", method), ("compacted", f"{method}, compacted"))
            about |= {
                "said": "1 of 3 layers removed, 1 narrowed",
                "changed": True,
                "layers": {
                    "backbone.stem": {"before": [3, 8], "after": [3, 8]},
                    "backbone.deep": {"before": [8, 16], "after": [8, 4]},
                    "decoders.seg.pool": {"before": [16, 8], "after": None},
                },
                "costs": {
                    name: dict(zip(("parameters", "macs"), COSTS[form][:2], strict=True)) for name, form in forms
                },
                "images": 8,
                "difference": {"float32": {"seg": 2e-7}, "float64": {}},
            }
        networks[method] = about
    write_json(folder / "stages/compact/result.json", {"stage": "compact", "round_to": 1, "networks": networks})


def write_gallery(folder, tasks, methods, count=2, size=(18, 24)):
    """Pictures of nothing in particular, of the right shapes."""
    rng = np.random.default_rng(0)
    height, width = size
    shapes = {"depth": (1, height, width), "normals": (3, height, width), "edges": (1, height, width)}
    arrays = {"image": rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)}
    for task in tasks:
        for source in ("truth", *methods):
            if task == "seg":
                value = rng.integers(0, 5, (count, height, width))
                value[:, 0] = 255 if source == "truth" else 0
            elif task == "room":
                value = rng.integers(0, 3, count) if source == "truth" else rng.dirichlet(np.ones(3), count)
            else:
                value = rng.random((count, *shapes[task])).astype(np.float32) * (6 if task == "depth" else 1)
                value[..., 0] = np.nan if source == "truth" else 1.0
            arrays[f"{source}/{task}"] = value
    place = folder / "stages/compare"
    place.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(place / "gallery.npz", **arrays)


def write_run(
    folder: Path,
    tasks=("seg", "depth", "normals", "edges", "room"),
    methods=("single_task", "multi_task", "lomt"),
    seeds=2,
    trials=2,
    scale=1.0,
):
    """A whole run that has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"data": {"class_path": "Scenes", "init_args": {"size": [48, 64]}}, "tasks": list(tasks)}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    write_trainings(folder, tasks, methods, seeds, trials)
    write_paths(folder, tasks if trials else ())
    write_compaction(folder, [method for method in methods if method != "single_task"])
    write_json(folder / "stages/compare/result.json", compared(tasks, methods, seeds, scale=scale))
    write_gallery(folder, tasks, methods)
    return folder


def curve(task, taps, losses):
    """Probes of three seeds."""
    return {
        "task": task,
        "taps": list(taps),
        "losses": [[loss - 0.01, loss, loss + 0.01] for loss in losses],
        "blank": [0.9, 0.9, 0.91],
    }


def diagnosed(method, tasks, layers, loser):
    """What ``lomt diagnose`` leaves of one network."""
    taps = ("layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv2", "layer4")
    spread = {"mean": -0.31, "std": 0.05, "count": 8}
    pairs = [(one, other) for index, one in enumerate(tasks) for other in tasks[index + 1 :]]
    alike = {"alone": 0.5, "together": 0.55}
    remedy = {
        "what": "weigh every loss by its own inverse",
        "options": {"recipe.balancing": "geometric"},
        "command": "lomt run -c runs/demo/config.yaml --recipe.balancing geometric --out runs/demo-geometric",
        "call": "the same call of lomt.run with recipe.balancing = geometric and another out",
    }
    return {
        "method": method,
        "stage": f"{method}/seed-0",
        "seeds": [0, 1],
        "taps": dict.fromkeys(tasks, "layer4"),
        "weights": dict.fromkeys(tasks, 0.6),
        "standings": [
            {
                "task": task,
                "gain": {"mean": -3.5, "std": 0.4, "count": 2} if task == loser else None,
                "metrics": {name: alike | {"alone": None} for name in TASKS[task]["headline"]},
                "training": alike,
                "validation": alike,
                "loses": task == loser,
            }
            for task in tasks
        ],
        "gradients": {
            "batches": 8,
            "images": 160,
            "layers": [{"name": name, "parameters": 1000} for name in layers],
            "pairs": [{"tasks": list(pair), "layers": dict.fromkeys(layers[:-1], spread)} for pair in pairs],
            "norms": {},
            "shares": {name: dict.fromkeys(tasks, 1 / len(tasks)) for name in layers},
            "relative_share": dict.fromkeys(tasks, 1.0),
        },
        "probes": [
            {
                "task": loser,
                "tap": "layer4",
                "shared": curve(loser, taps[:3], (0.6, 0.5, 0.4)),
                "alone": curve(loser, taps, (0.6, 0.5, 0.4, 0.35, 0.34)),
            }
        ],
        "verdicts": [
            {
                "task": loser,
                "causes": [
                    {"kind": "imbalance", "weight": 0.5, "evidence": "its share is 4.3 %", "remedies": [remedy]},
                    {"kind": "unknown", "weight": 0.0, "evidence": "nothing", "remedies": [remedy | {"command": None}]},
                ],
            }
        ],
    }


def write_diagnosis(folder, tasks=("seg", "depth", "normals", "edges", "room"), methods=("multi_task", "lomt")):
    """What ``lomt diagnose`` leaves in a run's folder."""
    layers = [one["name"] for one in candidates() if ".conv" in one["name"] or one["name"].endswith("downsample.1")]
    networks = [diagnosed(method, tasks, layers, tasks[-1]) for method in methods]
    write_json(folder / "diagnosis.json", {"networks": networks, "missing": []})
