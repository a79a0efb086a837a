"""Rooms: which furniture stands where, what hangs on the walls, where camera and light are."""

import math
from dataclasses import dataclass

import numpy as np

from lomt.data.scene import furniture
from lomt.data.scene.layout import FAR, LEFT, RIGHT, Room
from lomt.data.scene.solids import CABINET, DOOR, FLOOR, WINDOW, Dice, Kind, Place

ROOMS = ("bedroom", "living room", "office", "dining room", "kitchen")
NUMBERS = 1200  # more than any room needs


@dataclass(frozen=True, slots=True)
class Scene:
    """One room, ready for rays.

    Attributes:
        solids: ``(K, Columns.COUNT)`` float32.
        shell: materials of wall, floor and ceiling, ``(3, 10)`` float32.
        extent: width, height and depth of the room in metres; it reaches from 0 to there on each axis.
        camera: position ``(3,)``, then the unit vectors right, down, forward, ``(4, 3)`` float32.
        slope: half the picture's width at distance 1, the tangent of half the horizontal field of view.
        light: position of the ceiling light, its colour, brightness of light from everywhere, of light from the
            window and the window's direction, exposure, noise: ``(13,)`` float32.
        room: index in :data:`ROOMS`.
    """

    solids: np.ndarray
    shell: np.ndarray
    extent: np.ndarray
    camera: np.ndarray
    slope: float
    light: np.ndarray
    room: int


def compose(rng: np.random.Generator) -> Scene:
    """A room of a kind that ``rng`` chooses."""
    dice = Dice(rng.random(NUMBERS).tolist())
    kind = int(dice.uniform(0, len(ROOMS)))
    room = Room(dice)
    (_bedroom, _living_room, _office, _dining_room, _kitchen)[kind](room)
    _extras(room)
    palette = room.palette
    shell = np.array([palette.wall().row, palette.floor().row, palette.ceiling().row], dtype=np.float32)
    return Scene(
        room.solids.table(),
        shell,
        np.array([room.width, room.height, room.depth], dtype=np.float32),
        _camera(room),
        math.tan(math.radians(dice.uniform(66, 84)) / 2),
        _light(room),
        kind,
    )


def _bedroom(room: Room) -> None:
    dice, solids, palette = room.dice, room.solids, room.palette
    width = dice.choice((0.95, 1.45, 1.7))
    side = 0.5
    total = width + 2 * side
    place = room.at_wall(total, 2.1, 1.15, tries=8) or Place(room.width / 2, room.depth, 0.0)
    furniture.bed(solids, place, width, dice, palette)
    for sign in (-1, 1):
        if dice.chance(0.7):
            high = dice.uniform(0.42, 0.58)
            beside = place.at(sign * (width / 2 + side / 2), 0)
            furniture.cabinet(solids, beside, (0.42, high, 0.36), dice, palette)
            if dice.chance(0.7):
                furniture.table_lamp(solids, beside, high, dice, palette)
    if dice.chance(0.8):
        _cabinet(room, (dice.uniform(0.9, 1.8), dice.uniform(1.9, 2.2), 0.58))
    if dice.chance(0.3):
        _desk(room)


def _living_room(room: Room) -> None:
    dice, solids, palette = room.dice, room.solids, room.palette
    width = dice.uniform(1.7, 2.4)
    place = room.at_wall(width, 0.9, 0.9, tries=8) or Place(room.width / 2, room.depth, 0.0)
    furniture.sofa(solids, place, width, dice, palette)
    if room.in_front(place, 1.1, 1.2, 1.9):
        size = (dice.uniform(0.8, 1.1), dice.uniform(0.36, 0.46), dice.uniform(0.5, 0.65))
        furniture.table(solids, place.at(0, -1.2), size, dice, palette)
        if dice.chance(0.6):
            furniture.small_things(solids, place.at(0, -1.25), size[1], 0.3, dice, palette)
    wide = dice.uniform(1.2, 1.8)
    if low := room.at_wall(wide, 0.45, 1.3):
        high = dice.uniform(0.4, 0.55)
        furniture.cabinet(solids, low, (wide, high, 0.42), dice, palette)
        furniture.screen(solids, low, dice.uniform(0.9, 1.2), high, dice, palette)
    if dice.chance(0.5) and (seat := room.at_wall(0.9, 0.9, 0.9)):
        furniture.sofa(solids, seat, 0.9, dice, palette)
    if dice.chance(0.6) and (spot := room.at_wall(0.4, 0.4, 1.7)):
        furniture.floor_lamp(solids, spot, dice, palette)


def _office(room: Room) -> None:
    dice = room.dice
    for _ in range(dice.choice((1, 1, 2))):
        _desk(room)
    for _ in range(dice.choice((1, 2))):
        wide = dice.uniform(0.7, 1.2)
        high = dice.choice((1.2, 1.9, 2.1))
        if spot := room.at_wall(wide, 0.35, high):
            furniture.shelves(room.solids, spot, (wide, high, 0.32), dice, room.palette)
    if dice.chance(0.35):
        _cabinet(room, (0.45, dice.uniform(0.6, 1.3), 0.5))
    if dice.chance(0.2) and (seat := room.at_wall(1.5, 0.9, 0.9)):
        furniture.sofa(room.solids, seat, 1.5, dice, room.palette)


def _dining_room(room: Room) -> None:
    dice, solids, palette = room.dice, room.solids, room.palette
    wide, deep = dice.choice(((1.1, 1.1), (1.5, 0.9), (1.9, 0.95)))
    place = room.standing(wide + 1.1, deep + 1.2) or Place(room.width / 2, room.depth - 0.4, 0.0)
    _laid_table(room, place.at(0, -0.6), wide, deep)
    if dice.chance(0.7):
        middle = place.at(0, -0.6 - deep / 2)
        furniture.pendant_lamp(solids, middle, room.height, dice, palette)
    if dice.chance(0.8):
        _cabinet(room, (dice.uniform(1.0, 1.7), dice.uniform(0.75, 1.0), 0.42), things=True)
    if dice.chance(0.3):
        _cabinet(room, (0.9, 1.9, 0.4))


def _kitchen(room: Room) -> None:
    dice, solids, palette = room.dice, room.solids, room.palette
    wide = dice.uniform(1.8, 2.8)
    place = room.at_wall(wide + 0.65, 0.65, 3.0, tries=8) or Place(room.width / 2, room.depth, 0.0)
    run = place.at(-0.33, 0)
    furniture.cabinet(solids, run, (wide, 0.86, 0.58), dice, palette)
    solids.add(Kind.BOX, CABINET, run, (-wide / 2, wide / 2), (0.86, 0.9), (-0.62, 0), palette.wood())
    furniture.cabinet(solids, run, (wide, dice.uniform(0.55, 0.75), 0.34), dice, palette, base=1.4)
    furniture.cabinet(solids, place.at(wide / 2, 0), (0.6, dice.uniform(1.7, 2.05), 0.6), dice, palette)
    furniture.small_things(solids, run, 0.9, wide / 2 - 0.2, dice, palette)
    if dice.chance(0.65) and (spot := room.standing(1.6, 1.9)):
        _laid_table(room, spot.at(0, -0.5), 0.9, dice.choice((0.9, 0.7)), ends=False)
    if dice.chance(0.25):
        _cabinet(room, (0.9, 0.86, 0.55), things=True)


def _laid_table(room: Room, place: Place, wide: float, deep: float, ends: bool = True) -> None:
    """A table with chairs around it; its back edge is at the place."""
    dice, solids, palette = room.dice, room.solids, room.palette
    furniture.table(solids, place, (wide, dice.uniform(0.7, 0.77), deep), dice, palette)
    if dice.chance(0.6):
        furniture.small_things(solids, place.at(0, -deep / 2 + 0.2), 0.76, wide / 3, dice, palette)
    columns = max(1, round(wide / 0.75))
    spots = []
    for i in range(columns):
        x = (i + 0.5 - columns / 2) * wide / columns
        spots += [place.at(x, 0.33, 0.0), place.at(x, -deep - 0.33, math.pi)]
    if ends:
        spots += [
            place.at(-wide / 2 - 0.33, -deep / 2, -math.pi / 2),
            place.at(wide / 2 + 0.33, -deep / 2, math.pi / 2),
        ]
    for spot in spots:
        if dice.chance(0.85):
            furniture.chair(solids, spot.at(0, 0, dice.uniform(-0.2, 0.2)), dice, palette)


def _desk(room: Room) -> None:
    dice, solids, palette = room.dice, room.solids, room.palette
    wide, high = dice.uniform(1.1, 1.6), dice.uniform(0.7, 0.76)
    if place := room.at_wall(wide, 1.35, 1.25):
        furniture.table(solids, place, (wide, high, 0.68), dice, palette)
        if dice.chance(0.85):
            furniture.screen(solids, place.at(dice.uniform(-0.25, 0.25), -0.1), 0.55, high, dice, palette)
        if dice.chance(0.5):
            furniture.table_lamp(solids, place.at(dice.choice((-1, 1)) * (wide / 2 - 0.2), -0.1), high, dice, palette)
        seat = place.at(dice.uniform(-0.2, 0.2), -1.2, math.pi + dice.uniform(-0.5, 0.5))
        (furniture.desk_chair if dice.chance(0.8) else furniture.chair)(solids, seat, dice, palette)


def _cabinet(room: Room, size: tuple[float, float, float], things: bool = False) -> None:
    if place := room.at_wall(size[0], size[2] + 0.05, size[1]):
        furniture.cabinet(room.solids, place, size, room.dice, room.palette)
        if things:
            furniture.small_things(room.solids, place, size[1], size[0] / 3, room.dice, room.palette)


def _extras(room: Room) -> None:
    """What any room may have, so that none of it tells rooms apart."""
    dice, solids, palette = room.dice, room.solids, room.palette
    if dice.chance(0.65):
        _window(room)
    if dice.chance(0.45) and (place := room.hanging(0.95, 0.1)):
        solids.piece()
        solids.add(Kind.BOX, DOOR, place, (-0.5, 0.5), (0, 2.08), (-0.03, 0), palette.wood())
        solids.add(Kind.BOX, DOOR, place, (-0.43, 0.43), (0, 2.0), (-0.045, -0.03), palette.wood())
        solids.add(Kind.BOX, DOOR, place, (0.32, 0.4), (1.0, 1.03), (-0.1, -0.04), palette.dark())
    for _ in range(dice.choice((0, 1, 2, 3))):
        size = (dice.uniform(0.35, 0.9), dice.uniform(0.35, 0.7))
        if place := room.hanging(size[0], 1.2):
            furniture.picture(solids, place, size, dice.uniform(1.55, 1.7), palette)
    if dice.chance(0.4) and (place := room.at_wall(0.45, 0.45, 1.2)):
        furniture.plant(solids, place, dice, palette)
    if dice.chance(0.2) and (place := room.at_wall(0.55, 0.55, 0.9)):
        furniture.chair(solids, place, dice, palette)
    if dice.chance(0.2):
        _cabinet(room, (dice.uniform(0.6, 1.1), dice.uniform(0.6, 1.0), 0.4), things=True)
    if dice.chance(0.45):
        wide, deep = dice.uniform(1.4, 2.4), dice.uniform(1.1, 1.8)
        place = Place(room.width / 2 + dice.uniform(-0.4, 0.4), room.depth * dice.uniform(0.6, 0.8), 0.0)
        solids.instance, kept = 0, solids.instance  # a rug belongs to the floor: its outline is texture, no edge
        solids.add(Kind.BOX, FLOOR, place, (-wide / 2, wide / 2), (0, 0.008), (-deep / 2, deep / 2), palette.rug())
        solids.instance = kept


def _window(room: Room) -> None:
    dice, solids, palette = room.dice, room.solids, room.palette
    wide, bottom = dice.uniform(0.9, 1.9), dice.uniform(0.85, 1.05)
    if place := room.hanging(wide, bottom):
        room.window_wall = {0.0: FAR}.get(place.turn, LEFT if place.turn < 0 else RIGHT)
        solids.piece()
        top, w, frame = min(bottom + dice.uniform(0.9, 1.3), room.height - 0.15), wide / 2, palette.pale()
        solids.add(Kind.BOX, WINDOW, place, (-w, w), (bottom, top), (-0.015, 0), palette.sky())
        for x in (-w, -0.025, w - 0.05):
            solids.add(Kind.BOX, WINDOW, place, (x, x + 0.05), (bottom, top), (-0.05, 0), frame)
        for y in (bottom - 0.03, top - 0.05):
            solids.add(Kind.BOX, WINDOW, place, (-w - 0.04, w + 0.04), (y, y + 0.06), (-0.07, 0), frame)


def _camera(room: Room) -> np.ndarray:
    dice = room.dice
    position = (room.eye, dice.uniform(1.15, 1.65), dice.uniform(0.12, 0.4))
    aim = (room.width * dice.uniform(0.3, 0.7), dice.uniform(0.6, 1.0), room.depth * 0.85)
    x, y, z = (a - p for a, p in zip(aim, position, strict=True))
    flat, length = math.hypot(x, z), math.hypot(x, y, z)
    right = (z / flat, 0.0, -x / flat)
    down = (x * y / (flat * length), -flat / length, y * z / (flat * length))
    cosine, sine = math.cos(roll := dice.uniform(-0.03, 0.03)), math.sin(roll)
    tilted = [cosine * r + sine * d for r, d in zip(right, down, strict=True)]
    lowered = [cosine * d - sine * r for r, d in zip(right, down, strict=True)]
    forward = (x / length, y / length, z / length)
    return np.array([position, tilted, lowered, forward], dtype=np.float32)


def _light(room: Room) -> np.ndarray:
    dice = room.dice
    position = (
        room.width * dice.uniform(0.35, 0.65),
        room.height - 0.12,
        room.depth * dice.uniform(0.35, 0.65),
    )
    warm, bright = dice.uniform(-0.12, 0.16), dice.uniform(0.5, 1.1)
    colour = (bright * (1 + warm), bright, bright * (1 - 1.3 * warm))
    daylight = dice.uniform(0.3, 0.9) if room.window_wall is not None else 0.0
    inward = {FAR: (0.0, 0.0, -1.0), LEFT: (1.0, 0.0, 0.0), RIGHT: (-1.0, 0.0, 0.0), None: (0.0, 0.0, 0.0)}
    ambient, exposure, noise = dice.uniform(0.22, 0.42), dice.uniform(0.85, 1.35), dice.uniform(0.004, 0.016)
    values = (*position, *colour, ambient, daylight, *inward[room.window_wall], exposure, noise)
    return np.array(values, dtype=np.float32)
