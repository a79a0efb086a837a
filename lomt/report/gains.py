"""Which task gains and which loses: a row a task, a dot a method, the single-task networks at zero."""

from markupsafe import Markup

from lomt.evaluation.formatting import number
from lomt.report.chart import tick_label, ticks
from lomt.report.comparison import Comparison
from lomt.report.names import SINGLE, colour_class, method_name
from lomt.report.svg import drawing, element, tip

WIDTH = 460.0
NAMES, RIGHT, TOP, ROW, BOTTOM = 86.0, 14.0, 8.0, 30.0, 36.0


def gains(found: Comparison) -> Markup | None:
    """Every task's part of Δm, with the standard deviation over seeds as a whisker; none without Δm."""
    spreads = {
        (task.name, method): spread
        for task in found.tasks
        for method in found.methods
        if method != SINGLE and (spread := found.gain(method, task.name))
    }
    if not spreads:
        return None
    ends = [spread.mean + side * (spread.std or 0.0) for spread in spreads.values() for side in (-1, 1)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    margin = 0.08 * (high - low) or 1.0
    low, high = low - margin, high + margin
    tasks = [task.name for task in found.tasks]
    height = TOP + ROW * len(tasks) + BOTTOM

    def across(value: float) -> float:
        return NAMES + (value - low) / (high - low) * (WIDTH - NAMES - RIGHT)

    parts = [_axis(low, high, across(0.0), height, [(value, across(value)) for value in ticks(low, high, 5)])]
    for index, task in enumerate(tasks):
        middle = TOP + ROW * (index + 0.5)
        name = task if len(task) <= 13 else f"{task[:12]}…"
        if index:
            edge = TOP + ROW * index
            parts.append(element("line", x1=0, x2=WIDTH - RIGHT, y1=edge, y2=edge, class_="grid"))
        parts.append(element("text", name, x=NAMES - 10, y=middle + 4, text_anchor="end", class_="row"))
        rivals = [method for method in found.methods if (task, method) in spreads]
        for place, method in enumerate(rivals):
            spread = spreads[task, method]
            y = middle + (place - (len(rivals) - 1) / 2) * min(9.0, ROW / len(rivals))
            whisker = spread.std or 0.0
            text = f"{method_name(method)}, {task}: {number(spread.mean, 1, signed=True)} %"
            line = element("line", x1=across(spread.mean - whisker), x2=across(spread.mean + whisker), y1=y, y2=y)
            dot = element("circle", cx=across(spread.mean), cy=y, r=4.5, class_="mean")
            parts.append(element("g", tip(text), line, dot, class_=f"gain {colour_class(method, found.methods)}"))
    described = "; ".join(
        f"{task} {method_name(method)} {number(spread.mean, 1, signed=True)} %"
        for (task, method), spread in spreads.items()
    )
    return drawing(WIDTH, height, *parts, label=f"Gain of each task over single-task: {described}.", kind="chart gains")


def _axis(low: float, high: float, zero: float, height: float, marks: list[tuple[float, float]]) -> Markup:
    bottom = height - BOTTOM
    parts = []
    for value, x in marks:
        text = tick_label(value, low, high)
        parts.append(element("line", x1=x, x2=x, y1=TOP, y2=bottom, class_="grid"))
        parts.append(element("text", f"+{text}" if value > 0 else text, x=x, y=bottom + 14, text_anchor="middle"))
    parts.append(element("line", x1=zero, x2=zero, y1=TOP - 4, y2=bottom + 2, class_="zero"))
    title = "change against single-task [%], + is better →"
    parts.append(element("text", title, x=WIDTH - RIGHT, y=height - 5, text_anchor="end", class_="soft"))
    return element("g", *parts, class_="axes")
