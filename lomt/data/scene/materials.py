"""Colours and textures, drawn alike for every kind of room, so that no colour gives a room away."""

from lomt.data.scene.solids import Dice, Material, Pattern

Colour = tuple[float, float, float]
"""Linear RGB, 0 … 1."""

PAINTS = (
    (0.78, 0.75, 0.68), (0.62, 0.68, 0.72), (0.60, 0.66, 0.55), (0.74, 0.62, 0.45), (0.72, 0.54, 0.50),
    (0.80, 0.80, 0.79), (0.46, 0.53, 0.60), (0.70, 0.66, 0.40), (0.42, 0.50, 0.44), (0.55, 0.45, 0.55),
)  # fmt: skip
WOODS = (
    (0.42, 0.22, 0.09), (0.24, 0.11, 0.045), (0.55, 0.36, 0.18), (0.12, 0.06, 0.035), (0.66, 0.50, 0.31),
    (0.74, 0.72, 0.68), (0.80, 0.79, 0.76), (0.20, 0.22, 0.24), (0.35, 0.42, 0.40), (0.06, 0.06, 0.065),
)  # fmt: skip
FABRICS = (
    (0.50, 0.10, 0.08), (0.08, 0.16, 0.36), (0.12, 0.26, 0.18), (0.50, 0.42, 0.32), (0.20, 0.20, 0.21),
    (0.62, 0.36, 0.10), (0.36, 0.14, 0.26), (0.16, 0.36, 0.40), (0.66, 0.62, 0.54), (0.60, 0.30, 0.24),
    (0.70, 0.58, 0.22), (0.30, 0.34, 0.44),
)  # fmt: skip


class Palette:
    """Materials of one scene; most of its wood is of one kind, as in most homes."""

    def __init__(self, dice: Dice) -> None:
        self.dice = dice
        self.usual_wood = dice.choice(WOODS)

    def wall(self) -> Material:
        """Painted or papered, with a slight pattern."""
        colour = self._vary(self.dice.choice(PAINTS), 0.08)
        pattern = self.dice.choice((Pattern.PLAIN, Pattern.PLAIN, Pattern.BLOTCHES, Pattern.STRIPES))
        other = self._times(colour, self.dice.uniform(0.82, 0.95))
        return Material(colour, other, pattern, self.dice.uniform(2, 7), gloss=0.02)

    def ceiling(self) -> Material:
        """White."""
        white = self._vary((0.82, 0.82, 0.80), 0.05)
        return Material(white, white)

    def floor(self) -> Material:
        """Planks, tiles or carpet."""
        pattern = self.dice.choice((Pattern.PLANKS, Pattern.PLANKS, Pattern.TILES, Pattern.BLOTCHES))
        colour = self._vary(self.dice.choice(WOODS if pattern == Pattern.PLANKS else FABRICS + WOODS), 0.15)
        colour = (0.06 + 0.85 * colour[0], 0.06 + 0.85 * colour[1], 0.06 + 0.85 * colour[2])
        frequency = {Pattern.PLANKS: 6.0, Pattern.TILES: 2.6, Pattern.BLOTCHES: 14.0}[pattern]
        other = self._times(colour, self.dice.uniform(0.6, 0.8))
        return Material(
            colour, other, pattern, frequency * self.dice.uniform(0.75, 1.35), gloss=self.dice.uniform(0, 0.25)
        )

    def rug(self) -> Material:
        """Two strong colours."""
        pattern = self.dice.choice((Pattern.STRIPES, Pattern.TILES, Pattern.BLOTCHES))
        one, other = self.dice.choice(FABRICS), self.dice.choice(FABRICS)
        return Material(one, other, pattern, self.dice.uniform(3, 7))

    def wood(self) -> Material:
        """Mostly the scene's usual wood, stained or painted."""
        colour = self._vary(self.usual_wood if self.dice.chance(0.7) else self.dice.choice(WOODS), 0.15)
        return Material(colour, self._times(colour, 0.72), Pattern.GRAIN, self.dice.uniform(8, 18), gloss=0.12)

    def fabric(self) -> Material:
        """One colour, mottled or striped."""
        colour = self._vary(self.dice.choice(FABRICS), 0.15)
        pattern = self.dice.choice((Pattern.PLAIN, Pattern.BLOTCHES, Pattern.STRIPES))
        return Material(colour, self._times(colour, self.dice.uniform(0.5, 0.85)), pattern, self.dice.uniform(7, 20))

    def pale(self) -> Material:
        """White linen or paint."""
        colour = self._vary((0.8, 0.78, 0.74), 0.08)
        return Material(colour, self._times(colour, 0.92), Pattern.BLOTCHES, 8)

    def dark(self) -> Material:
        """Black metal or plastic."""
        colour = self._vary((0.05, 0.05, 0.055), 0.4)
        return Material(colour, colour, gloss=0.4)

    def books(self) -> Material:
        """Stripes of two colours."""
        one, other = self.dice.choice(FABRICS), self.dice.choice(FABRICS)
        return Material(one, other, Pattern.STRIPES, self.dice.uniform(12, 24))

    def shade(self) -> Material:
        """A lamp's shade, lit or not."""
        lit = self.dice.choice((0.25, 0.9, 1.3))
        colour = self._vary((1.0, 0.86, 0.62), 0.1)
        return Material(colour, colour, glow=lit)

    def painting(self, glow: float = 0.0) -> Material:
        """Blots of two colours, lit from within where ``glow`` is not 0."""
        one, other = self.dice.choice(FABRICS + PAINTS), self.dice.choice(FABRICS + PAINTS)
        return Material(one, other, Pattern.PAINTING, self.dice.uniform(2, 6), glow=glow)

    def sky(self) -> Material:
        """What a window shows."""
        bright = self.dice.uniform(0.9, 1.5)
        return Material((0.62, 0.78, 1.0), (0.95, 0.95, 0.9), Pattern.SKY, glow=bright)

    def _vary(self, colour: Colour, amount: float) -> Colour:
        """Another shade, a little off in hue."""
        uniform = self.dice.uniform
        shade, low, high = uniform(1 - amount, 1 + amount), 1 - amount / 2, 1 + amount / 2
        red, green, blue = colour
        return (
            min(1.0, red * shade * uniform(low, high)),
            min(1.0, green * shade * uniform(low, high)),
            min(1.0, blue * shade * uniform(low, high)),
        )

    @staticmethod
    def _times(colour: Colour, factor: float) -> Colour:
        red, green, blue = colour
        return red * factor, green * factor, blue * factor
