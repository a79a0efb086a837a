"""A diagnosis as a person reads it in a terminal."""

from collections.abc import Mapping
from typing import Any

from lomt.evaluation import Spread
from lomt.evaluation.formatting import number, spread

Record = Mapping[str, Any]


def describe(diagnosis: Record) -> str:
    """All networks of a run: how each task stands, and for those that lose, why and what to try.

    Args:
        diagnosis: the content of ``diagnosis.json``.
    """
    parts = [_network(network) for network in diagnosis["networks"]]
    if diagnosis["missing"]:
        parts.append(f"not judged, for it has not ended: {', '.join(diagnosis['missing'])}")
    if not diagnosis.get("ended", True):
        parts.append("the run has not ended: diagnose it again when it has")
    return "\n\n".join(parts)


def _network(network: Record) -> str:
    seeds = len(network["seeds"])
    losing = [one["task"] for one in network["standings"] if one["loses"]]
    known = f"{seeds} seeds" if seeds > 1 else "1 seed, so no spread is known"
    lines = [
        f"{network['method']}, against single-task networks on validation ({known})",
        *_table(network["standings"]),
    ]
    if not losing:
        return "\n".join([*lines, "no task loses"])
    for verdict in network["verdicts"]:
        lines += ["", f"why {verdict['task']} loses in {network['method']}"]
        for place, cause in enumerate(verdict["causes"], 1):
            lines.append(f"  {place}. {cause['kind']}: {cause['evidence']}")
            for remedy in cause["remedies"]:
                lines.append(f"     try {remedy['what']}")
                lines.append(f"       {remedy['command'] or remedy['call']}")
    return "\n".join(lines)


def _table(standings: list[Record]) -> list[str]:
    width = max(len(one["task"]) for one in standings)
    lines = []
    for one in standings:
        gain = f"{spread(Spread(**one['gain']), signed=True)} %" if one["gain"] else "–"
        metrics = ", ".join(f"{name} {_change(pair)}" for name, pair in one["metrics"].items())
        lines.append(
            f"  {one['task']:<{width}}  {gain:>9}  {'loses' if one['loses'] else '     '}  {metrics}; "
            f"loss: training {_change(one['training'])}, validation {_change(one['validation'])}"
        )
    return lines


def _change(pair: Record) -> str:
    alone, together = (float("nan") if pair[key] is None else pair[key] for key in ("alone", "together"))
    return f"{number(alone)} → {number(together)}"
