"""What a camera makes of surfaces: texture, lamp and daylight, shadows, lens and sensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tailor.data.scene.raycast import View, cast
from tailor.data.scene.rooms import Scene
from tailor.data.scene.solids import LAMP, Columns, Pattern

if TYPE_CHECKING:
    from tailor.data.scene.render import Surfaces

SHADOW_PIXELS = 72
SHADOW_SLOPE = 2.4  # the light's picture reaches this far to the sides at distance 1
BIAS = 0.04  # metres; keeps a surface out of its own shadow


def photograph(
    scenes: Sequence[Scene],
    solids: np.ndarray,
    image: np.ndarray,
    view: View,
    surfaces: Surfaces,
    rngs: Sequence[np.random.Generator],
) -> np.ndarray:
    """Pictures ``(B, 3, H, W)`` uint8."""
    materials = np.concatenate([*(scene.shell for scene in scenes), solids[:, Columns.COLOUR.start :]])
    look = materials[surfaces.material]
    mix = texture(look[..., 6], look[..., 7], surfaces, view.x[:, 1] - view.x[:, 0])[..., None]
    colour = look[..., 0:3] * (1 - mix) + look[..., 3:6] * mix
    light = np.stack([scene.light for scene in scenes])[:, None, None]
    bright = _lit(colour, look[..., 8], light, scenes, solids, image, view, surfaces)
    bright += colour * look[..., 9, None]
    return _expose(bright, light, rngs)


def texture(pattern: np.ndarray, frequency: np.ndarray, surfaces: Surfaces, pixel: np.ndarray) -> np.ndarray:
    """How much of a material's other colour shows, 0 … 1; fine patterns fade into their mean with distance."""
    mix = np.zeros(pattern.shape, dtype=np.float32)
    for kind, paint in PATTERNS.items():
        b, i, j = np.nonzero(pattern == kind)
        if len(b):
            f = frequency[b, i, j]
            u, v = surfaces.across[b, i, j] * f, surfaces.along[b, i, j] * f
            value = paint(u, v, surfaces.level[b, i, j])
            blur = pixel[b] * surfaces.depth[b, i, j] * f * (0 if kind == Pattern.SKY else 2)
            mix[b, i, j] = 0.5 + (value - 0.5) / (1 + blur * blur)
    return mix


def _hash(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A number from 0 to 1 for each pair of whole numbers, without any order to the eye."""
    value = a.astype(np.int32) * np.int32(374761393) + b.astype(np.int32) * np.int32(668265263)
    value = (value ^ (value >> 13)) * np.int32(1274126177)
    return ((value ^ (value >> 16)) & 0xFFFF).astype(np.float32) / np.float32(65535)


def _noise(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Smooth value noise with a period of 1."""
    a, b = np.floor(u), np.floor(v)
    s, t = u - a, v - b
    s, t = s * s * (3 - 2 * s), t * t * (3 - 2 * t)
    low = _hash(a, b) * (1 - s) + _hash(a + 1, b) * s
    high = _hash(a, b + 1) * (1 - s) + _hash(a + 1, b + 1) * s
    return low * (1 - t) + high * t


def _grain(u: np.ndarray, v: np.ndarray, _: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(6.3 * (u * 0.35 + 1.2 * _noise(u * 0.4, v * 0.08)))


def _planks(u: np.ndarray, v: np.ndarray, _: np.ndarray) -> np.ndarray:
    plank = np.floor(u)
    along = v / 7 + _hash(plank, plank) * 5
    gap = (u - plank < 0.06) | (along - np.floor(along) < 0.02)
    tone = 0.15 + 0.5 * _hash(plank, np.floor(along)) + 0.2 * _noise(u * 5, v * 0.5)
    return np.where(gap, np.float32(1.3), tone)


def _tiles(u: np.ndarray, v: np.ndarray, _: np.ndarray) -> np.ndarray:
    a, b = np.floor(u), np.floor(v)
    checks = ((a + b) % 2) * 0.7 + 0.15 * _hash(a, b)
    return np.where((u - a < 0.05) | (v - b < 0.05), np.float32(1.2), checks)


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


def _lit(
    colour: np.ndarray,
    gloss: np.ndarray,
    light: np.ndarray,
    scenes: Sequence[Scene],
    solids: np.ndarray,
    image: np.ndarray,
    view: View,
    surfaces: Surfaces,
) -> np.ndarray:
    """Light that surfaces send to the camera: ambient, the ceiling lamp with its shadows, daylight, highlights."""
    point, normal = surfaces.point, surfaces.normal
    to_lamp = light[..., 0:3] - point
    squared = _dot(to_lamp, to_lamp)
    to_lamp = to_lamp / np.sqrt(squared)[..., None]
    facing = np.maximum(_dot(normal, to_lamp), 0)
    reach = _unshadowed(light[:, 0, 0, 0:3], solids, image, point) / (0.35 + 0.22 * squared)
    day = np.maximum(0.35 - 0.65 * _dot(normal, light[..., 8:11]), 0) * light[..., 7]
    extent = np.stack([scene.extent for scene in scenes])[:, None, None]
    corner = _corners(point, normal, extent)
    lamp = (facing * reach)[..., None] * light[..., 3:6]
    result = colour * (lamp + ((light[..., 6] + day) * corner)[..., None])
    half = to_lamp + _unit(view.position[:, None, None] - point)
    shine = np.maximum(_dot(normal, _unit(half)), 0) ** 2
    shine = shine * shine
    shine = shine * shine
    shine = shine * shine
    shine = shine * shine * gloss * reach
    return np.asarray(result + (1.5 * shine)[..., None] * light[..., 3:6])


def _corners(point: np.ndarray, normal: np.ndarray, extent: np.ndarray) -> np.ndarray:
    """Dimming near the room's corners, where less light comes from all around."""
    result = np.ones(point.shape[:-1], dtype=np.float32)
    for k in range(3):
        away = 1 - np.abs(normal[..., k])  # a surface does not dim itself
        for distance in (point[..., k], extent[..., k] - point[..., k]):
            result *= 1 - 0.38 * away * np.exp(np.minimum(-distance / 0.4, 0))
    return result


def _unshadowed(lamp: np.ndarray, solids: np.ndarray, image: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Share of the lamp's light that reaches each point, from a picture of depths that the lamp takes."""
    steps = ((np.arange(SHADOW_PIXELS) + 0.5) * 2 / SHADOW_PIXELS - 1).astype(np.float32) * SHADOW_SLOPE
    slopes = np.broadcast_to(steps, (len(lamp), SHADOW_PIXELS))
    axes = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=np.float32)
    casting = solids[:, Columns.CLASS] != LAMP
    view = View(lamp, np.broadcast_to(axes, (len(lamp), 3, 3)), slopes, slopes)
    depth = cast(solids[casting], image[casting], view).depth
    offset = point - lamp[:, None, None]
    below = np.maximum(-offset[..., 1], 1e-3)
    scale = SHADOW_PIXELS / (2 * SHADOW_SLOPE)
    column, row = (offset[..., k] / below * scale + (SHADOW_PIXELS / 2 - 0.5) for k in (0, 2))
    inside = (np.minimum(row, column) > 0) & (np.maximum(row, column) < SHADOW_PIXELS - 1)
    row, column = (np.clip(values, 0, SHADOW_PIXELS - 1.001) for values in (row, column))
    i, j = row.astype(np.int32), column.astype(np.int32)
    s, t = row - i, column - j
    base = (np.arange(len(lamp), dtype=np.int32)[:, None, None] * SHADOW_PIXELS + i) * SHADOW_PIXELS + j
    limit = below - BIAS
    depths = depth.ravel()
    clear = [depths[base + shift] > limit for shift in (0, 1, SHADOW_PIXELS, SHADOW_PIXELS + 1)]
    share = (1 - s) * ((1 - t) * clear[0] + t * clear[1]) + s * ((1 - t) * clear[2] + t * clear[3])
    return np.where(inside, share, 1).astype(np.float32)


def _expose(bright: np.ndarray, light: np.ndarray, rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """Lens blur, tone curve, noise of the sensor, 8 bits."""
    picture = bright * light[..., 11, None]
    for axis in (1, 2):
        padded = np.pad(picture, [(0, 0), *((1, 1) if axis == k else (0, 0) for k in (1, 2)), (0, 0)], mode="edge")
        before, after = (np.take(padded, range(a, a + picture.shape[axis]), axis) for a in (0, 2))
        picture = 0.7 * picture + 0.15 * (before + after)
    picture = np.sqrt(picture * (1 + 0.25 * picture) / (1 + picture)) * np.float32(1.12)
    noise = np.stack([rng.standard_normal(bright.shape[1:], dtype=np.float32) for rng in rngs])
    picture += noise * light[..., 12, None]
    return np.clip(picture * 255 + 0.5, 0, 255).astype(np.uint8).transpose(0, 3, 1, 2)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.sqrt(_dot(vectors, vectors))[..., None]
