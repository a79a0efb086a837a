"""Solids with materials, put down one by one in metres; a scene is a table with a row for each."""

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import TypeVar

import numpy as np

Option = TypeVar("Option")

CLASSES = (
    "wall", "floor", "ceiling", "window", "door", "picture", "bed", "sofa",
    "chair", "table", "cabinet", "lamp", "screen", "object",
)  # fmt: skip
WALL, FLOOR, CEILING, WINDOW, DOOR, PICTURE, BED, SOFA, CHAIR, TABLE, CABINET, LAMP, SCREEN, OBJECT = range(14)


class Kind(IntEnum):
    """Shapes, each inside its box: a cylinder stands upright and may be elliptic."""

    BOX = 0
    ELLIPSOID = 1
    CYLINDER = 2


class Pattern(IntEnum):
    """Textures in metres on a surface."""

    PLAIN = 0
    GRAIN = 1
    PLANKS = 2
    TILES = 3
    STRIPES = 4
    BLOTCHES = 5
    SKY = 6
    PAINTING = 7


class Material:
    """How a surface looks: two colours (linear RGB, 0 … 1) that a pattern mixes, gloss and light of its own.

    ``frequency`` is the pattern's repetitions a metre.
    """

    __slots__ = ("row",)

    def __init__(
        self,
        colour: Sequence[float],
        other: Sequence[float],
        pattern: Pattern = Pattern.PLAIN,
        frequency: float = 1.0,
        gloss: float = 0.0,
        glow: float = 0.0,
    ) -> None:
        self.row = (*colour, *other, pattern, frequency, gloss, glow)


class Columns:
    """Columns of a scene's table."""

    KIND, CLASS, INSTANCE = 0, 1, 2
    CENTRE, HALF = slice(3, 6), slice(6, 9)
    COSINE, SINE = 9, 10
    COLOUR, OTHER = slice(11, 14), slice(14, 17)
    PATTERN, FREQUENCY, GLOSS, GLOW = 17, 18, 19, 20
    COUNT = 21


class Dice:
    """Random numbers of one scene, drawn in one go."""

    def __init__(self, numbers: Sequence[float]) -> None:
        self._next = iter(numbers).__next__

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A number between two."""
        return low + (high - low) * self._next()

    def chance(self, probability: float) -> bool:
        """True as often as a probability says."""
        return self._next() < probability

    def choice(self, options: Sequence[Option]) -> Option:
        """One of several, each as likely."""
        return options[int(self._next() * len(options))]

    def order(self, options: Sequence[Option]) -> list[Option]:
        """All of them in random order."""
        keys = [self._next() for _ in options]
        return [options[i] for i in sorted(range(len(options)), key=keys.__getitem__)]


class Place:
    """Where a piece of furniture stands: its own axes are x to its right, z to its back, origin on the floor.

    Its back is at z = 0 and it comes forward to negative z. ``turn`` is the angle from the room's axes to its own,
    in radians; a piece with turn 0 stands against the far wall.
    """

    __slots__ = ("cosine", "sine", "turn", "x", "z")

    def __init__(self, x: float, z: float, turn: float) -> None:
        self.x, self.z, self.turn = x, z, turn
        self.cosine, self.sine = math.cos(turn), math.sin(turn)

    def at(self, x: float, z: float, turn: float = 0.0) -> "Place":
        """A place given in this one's axes."""
        return Place(
            self.x + self.cosine * x + self.sine * z, self.z - self.sine * x + self.cosine * z, self.turn + turn
        )


class Solids:
    """A scene in the making."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, ...]] = []
        self.instance = 0

    def piece(self) -> None:
        """What follows is another piece: edges will run between it and all before."""
        self.instance += 1

    def add(
        self,
        kind: Kind,
        label: int,
        place: Place,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        material: Material,
    ) -> None:
        """A solid that fills the box from ``x[0]`` to ``x[1]`` (and so on) in a place's axes; y is height."""
        (x0, x1), (y0, y1), (z0, z1) = x, y, z
        across, back, cosine, sine = (x0 + x1) / 2, (z0 + z1) / 2, place.cosine, place.sine
        centre_x, centre_z = place.x + cosine * across + sine * back, place.z - sine * across + cosine * back
        position = (centre_x, (y0 + y1) / 2, centre_z, (x1 - x0) / 2, (y1 - y0) / 2, (z1 - z0) / 2)
        self.rows.append((kind, label, self.instance, *position, cosine, sine, *material.row))

    def table(self) -> np.ndarray:
        """``(K, Columns.COUNT)`` float32."""
        return np.array(self.rows, dtype=np.float32).reshape(-1, Columns.COUNT)
