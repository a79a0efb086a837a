"""The model card: what a person should know of a saved network."""

from collections.abc import Mapping
from typing import Any

from lomt.evaluation import Table, over_seeds
from lomt.evaluation.formatting import number


def model_card(config: Mapping[str, Any], table: Table | None = None) -> str:
    """A README in Markdown, made of the folder's ``config.json``; ``table`` is shown in place of the plain results."""
    tasks = [task["arguments"].get("name", "?") for task in config["tasks"]]
    lines = [
        "---",
        "library_name: lomt",
        "tags: [multi-task-learning, structured-sparsity]",
        "---",
        "",
        f"# {', '.join(tasks) or 'Network'}",
        "",
        f"{config['parameters']:,} parameters in {len(config['widths'])} convolutions and linear layers.",
        *_worth(config["delta_m"]),
        "",
        "```python",
        "from lomt.export import from_pretrained",
        "",
        'network = from_pretrained("this folder")',
        "outputs = network(images)",
        "```",
        "",
        *_inputs(config),
        "",
    ]
    if tasks:
        lines += ["| task | kind | reads | classes |", "|---|---|---|---|"]
        lines += [
            f"| {name} | {task['kind']} | {', '.join(config['taps'].get(name, [])) or '–'} | {_classes(task)} |"
            for name, task in zip(tasks, config["tasks"], strict=True)
        ]
        lines.append("")
    shown = ["## Results", "", table.to_markdown()] if table else _results(config["results"])
    return "\n".join(lines + shown) + "\n"


def plain_results(results: Mapping[str, Mapping[str, float]] | Table | None) -> dict[str, dict[str, float]]:
    """Rows of numbers for ``config.json``: name → metric → value; of a table the means over seeds."""
    if not isinstance(results, Table):
        return {name: dict(row) for name, row in (results or {}).items()}
    rows = {}
    for row in results.rows:
        figures = {column.title: row.figure(column.task, column.metric) for column in results.columns}
        rows[row.method] = {title: figure.mean for title, figure in figures.items() if figure}
        if row.delta_m:
            rows[row.method]["Δm [%] ↑"] = over_seeds(row.delta_m).mean
    return rows


def _worth(delta_m: float | None) -> list[str]:
    if delta_m is None:
        return []
    return [
        "",
        f"Δm {number(delta_m, 1, signed=True)} %: the mean relative gain over single-task networks, + is better.",
    ]


def _classes(task: Mapping[str, Any]) -> str:
    classes = task["arguments"].get("classes", "–")
    return ", ".join(classes).replace("|", "\\|") if isinstance(classes, list) else str(classes)


def _inputs(config: Mapping[str, Any]) -> list[str]:
    normalization = config["normalization"]
    if normalization is None:
        return ["The normalization of its images is not stated."]
    mean, std = ([f"{value:.4g}" for value in normalization[key]] for key in ("mean", "std"))
    shape = " × ".join(map(str, config["inputs"][0])) if config["inputs"] else "any size"
    return [f"Images are RGB in [0, 1], minus {', '.join(mean)}, over {', '.join(std)}; made for {shape}."]


def _results(results: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not results:
        return []
    metrics = list(dict.fromkeys(metric for row in results.values() for metric in row))
    table = [f"| | {' | '.join(metrics)} |", "|---" * (len(metrics) + 1) + "|"]
    for name, row in results.items():
        cells = [f"{row[metric]:.4g}" if metric in row else "–" for metric in metrics]
        table.append(f"| {name} | {' | '.join(cells)} |")
    return ["## Results", "", *table]
