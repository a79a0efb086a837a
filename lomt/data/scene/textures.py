"""Procedural textures: each maps places on a surface, counted in repetitions, to a mix of two colours, 0 … 1."""

import numpy as np

from lomt.data.scene.solids import Pattern


def mixture(
    pattern: np.ndarray, frequency: np.ndarray, u: np.ndarray, v: np.ndarray, level: np.ndarray, footprint: np.ndarray
) -> np.ndarray:
    """How much of a material's other colour shows; fine patterns fade into their mean with distance.

    Args:
        pattern: :class:`Pattern` of each place, as all arguments of one shape.
        frequency: repetitions a metre.
        u: first coordinate on the surface in metres.
        v: second coordinate.
        level: height within the solid, −1 to 1.
        footprint: size of a pixel on the surface in metres.
    """
    mix = np.zeros(pattern.size, dtype=np.float32)
    for kind, paint in PATTERNS.items():
        found = np.flatnonzero(pattern == kind)
        if len(found):
            f = frequency.ravel()[found]
            value = paint(u.ravel()[found] * f, v.ravel()[found] * f, level.ravel()[found])
            blur = 2 * footprint.ravel()[found] * f
            mix[found] = 0.5 + (value - 0.5) / (1 + blur * blur)
    return mix.reshape(pattern.shape)


def _hash(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A number from 0 to 1 for each pair of whole numbers, without any order to the eye."""
    value = a.astype(np.int32) * np.int32(374761393) + b.astype(np.int32) * np.int32(668265263)
    value = (value ^ (value >> 13)) * np.int32(1274126177)
    return np.asarray(((value ^ (value >> 16)) & 0xFFFF) * np.float32(1 / 65535), dtype=np.float32)


def _noise(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Smooth value noise with a period of 1."""
    a, b = np.floor(u), np.floor(v)
    s, t = u - a, v - b
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    near, far = _hash(a, b), _hash(a, b + 1)
    low, high = near + s * (_hash(a + 1, b) - near), far + s * (_hash(a + 1, b + 1) - far)
    return np.asarray(low + t * (high - low))


def _grain(u: np.ndarray, v: np.ndarray, _: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(6.3 * (u * 0.35 + 1.2 * _noise(u * 0.4, v * 0.08)))


def _planks(u: np.ndarray, v: np.ndarray, _: np.ndarray) -> np.ndarray:
    plank = np.floor(u)
    along = v / 7 + _hash(plank, plank) * 5
    board = np.floor(along)
    gap = (u - plank < 0.06) | (along - board < 0.02)
    return np.where(gap, np.float32(1.3), 0.15 + 0.6 * _hash(plank, board))


def _tiles(u: np.ndarray, v: np.ndarray, _: np.ndarray) -> np.ndarray:
    a, b = np.floor(u), np.floor(v)
    joint = (u - a < 0.05) | (v - b < 0.05)
    odd = (a + b) - 2 * np.floor((a + b) * 0.5)
    return np.where(joint, np.float32(1.2), odd * 0.7 + 0.15 * _hash(a, b))


def _stripes(u: np.ndarray, _v: np.ndarray, _: np.ndarray) -> np.ndarray:
    return np.clip(0.5 + 2 * np.sin(6.2832 * u), 0, 1)


def _blotches(u: np.ndarray, v: np.ndarray, _: np.ndarray) -> np.ndarray:
    return 0.6 * _noise(u, v) + 0.4 * _noise(u * 2.7 + 9, v * 2.7)


def _sky(_u: np.ndarray, _v: np.ndarray, level: np.ndarray) -> np.ndarray:
    return 0.5 - 0.5 * level


def _painting(u: np.ndarray, v: np.ndarray, level: np.ndarray) -> np.ndarray:
    return np.clip(4 * (_noise(u * 1.5, v * 1.5) - 0.45) + 0.3 * level, 0, 1)


PATTERNS = {
    Pattern.GRAIN: _grain,
    Pattern.PLANKS: _planks,
    Pattern.TILES: _tiles,
    Pattern.STRIPES: _stripes,
    Pattern.BLOTCHES: _blotches,
    Pattern.SKY: _sky,
    Pattern.PAINTING: _painting,
}
