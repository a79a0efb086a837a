"""Where in a room something can stand or hang."""

import math
from collections.abc import Sequence

from lomt.data.scene.materials import Palette
from lomt.data.scene.solids import Dice, Place, Solids

FAR, LEFT, RIGHT = range(3)


class Room:
    """An empty room, and what of it is taken. Width is along x, depth along z; the camera is at small z."""

    def __init__(self, dice: Dice) -> None:
        self.dice, self.palette, self.solids = dice, Palette(dice), Solids()
        self.width, self.depth, self.height = dice.uniform(3.4, 5.2), dice.uniform(3.8, 5.4), dice.uniform(2.4, 2.9)
        self.eye = dice.uniform(0.35, 0.65) * self.width
        self.taken = [(self.eye - 0.55, 0.0, self.eye + 0.55, 1.5)]  # room for the camera; x0, z0, x1, z1
        self.on_walls: list[list[tuple[float, float, float]]] = [[], [], []]  # from, to, height that is covered
        self.window_wall: int | None = None

    def _free(self, box: tuple[float, float, float, float]) -> bool:
        return all(
            box[2] <= other[0] or other[2] <= box[0] or box[3] <= other[1] or other[3] <= box[1] for other in self.taken
        )

    def at_wall(
        self, width: float, deep: float, high: float, walls: Sequence[int] = (FAR, LEFT, RIGHT), tries: int = 5
    ) -> Place | None:
        """A free place with its back at a wall, or None."""
        for wall in self.dice.order(walls):
            low, high_end = (0.05, self.width - 0.05) if wall == FAR else (1.0, self.depth - 0.05)
            if high_end - low < width:
                continue
            for _ in range(tries):
                middle = self.dice.uniform(low + width / 2, high_end - width / 2)
                span = (middle - width / 2, middle + width / 2)
                box = {
                    FAR: (span[0], self.depth - deep, span[1], self.depth),
                    LEFT: (0.0, span[0], deep, span[1]),
                    RIGHT: (self.width - deep, span[0], self.width, span[1]),
                }[wall]
                if self._free(box):
                    self.taken.append(box)
                    self.on_walls[wall].append((*span, high))
                    return self._wall_place(wall, middle)
        return None

    def standing(self, width: float, deep: float) -> Place | None:
        """A free place away from the walls, for something whose own back edge is there."""
        for _ in range(8):
            x = self.dice.uniform(width / 2 + 0.1, self.width - width / 2 - 0.1)
            z = self.dice.uniform(1.5 + deep, self.depth - 0.1)
            box = (x - width / 2, z - deep, x + width / 2, z)
            if box[1] > 1.4 and self._free(box):
                self.taken.append(box)
                return Place(x, z, 0.0)
        return None

    def in_front(self, of: Place, width: float, near: float, far: float) -> bool:
        """Whether the floor in front of a wall place is free, and takes it if it is."""
        a, b = of.at(-width / 2, -near), of.at(width / 2, -far)
        box = (min(a.x, b.x), min(a.z, b.z), max(a.x, b.x), max(a.z, b.z))
        inside = box[0] >= 0 and box[2] <= self.width and box[1] >= 0
        if inside and self._free(box):
            self.taken.append(box)
            return True
        return False

    def hanging(self, width: float, bottom: float, walls: Sequence[int] = (FAR, LEFT, RIGHT)) -> Place | None:
        """A place on a wall where nothing stands higher than ``bottom``, or None."""
        for wall in self.dice.order(walls):
            low, high = (0.15, self.width - 0.15) if wall == FAR else (1.3, self.depth - 0.15)
            for _ in range(4):
                middle = self.dice.uniform(low + width / 2, high - width / 2)
                span = (middle - width / 2 - 0.05, middle + width / 2 + 0.05)
                if all(span[1] <= a or b <= span[0] or top <= bottom for a, b, top in self.on_walls[wall]):
                    self.on_walls[wall].append((*span, 3.0))
                    return self._wall_place(wall, middle)
        return None

    def _wall_place(self, wall: int, middle: float) -> Place:
        return {
            FAR: Place(middle, self.depth, 0.0),
            LEFT: Place(0.0, middle, -math.pi / 2),
            RIGHT: Place(self.width, middle, math.pi / 2),
        }[wall]
