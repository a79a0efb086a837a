"""The model card: what a person should know of a saved network."""

from collections.abc import Mapping
from typing import Any


def model_card(config: Mapping[str, Any]) -> str:
    """A README in Markdown, made of the folder's ``config.json``."""
    tasks = [task["arguments"].get("name", "?") for task in config["tasks"]]
    lines = [
        "---",
        "library_name: tailor",
        "tags: [multi-task-learning, structured-sparsity]",
        "---",
        "",
        f"# {', '.join(tasks) or 'Network'}",
        "",
        f"{config['parameters']:,} parameters in {len(config['widths'])} convolutions and linear layers.",
        "",
        "```python",
        "from tailor.export import from_pretrained",
        "",
        'network = from_pretrained("this folder")',
        "outputs = network(images)",
        "```",
        "",
        *_inputs(config),
        "",
    ]
    if tasks:
        lines += ["| task | kind | reads |", "|---|---|---|"]
        lines += [
            f"| {name} | {task['kind']} | {', '.join(config['taps'].get(name, [])) or '–'} |"
            for name, task in zip(tasks, config["tasks"], strict=True)
        ]
        lines.append("")
    return "\n".join(lines + _results(config["results"])) + "\n"


def _inputs(config: Mapping[str, Any]) -> list[str]:
    normalization = config["normalization"]
    if normalization is None:
        return ["The normalization of its images is not stated."]
    mean, std = ([f"{value:.4g}" for value in normalization[key]] for key in ("mean", "std"))
    return [f"Images are RGB in [0, 1], minus {', '.join(mean)}, over {', '.join(std)}."]


def _results(results: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not results:
        return []
    metrics = list(dict.fromkeys(metric for row in results.values() for metric in row))
    table = [f"| | {' | '.join(metrics)} |", "|---" * (len(metrics) + 1) + "|"]
    for name, row in results.items():
        cells = [f"{row[metric]:.4g}" if metric in row else "–" for metric in metrics]
        table.append(f"| {name} | {' | '.join(cells)} |")
    return ["## Results", "", *table]
