"""Before and after compaction: channels layer by layer, cost, time, and that the outputs are the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from lomt.evaluation.formatting import count, number
from lomt.report.names import colour_class, listing, method_name
from lomt.report.read import Run
from lomt.report.svg import drawing, element, tip

WIDTH = 560.0
NAMES = 190.0
COUNTS = 84.0
ROW = 13.0
TOP = 6.0


@dataclass(frozen=True)
class Small:
    """What became of a network.

    Attributes:
        network: the method, as a reader calls it.
        colour: CSS class.
        said: what was removed, in words.
        lines: (what, before, after, share that is left or none).
        picture: channels of every layer.
        same: that the outputs are the same, with the figures.
    """

    network: str
    colour: str
    said: str
    lines: Sequence[tuple[str, str, str, float | None]]
    picture: Markup
    same: str


def small(run: Run) -> list[Small]:
    """The networks of which the run removed something, the one that it was made for first."""
    networks = run.compaction.items() if run.compaction else ()
    return [_small(run, method, found) for method, found in reversed(networks) if found["changed"]]


def unchanged(run: Run) -> str:
    """Of which networks nothing was removed, in a sentence; empty where there is none of them."""
    names = [method_name(method) for method, found in (run.compaction or {}).items() if not found["changed"]]
    if not names:
        return ""
    return f"In the {listing(names)} network{'s' if len(names) > 1 else ''} nothing is dead: every channel is read."


def _small(run: Run, method: str, found: Mapping[str, Any]) -> Small:
    costs = list(found["costs"].values())
    lines = [
        _line("parameters", [one["parameters"] for one in costs], count),
        _line("multiply-accumulates", [one["macs"] for one in costs], count),
    ]
    compared = run.comparison
    times = [compared.latency(form) for form in (method, compared.smallest_form(method))] if compared else []
    if len(medians := [time.median for time in times if time]) == 2:
        lines.append(_line("latency, PyTorch [ms]", medians, number))
    exported = run.export if run.export and run.export.get("network") == found["network"] else {}
    timings = exported.get("bench", {}).get("timings", [])
    if timings:
        lines.append(("latency, ONNX Runtime [ms]", "–", number(timings[-1]["median"]), None))
    return Small(
        network=method_name(method),
        colour=colour_class(method, compared.methods if compared else [method]),
        said=found["said"],
        lines=lines,
        picture=picture(found["layers"]),
        same=_same(found, exported),
    )


def _line(what: str, values: Sequence[float], write: Any) -> tuple[str, str, str, float | None]:
    before, after = values
    return what, write(before), write(after), after / before if before else None


def _same(found: Mapping[str, Any], exported: Mapping[str, Any]) -> str:
    largest = {kind: max(errors.values()) for kind, errors in found["difference"].items() if errors}
    figures = ", ".join(
        f"{error:.1e}{' of its largest value' if not place else ''} in {kind}"
        for place, (kind, error) in enumerate(largest.items())
    )
    said = f"On {found['images']} test images no output differs by more than {figures}"
    if "onnx" in exported:
        said += f"; the ONNX file by {max(exported['onnx']['errors'].values()):.1e} in ONNX Runtime"
    return f"{said}."


def picture(layers: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Output channels of every layer: the whole bar before, the filled part after."""
    widest = max(layer["before"][1] for layer in layers.values())
    parts = [
        _row(name, layer, index, (WIDTH - NAMES - COUNTS) / widest)
        for index, (name, layer) in enumerate(layers.items())
    ]
    label = f"Output channels of {len(layers)} layers before and after compaction."
    return drawing(WIDTH, TOP + ROW * len(layers), *parts, label=label, kind="channels")


def _row(name: str, layer: Mapping[str, Any], index: int, scale: float) -> Markup:
    before, after = layer["before"][1], (layer["after"] or [0, 0])[1]
    top = TOP + index * ROW
    inputs = f"{layer['before'][0]} → {(layer['after'] or [0])[0]}"
    shown = name if len(name) <= 34 else f"…{name[-33:]}"
    text = f"{before} → {after}" if after != before else f"{before}"
    return element(
        "g",
        tip(f"{name}: outputs {before} → {after}, inputs {inputs}"),
        element("text", shown, x=NAMES - 6, y=top + 9, text_anchor="end", class_="mono"),
        element("rect", x=NAMES, y=top + 1, width=before * scale, height=ROW - 3, class_="dead"),
        element("rect", x=NAMES, y=top + 1, width=after * scale, height=ROW - 3, class_="alive"),
        element("text", text, x=WIDTH, y=top + 9, text_anchor="end", class_="mono" if after else "mono gone"),
    )
