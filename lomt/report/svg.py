"""SVG and HTML elements as markup that is safe by construction."""

from markupsafe import Markup, escape


def element(name: str, *children: object, **attributes: object) -> Markup:
    """One element; texts and attribute values are escaped, markup stays.

    Args:
        name: of the element, a literal in our code and never data.
        children: markup or text.
        attributes: ``class_`` is written ``class``, other underscores become hyphens; floats are rounded to two
            decimals; what is None is left out.

    Example:
        >>> element("text", "a < b", x=1.23456, class_="note", fill_opacity=0.5, y=None)
        Markup('<text x="1.23" class="note" fill-opacity="0.5">a &lt; b</text>')
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(escape(child) for child in children)
    return Markup(f"<{name}{given}>{inside}</{name}>")  # noqa: S704 – every part is escaped above


def drawing(width: float, height: float, *children: object, label: str, kind: str = "") -> Markup:
    """An SVG picture that is never wider than its place, nor than ``width`` CSS pixels.

    Args:
        width: natural width in CSS pixels.
        height: natural height in CSS pixels.
        children: elements.
        label: what is to be seen, for those who can't see it.
        kind: CSS classes.
    """
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {_short(width)} {_short(height)}",
        width=width,
        height=height,
        class_=f"drawing {kind}".strip(),
        role="img",
        aria_label=label,
    )


def tip(text: str) -> Markup:
    """A tooltip: hovering shows it everywhere, a touch shows it by way of ``report.js``."""
    return element("title", text)


def path(points: list[tuple[float, float]], closed: bool = False) -> str:
    """The ``d`` of a line through points."""
    steps = " L".join(f"{_short(x)} {_short(y)}" for x, y in points)
    return f"M{steps}{' Z' if closed else ''}" if points else ""


def _short(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
