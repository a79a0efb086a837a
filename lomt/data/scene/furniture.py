"""Furniture: each function puts one piece down at a place, of sizes and materials that the dice choose."""

from lomt.data.scene.materials import Palette
from lomt.data.scene.solids import (
    BED,
    CABINET,
    CHAIR,
    LAMP,
    OBJECT,
    PICTURE,
    SCREEN,
    SOFA,
    TABLE,
    Dice,
    Kind,
    Material,
    Pattern,
    Place,
    Solids,
)  # fmt: skip

BOX, BALL, TUBE = Kind.BOX, Kind.ELLIPSOID, Kind.CYLINDER


def bed(solids: Solids, at: Place, width: float, dice: Dice, palette: Palette) -> None:
    """2 m long, its head at the wall."""
    solids.piece()
    frame, blanket, sheet = palette.wood(), palette.fabric(), palette.pale()
    w, top = width / 2, dice.uniform(0.45, 0.6)
    solids.add(BOX, BED, at, (-w, w), (0.08, 0.3), (-2.0, 0), frame)
    solids.add(BOX, BED, at, (-w, w), (0, dice.uniform(0.75, 1.15)), (-0.07, 0), frame)
    solids.add(BOX, BED, at, (-w + 0.02, w - 0.02), (0.3, top - 0.04), (-1.97, -0.07), sheet)
    solids.add(BOX, BED, at, (-w - 0.01, w + 0.01), (0.22, top), (-1.99, -dice.uniform(0.55, 0.9)), blanket)
    pillow = palette.pale()
    for side in (-1, 1) if width > 1.2 else (0,):
        x = side * w / 2
        solids.add(BALL, BED, at, (x - 0.32, x + 0.32), (top - 0.1, top + 0.12), (-0.55, -0.1), pillow)


def sofa(solids: Solids, at: Place, width: float, dice: Dice, palette: Palette) -> None:
    """A seat with back and arms, 0.85 m deep."""
    solids.piece()
    cloth, w, seat = palette.fabric(), width / 2, dice.uniform(0.38, 0.46)
    solids.add(BOX, SOFA, at, (-w, w), (0.06, seat - 0.12), (-0.85, 0), cloth)
    solids.add(BOX, SOFA, at, (-w, w), (0.06, dice.uniform(0.75, 0.9)), (-0.22, 0), cloth)
    for x in (-w, w - 0.16):
        solids.add(BOX, SOFA, at, (x, x + 0.16), (0.06, seat + 0.18), (-0.85, 0), cloth)
    count = max(1, round((width - 0.3) / 0.7))
    step = (width - 0.34) / count
    for i in range(count):
        x = -w + 0.17 + i * step
        solids.add(BOX, SOFA, at, (x + 0.01, x + step - 0.01), (seat - 0.12, seat), (-0.87, -0.2), cloth)
    if dice.chance(0.7):
        x = dice.uniform(-w + 0.4, w - 0.4)
        solids.add(BALL, SOFA, at, (x - 0.2, x + 0.2), (seat, seat + 0.4), (-0.4, -0.2), palette.fabric())


def chair(solids: Solids, at: Place, dice: Dice, palette: Palette) -> None:
    """On four legs; its back is at z = 0 and 0.45 m wide."""
    solids.piece()
    wood, seat, high = palette.wood(), palette.fabric(), dice.uniform(0.82, 1.0)
    for x in (-0.21, 0.17):
        solids.add(BOX, CHAIR, at, (x, x + 0.04), (0, high), (-0.04, 0), wood)
        solids.add(BOX, CHAIR, at, (x, x + 0.04), (0, 0.43), (-0.44, -0.4), wood)
    solids.add(BOX, CHAIR, at, (-0.22, 0.22), (0.43, 0.48), (-0.46, 0), seat)
    solids.add(BOX, CHAIR, at, (-0.21, 0.21), (high - 0.3, high), (-0.035, 0), seat)


def desk_chair(solids: Solids, at: Place, dice: Dice, palette: Palette) -> None:
    """On one column and a round foot."""
    solids.piece()
    cloth, dark = palette.fabric(), palette.dark()
    seat = dice.uniform(0.45, 0.52)
    solids.add(TUBE, CHAIR, at, (-0.28, 0.28), (0.03, 0.08), (-0.53, 0.03), dark)
    solids.add(TUBE, CHAIR, at, (-0.04, 0.04), (0.08, seat), (-0.29, -0.21), dark)
    solids.add(BOX, CHAIR, at, (-0.24, 0.24), (seat, seat + 0.08), (-0.48, 0), cloth)
    solids.add(BOX, CHAIR, at, (-0.22, 0.22), (seat + 0.16, seat + 0.65), (-0.07, 0), cloth)
    solids.add(BOX, CHAIR, at, (-0.04, 0.04), (seat + 0.05, seat + 0.2), (-0.05, -0.01), dark)


def table(solids: Solids, at: Place, size: tuple[float, float, float], dice: Dice, palette: Palette) -> None:
    """Width, height, depth; its back is at z = 0. Four legs, or a round one on a column."""
    solids.piece()
    wood, (width, high, deep) = palette.wood(), size
    w = width / 2
    if abs(width - deep) < 0.3 and dice.chance(0.6):
        solids.add(TUBE, TABLE, at, (-w, w), (high - 0.04, high), (-deep, 0), wood)
        solids.add(TUBE, TABLE, at, (-0.06, 0.06), (0.03, high - 0.04), (-deep / 2 - 0.06, -deep / 2 + 0.06), wood)
        solids.add(TUBE, TABLE, at, (-w / 2, w / 2), (0, 0.03), (-0.75 * deep, -0.25 * deep), wood)
        return
    solids.add(BOX, TABLE, at, (-w, w), (high - 0.05, high), (-deep, 0), wood)
    for x in (-w + 0.02, w - 0.09):
        for z in (-deep + 0.02, -0.09):
            solids.add(BOX, TABLE, at, (x, x + 0.07), (0, high - 0.05), (z, z + 0.07), wood)


def cabinet(
    solids: Solids, at: Place, size: tuple[float, float, float], dice: Dice, palette: Palette, base: float = 0.0
) -> None:
    """Width, height, depth, its foot at height ``base``: doors or drawers with gaps and knobs."""
    solids.piece()
    body, front = palette.wood(), palette.wood()
    (width, high, deep), w = size, size[0] / 2
    solids.add(BOX, CABINET, at, (-w, w), (base, base + high), (-deep, 0), body)
    columns = max(1, round(width / 0.55))
    rows = dice.choice((1, 2, 3)) if high < 1.2 else dice.choice((1, 1, 2))
    step_x, step_y = (width - 0.04) / columns, (high - 0.08) / rows
    knob = palette.dark()
    for i in range(columns):
        for j in range(rows):
            x, y = -w + 0.02 + i * step_x, base + 0.06 + j * step_y
            solids.add(BOX, CABINET, at, (x + 0.015, x + step_x - 0.015), (y, y + step_y - 0.03),
                       (-deep - 0.025, -deep), front)  # fmt: skip
            k, m = x + step_x / 2, y + 0.8 * step_y
            solids.add(BOX, CABINET, at, (k - 0.06, k + 0.06), (m, m + 0.02), (-deep - 0.035, -deep - 0.02), knob)


def shelves(solids: Solids, at: Place, size: tuple[float, float, float], dice: Dice, palette: Palette) -> None:
    """An open cabinet with books."""
    solids.piece()
    body, (width, high, deep) = palette.wood(), size
    w, count = width / 2, max(2, round(high / 0.38))
    solids.add(BOX, CABINET, at, (-w, w), (0, high), (-0.02, 0), body)
    for x in (-w, w - 0.03):
        solids.add(BOX, CABINET, at, (x, x + 0.03), (0, high), (-deep, 0), body)
    for i in range(count + 1):
        y = i * (high - 0.03) / count
        solids.add(BOX, CABINET, at, (-w, w), (y, y + 0.03), (-deep, 0), body)
    solids.piece()
    for i in range(count):
        y, x = i * (high - 0.03) / count + 0.03, -w + 0.04
        end = x + dice.uniform(0.3, 1.0) * (width - 0.08)
        while x < end - 0.08:
            thick = dice.uniform(0.08, 0.25)
            tall = dice.uniform(0.6, 0.92) * (high / count - 0.03)
            books = palette.books()
            solids.add(BOX, OBJECT, at, (x, min(x + thick, end)), (y, y + tall), (-deep + 0.03, -0.05), books)
            x += thick


def floor_lamp(solids: Solids, at: Place, dice: Dice, palette: Palette) -> None:
    """A shade on a pole, 1.5 m or more."""
    solids.piece()
    dark, high = palette.dark(), dice.uniform(1.4, 1.75)
    solids.add(TUBE, LAMP, at, (-0.15, 0.15), (0, 0.03), (-0.3, 0), dark)
    solids.add(TUBE, LAMP, at, (-0.015, 0.015), (0.03, high - 0.2), (-0.165, -0.135), dark)
    solids.add(TUBE, LAMP, at, (-0.18, 0.18), (high - 0.28, high), (-0.33, 0.03), palette.shade())


def table_lamp(solids: Solids, at: Place, base: float, dice: Dice, palette: Palette) -> None:
    """A shade on a round foot, on something of height ``base``."""
    solids.piece()
    high = base + dice.uniform(0.35, 0.5)
    solids.add(BALL, LAMP, at, (-0.07, 0.07), (base, base + 0.18), (-0.19, -0.05), palette.dark())
    solids.add(TUBE, LAMP, at, (-0.13, 0.13), (high - 0.2, high), (-0.25, 0.01), palette.shade())


def pendant_lamp(solids: Solids, at: Place, ceiling: float, dice: Dice, palette: Palette) -> None:
    """Hangs on a cord from the ceiling."""
    solids.piece()
    low, wide = ceiling - dice.uniform(0.5, 0.9), dice.uniform(0.15, 0.25)
    solids.add(TUBE, LAMP, at, (-0.01, 0.01), (low + 0.1, ceiling), (-0.01, 0.01), palette.dark())
    solids.add(dice.choice((BALL, TUBE)), LAMP, at, (-wide, wide), (low, low + 0.22), (-wide, wide), palette.shade())


def screen(solids: Solids, at: Place, width: float, base: float, dice: Dice, palette: Palette) -> None:
    """A television or monitor, its foot at height ``base``."""
    solids.piece()
    dark, high = palette.dark(), 0.58 * width
    solids.add(BOX, SCREEN, at, (-0.12, 0.12), (base, base + 0.02), (-0.2, 0), dark)
    solids.add(BOX, SCREEN, at, (-width / 2, width / 2), (base + 0.06, base + 0.06 + high), (-0.13, -0.08), dark)
    x, y = width / 2 - 0.02, base + 0.08
    glow = dice.choice((0.0, 0.5, 0.8))
    picture = palette.painting(glow) if glow else Material((0.02, 0.02, 0.03), (0.03, 0.03, 0.04), gloss=0.8)
    solids.add(BOX, SCREEN, at, (-x, x), (y, y + high - 0.04), (-0.135, -0.13), picture)


def picture(solids: Solids, at: Place, size: tuple[float, float], middle: float, palette: Palette) -> None:
    """Width and height, framed, on a wall."""
    solids.piece()
    w, h = size[0] / 2, size[1] / 2
    solids.add(BOX, PICTURE, at, (-w, w), (middle - h, middle + h), (-0.03, 0), palette.wood())
    w, h = w - 0.04, h - 0.04
    solids.add(BOX, PICTURE, at, (-w, w), (middle - h, middle + h), (-0.035, -0.03), palette.painting())


def plant(solids: Solids, at: Place, dice: Dice, palette: Palette) -> None:
    """A pot with a bush."""
    solids.piece()
    pot, high = dice.uniform(0.2, 0.4), dice.uniform(0.5, 1.0)
    solids.add(TUBE, OBJECT, at, (-0.16, 0.16), (0, pot), (-0.36, -0.04), palette.fabric())
    leaf = Material((0.04, 0.16, 0.05), (0.1, 0.3, 0.08), Pattern.BLOTCHES, 18)
    for _ in range(4):
        x, y, z = dice.uniform(-0.15, 0.15), pot + dice.uniform(0.1, 0.8) * high, -0.2 + dice.uniform(-0.15, 0.15)
        r = dice.uniform(0.12, 0.22)
        solids.add(BALL, OBJECT, at, (x - r, x + r), (y - r, y + 1.2 * r), (z - r, z + r), leaf)
    solids.add(TUBE, OBJECT, at, (-0.02, 0.02), (pot, pot + 0.7 * high), (-0.22, -0.18), palette.wood())


def small_things(solids: Solids, at: Place, base: float, reach: float, dice: Dice, palette: Palette) -> None:
    """A few boxes, bowls and vases on something of height ``base``, within ``reach`` of its middle."""
    for _ in range(dice.choice((1, 2, 3))):
        solids.piece()
        x, r, high = dice.uniform(-reach, reach), dice.uniform(0.05, 0.1), dice.uniform(0.06, 0.28)
        kind = dice.choice((BOX, BALL, TUBE))
        solids.add(kind, OBJECT, at, (x - r, x + r), (base, base + high), (-0.2 - r, -0.2 + r), palette.fabric())
