"""What a camera makes of surfaces: lamp and daylight, shadows, lens and sensor."""

from collections.abc import Sequence

import numpy as np

from lomt.data.scene.raycast import View, cast
from lomt.data.scene.rooms import Scene
from lomt.data.scene.solids import LAMP, Columns
from lomt.data.scene.surfaces import Surfaces, dot
from lomt.data.scene.textures import mixture

SHADOW_PIXELS = 64
SHADOW_SLOPE = 2.2  # the light's picture reaches this far to the sides at distance 1
BIAS = 0.05  # metres; keeps a surface out of its own shadow


def photograph(
    scenes: Sequence[Scene], solids: np.ndarray, image: np.ndarray, view: View, surfaces: Surfaces
) -> np.ndarray:
    """Light that reaches the camera, linear RGB ``(3, B, P)``."""
    table = np.concatenate([*(scene.shell for scene in scenes), solids[:, Columns.COLOUR.start :]])
    look = [column[surfaces.material] for column in np.ascontiguousarray(table.T)]
    pattern, frequency, gloss, glow = look[6:]
    footprint = surfaces.depth * (view.x[:, 1:2] - view.x[:, :1])
    mix = mixture(pattern, frequency, surfaces.across, surfaces.along, surfaces.level, footprint)
    colour = np.stack([one + mix * (other - one) for one, other in zip(look[0:3], look[3:6], strict=True)])
    light = np.stack([scene.light for scene in scenes], axis=1)[:, :, None]
    open_share = _unshadowed(light[0:3, :, 0].T, solids, image, surfaces.point)
    lamp, shine = _lamp(light[0:3], open_share, gloss, view, surfaces)
    around = light[6] + light[7] * np.maximum(0.3 - 0.7 * dot(surfaces.normal, light[8:11]), 0)
    around *= _corners(surfaces, np.stack([scene.extent for scene in scenes], axis=1)[:, :, None])
    around += glow
    tint = light[3:6]
    return np.asarray(colour * (lamp * tint + around) + shine * tint)


def _lamp(
    position: np.ndarray, share: np.ndarray, gloss: np.ndarray, view: View, surfaces: Surfaces
) -> tuple[np.ndarray, np.ndarray]:
    """The ceiling light on matte surfaces, and its highlights (Blinn's half vectors) on glossy ones."""
    away = position - surfaces.point
    squared = dot(away, away)
    away /= np.sqrt(squared)
    reach = share / (0.3 + 0.2 * squared)
    lamp = np.maximum(dot(surfaces.normal, away), 0) * reach
    back = view.position.T[:, :, None] - surfaces.point
    away += back / np.sqrt(dot(back, back))
    shine = np.maximum(dot(surfaces.normal, away), 0) ** 2 / np.maximum(dot(away, away), 1e-6)
    for _ in range(4):
        shine *= shine
    return lamp, 1.5 * shine * gloss * reach


def _corners(surfaces: Surfaces, extent: np.ndarray) -> np.ndarray:
    """Dimming near the room's corners, where less light comes from all around."""
    result = np.ones(surfaces.depth.shape, dtype=np.float32)
    for k in range(3):
        across = 0.4 * (1 - np.abs(surfaces.normal[k]))  # a surface does not dim itself
        for distance in (surfaces.point[k], extent[k] - surfaces.point[k]):
            near = np.maximum(1 - distance, 0)  # a cheap exp(−distance / 0.4)
            result *= 1 - across * (near * near)
    return result


def _unshadowed(lamp: np.ndarray, solids: np.ndarray, image: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Share of the lamp's light that reaches each point, from a picture of depths that the lamp takes."""
    n = SHADOW_PIXELS
    steps = ((np.arange(n) + 0.5) * 2 / n - 1).astype(np.float32) * np.float32(SHADOW_SLOPE)
    slopes = np.broadcast_to(steps, (len(lamp), n))
    axes = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], dtype=np.float32)
    casting = solids[:, Columns.CLASS] != LAMP
    view = View(lamp, np.broadcast_to(axes, (len(lamp), 3, 3)), slopes, slopes)
    depths = cast(solids[casting], image[casting], view).depth.ravel()
    below = np.maximum(lamp[:, 1:2] - point[1], 1e-3)
    scale = n / (2 * SHADOW_SLOPE) / below
    column, row = ((point[k] - lamp[:, k : k + 1]) * scale + (n / 2 - 0.5) for k in (0, 2))
    inside = (np.minimum(row, column) > 0) & (np.maximum(row, column) < n - 1)
    row, column = (np.clip(values, 0, n - 1.001) for values in (row, column))
    i, j = np.floor(row), np.floor(column)
    s, t = row - i, column - j
    place = (i * n + j).astype(np.int32) + (np.arange(len(lamp), dtype=np.int32) * n * n)[:, None]
    limit = below - BIAS
    a, b, c, d = ((depths[place + shift] > limit).astype(np.float32) for shift in (0, 1, n, n + 1))
    upper, lower = a + t * (b - a), c + t * (d - c)
    return np.where(inside, upper + s * (lower - upper), np.float32(1))


def develop(bright: np.ndarray, scenes: Sequence[Scene], rngs: Sequence[np.random.Generator]) -> np.ndarray:
    """Lens blur, tone curve, noise of the sensor, 8 bits: from ``(3, B, H, W)`` linear to ``(B, 3, H, W)`` uint8."""
    light = np.stack([scene.light for scene in scenes])[:, :, None, None, None]
    picture = bright.transpose(1, 0, 2, 3) * light[:, 11]
    for axis in (2, 3):
        moved = np.moveaxis(picture, axis, -2)
        blurred = 0.72 * moved
        blurred[..., 1:, :] += 0.14 * moved[..., :-1, :]
        blurred[..., :-1, :] += 0.14 * moved[..., 1:, :]
        blurred[..., (0, -1), :] += 0.14 * moved[..., (0, -1), :]
        picture = np.moveaxis(blurred, -2, axis)
    picture = np.minimum(np.sqrt(picture * (1 + 0.2 * picture) / (1 + picture)) * 1.18, 1)
    picture *= 0.4 + picture * (1.8 - 1.2 * picture)
    noise = np.stack([rng.standard_normal(picture.shape[1:], dtype=np.float32) for rng in rngs])
    return np.asarray(np.clip((picture + noise * light[:, 12]) * 255 + 0.5, 0, 255).astype(np.uint8))
