"""Names beside dots, where there is room."""

from markupsafe import Markup

from lomt.report.chart import LEFT
from lomt.report.svg import element

LETTER = 7.3
"""About the width of a letter of a label, in CSS pixels."""

Region = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def around(x: float, y: float, reach: float = 8) -> Region:
    """The square around a dot, which labels leave free."""
    return (x - reach, y - reach, x + reach, y + reach)


def place_label(text: str, x: float, y: float, taken: list[Region], width: float) -> Markup:
    """Beside, above or below a dot: the first place that is inside and free, else the last.

    Args:
        text: the label.
        x: of the dot, in CSS pixels.
        y: of the dot.
        taken: what is not free; the label's place is added.
        width: of the chart.
    """
    long = LETTER * len(text)
    places = [
        ("start", x + 13, y + 4),
        ("end", x - 13, y + 4),
        ("middle", x, y - 13),
        ("middle", x, y + 21),
        ("end", x + 8, y - 13),
        ("end", x + 8, y + 21),
        ("start", x - 8, y - 13),
        ("start", x - 8, y + 21),
    ]
    for anchor, start, baseline in places:
        left = start - long * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
        region = (left, baseline - 11, left + long, baseline + 3)
        if left >= LEFT and left + long <= width and not any(_overlap(region, other) for other in taken):
            break
    taken.append(region)
    return element("text", text, x=start, y=baseline, text_anchor=anchor, class_="name")


def _overlap(one: Region, other: Region) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
