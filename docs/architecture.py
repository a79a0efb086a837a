"""Draw docs/images/architecture.svg: python docs/architecture.py. Boxes name modules, which must exist."""

import importlib.util
from html import escape
from pathlib import Path

WIDTH, BOX, HEIGHT, GAP = 1180, 176, 66, 20
INK, PALE = "#1f2933", "#52606d"
COLOURS = {"ground": "#e3eef7", "core": "#e8f3e6", "extras": "#fbf1dc", "data": "#ffffff"}

Box = tuple[str, str, str, str]
"""Kind, what it is, the module that does it (none for data), a line of explanation."""

WEIGHT: list[Box] = [
    ("data", "W (out, in, 3, 3)", "", "a convolution's weight"),
    ("core", "forward, backward", "lomt.models.network", "loss of its tasks → gradient"),
    ("core", "balancing", "lomt.balancing", "many losses → one update"),
    ("core", "ProxAdamW.step", "lomt.optim.prox_adamw", "all weights of a group at once"),
    ("core", "GroupLasso", "lomt.sparsity.group_lasso", "a norm costs λ √|g|"),
    ("ground", "prox_adamw_", "lomt_kernels.prox.function", "checks, one call for all"),
    ("ground", "registry", "lomt_kernels.registry", "cuda, triton, native, reference"),
    ("ground", "native", "lomt_kernels.prox.native", "csrc/prox/cpu.cpp: AdamW and θ"),
    ("data", "W with exact zeros", "", "dead groups are +0"),
    ("core", "pattern", "lomt.sparsity.pattern", "which groups of which layer live"),
]
IMAGE: list[Box] = [
    ("data", "image (N, 3, H, W)", "", "and labels, NaN where missing"),
    ("extras", "Source", "lomt.data.source", "decode, augment, normalize"),
    ("core", "single-task network", "lomt.models.network", "stage 1: decoder at the end"),
    ("extras", "λ path", "lomt.methods.path", "as strong as costs nothing"),
    ("core", "DeepestActive", "lomt.selection.deepest_active", "patterns → a tap for each task"),
    ("core", "truncate", "lomt.models.truncate", "stage 2: cut at the deepest tap"),
    ("core", "tailored network", "lomt.models.network", "each decoder at its own tap"),
    ("extras", "refit", "lomt.methods.refit", "sparse, then without the penalty"),
    ("core", "compact", "lomt.compaction.shrink", "what is dead is removed, exactly"),
    ("extras", "ONNX, report", "lomt.export.to_onnx", "checked files; tables and pictures"),
]


def lane(title: str, boxes: list[Box], top: int) -> list[str]:
    """Two rows of boxes with arrows from each to the next."""
    drawn = [f'<text x="20" y="{top}" class="title">{escape(title)}</text>']
    columns = 5
    for number, (kind, name, module, line) in enumerate(boxes):
        if module and importlib.util.find_spec(module) is None:
            raise ValueError(f"there is no module {module}: the picture is older than the code")
        row, column = divmod(number, columns)
        step = (WIDTH - 40 - BOX) / (columns - 1)
        x, y = 20 + column * step, top + 16 + row * (HEIGHT + 44)
        dash = ' stroke-dasharray="4 3"' if kind == "data" else ""
        drawn.append(f'<rect x="{x:.0f}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="6" fill="{COLOURS[kind]}"{dash}/>')
        for offset, text, style in ((21, name, "name"), (38, module, "module"), (54, line, "line")):
            drawn.append(f'<text x="{x + BOX / 2:.0f}" y="{y + offset}" class="{style}">{escape(text)}</text>')
        if number == len(boxes) - 1:
            continue
        if column < columns - 1:
            drawn.append(_arrow(x + BOX, y + HEIGHT / 2, x + step, y + HEIGHT / 2))
        else:
            half = y + HEIGHT + 22
            points = f"M{x + BOX / 2:.0f} {y + HEIGHT} V{half} H{20 + BOX / 2:.0f} V{y + HEIGHT + 42}"
            drawn.append(f'<path d="{points}" marker-end="url(#tip)"/>')
    return drawn


def _arrow(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path d="M{x1:.0f} {y1:.0f} L{x2 - 2:.0f} {y2:.0f}" marker-end="url(#tip)"/>'


def picture() -> str:
    """The SVG."""
    legend = []
    for place, (kind, text) in enumerate(
        (
            ("ground", "ground: lomt_kernels, csrc"),
            ("core", "core: torch and NumPy alone"),
            ("extras", "extras"),
            ("data", "data"),
        )
    ):
        x = 20 + place * 250
        legend.append(f'<rect x="{x}" y="572" width="16" height="16" rx="3" fill="{COLOURS[kind]}"/>')
        legend.append(f'<text x="{x + 24}" y="585" class="key">{text}</text>')
    body = [
        *lane("One weight's way through a training step", WEIGHT, 34),
        *lane("One image's way through both stages", IMAGE, 308),
        *legend,
    ]
    style = (
        "text{font-family:system-ui,'DejaVu Sans',sans-serif;text-anchor:middle}"
        f".title{{font-size:17px;font-weight:600;text-anchor:start;fill:{INK}}}"
        f".name{{font-size:14px;font-weight:600;fill:{INK}}}"
        f".module{{font-size:9.5px;font-family:ui-monospace,'DejaVu Sans Mono',monospace;fill:{PALE}}}"
        f".line{{font-size:10px;fill:{PALE}}}.key{{font-size:12px;text-anchor:start;fill:{INK}}}"
        f"rect{{stroke:{PALE};stroke-width:1}}path{{fill:none;stroke:{PALE};stroke-width:1.3}}"
    )
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 L8 4 L0 8 z" style="fill:{PALE};stroke:none"/></marker></defs>'
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} 604" role="img" aria-label="{_LABEL}">'
        f"<style>{style}</style>{tip}"
        f'<rect width="{WIDTH}" height="604" style="fill:#fff;stroke:none"/>' + "".join(body) + "</svg>\n"
    )


_LABEL = "A weight's way through a training step, and an image's way through both stages, by module"

if __name__ == "__main__":
    Path(__file__).with_name("images").joinpath("architecture.svg").write_text(picture())
