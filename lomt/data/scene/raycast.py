"""Rays against solids: analytic, a batch of scenes at once, each solid only where its outline can be seen."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lomt.data.scene.solids import Columns, Kind

NEAR = 0.05  # metres; nothing is nearer to a camera
FAR = np.float32(1e9)

Triple = Sequence[np.ndarray]
"""x, y, z of many points or directions, each ``(P,)``."""


@dataclass(frozen=True, slots=True)
class View:
    """Pinhole cameras of a batch. Rays are ``forward + x right + y down``, so a ray's parameter is z-depth.

    Attributes:
        position: ``(B, 3)``.
        axes: right, down, forward as rows, ``(B, 3, 3)``.
        x: ``(B, W)`` slopes of columns, evenly spaced.
        y: ``(B, H)`` slopes of rows, evenly spaced.
    """

    position: np.ndarray
    axes: np.ndarray
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True, slots=True)
class Hits:
    """For every pixel ``(B, H, W)``: z-depth in metres, and which row of the solids was hit, −1 for none."""

    depth: np.ndarray
    solid: np.ndarray


def frames(solids: np.ndarray, view: View, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cameras in each solid's own axes, in which it is a unit cube, ball or cylinder.

    Args:
        solids: ``(S, Columns.COUNT)`` of all scenes.
        view: cameras.
        image: ``(S,)`` which scene a solid belongs to.

    Returns:
        The camera's position ``(S, 3)`` and its right, down, forward ``(S, 3, 3)``.
    """
    vectors = np.concatenate([view.axes[image], (view.position[image] - solids[:, Columns.CENTRE])[:, None]], axis=1)
    cosine, sine = solids[:, None, Columns.COSINE], solids[:, None, Columns.SINE]
    x, y, z = vectors[..., 0], vectors[..., 1], vectors[..., 2]
    turned = np.stack([cosine * x - sine * z, y, sine * x + cosine * z], axis=-1) / solids[:, None, Columns.HALF]
    return turned[:, 3], turned[:, :3]


def cast(solids: np.ndarray, image: np.ndarray, view: View) -> Hits:
    """The nearest solid on every ray."""
    height, width = view.y.shape[1], view.x.shape[1]
    position, axes = frames(solids, view, image)
    depth = np.full(len(view.position) * height * width, FAR, dtype=np.float32)
    solid = np.full(depth.shape, -1, dtype=np.int32)
    windows = _windows(position, axes, view, image)
    for kind, intersect in ((Kind.BOX, _box), (Kind.ELLIPSOID, _ball), (Kind.CYLINDER, _cylinder)):
        chosen = np.flatnonzero(
            (solids[:, Columns.KIND] == kind) & (windows[0] < windows[1]) & (windows[2] < windows[3])
        )
        if len(chosen):
            pixel, which, t = _candidates(chosen, windows, position, axes, view, image, intersect)
            np.minimum.at(depth, pixel, t)
            nearest = t == depth[pixel]
            solid[pixel[nearest]] = which[nearest]
    shape = (len(view.position), height, width)
    return Hits(depth.reshape(shape), solid.reshape(shape))


def _windows(position: np.ndarray, axes: np.ndarray, view: View, image: np.ndarray) -> np.ndarray:
    """First and last + 1 row, first and last + 1 column that can show each solid, ``(4, S)``."""
    height, width = view.y.shape[1], view.x.shape[1]
    corners = np.stack(np.meshgrid(*[[-1, 1]] * 3, indexing="ij"), -1).reshape(8, 3).astype(np.float32)
    inverse = np.linalg.inv(axes.astype(np.float64)).astype(np.float32)  # to camera axes, from the solid's
    away = corners[None] - position[:, None]
    seen = np.sum(away[:, :, :, None] * inverse[:, None], axis=2)  # (S, 8, 3): right, down, forward
    z = seen[..., 2]
    behind, crossing = (z < NEAR).all(1), (z < NEAR).any(1)
    slopes = seen[..., :2] / np.maximum(z, NEAR)[..., None]
    result = np.empty((4, len(position)), dtype=np.int64)
    for i, (lines, count) in enumerate(((view.y, height), (view.x, width))):
        start, step = lines[image, 0], lines[image, 1] - lines[image, 0]
        values = slopes[..., 1 - i]
        low = np.where(crossing, 0, np.ceil((values.min(1) - start) / step - 0.01))
        high = np.where(crossing, count, np.floor((values.max(1) - start) / step + 0.01) + 1)
        result[2 * i] = np.clip(low, 0, count)
        result[2 * i + 1] = np.where(behind, 0, np.clip(high, 0, count))
    return result


def _candidates(
    chosen: np.ndarray,
    windows: np.ndarray,
    position: np.ndarray,
    axes: np.ndarray,
    view: View,
    image: np.ndarray,
    intersect: Callable[[Triple, Triple], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, solids and z-depths of all hits of one kind of solid with the rays in its window."""
    height, width = view.y.shape[1], view.x.shape[1]
    top, bottom, left, right = windows[:, chosen].astype(np.int32)
    line, above = _counted(bottom - top)  # one entry for every row of every window
    owner, row = chosen[line].astype(np.int32), top[line] + above
    scene, first = image[owner], left[line]
    base = (axes[owner, 2] + axes[owner, 1] * view.y[scene, row][:, None]).T.copy()
    sideways, start = axes[owner, 0].T.copy(), position[owner].T.copy()
    run, step = _counted(right[line] - first)  # one entry for every pixel of every row
    x = view.x.ravel()[(scene * width + first)[run] + step]
    direction = [base[k][run] + x * sideways[k][run] for k in range(3)]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        t = intersect([start[k][run] for k in range(3)], direction)
    hit = np.flatnonzero((t > NEAR) & (t < FAR))
    run, step = run[hit], step[hit]
    return ((scene * height + row) * width + first)[run] + step, owner[run], t[hit]


def _counted(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For counts (2, 3): which one, (0, 0, 1, 1, 1), and its how-many-th, (0, 1, 0, 1, 2)."""
    which = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    before = np.cumsum(counts, dtype=np.int32) - counts
    return which, np.arange(len(which), dtype=np.int32) - before.astype(np.int32)[which]


def _box(o: Triple, d: Triple) -> np.ndarray:
    near, far = np.asarray(-FAR), np.asarray(FAR)
    for position, direction in zip(o, d, strict=True):
        inverse = 1 / direction
        middle, reach = -position * inverse, np.abs(inverse)
        near, far = np.maximum(near, middle - reach), np.minimum(far, middle + reach)
    return np.where(near <= far, near, FAR)


def _ball(o: Triple, d: Triple) -> np.ndarray:
    a = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    c = o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - 1
    root = b * b - a * c
    return np.where(root >= 0, (-b - np.sqrt(np.maximum(root, 0))) / a, FAR)


def _cylinder(o: Triple, d: Triple) -> np.ndarray:
    a = d[0] * d[0] + d[2] * d[2]
    b = o[0] * d[0] + o[2] * d[2]
    c = o[0] * o[0] + o[2] * o[2] - 1
    root = b * b - a * c
    half = np.sqrt(np.maximum(root, 0)) / a
    middle = -b / a
    inverse = 1 / d[1]
    centre, reach = -o[1] * inverse, np.abs(inverse)
    near, far = np.maximum(middle - half, centre - reach), np.minimum(middle + half, centre + reach)
    return np.where((root >= 0) & (near <= far), near, FAR)
