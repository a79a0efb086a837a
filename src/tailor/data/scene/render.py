"""From rooms to pictures and exact labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tailor.data.scene import shading
from tailor.data.scene.raycast import View, cast, into, out_of
from tailor.data.scene.rooms import Scene
from tailor.data.scene.solids import CEILING, FLOOR, WALL, Columns, Kind

CREASE = np.cos(np.deg2rad(35.0))  # a sharper turn between neighbours is an edge
GAP = 0.04  # metres; a larger step out of a surface's plane between neighbours is an edge


@dataclass(frozen=True, slots=True)
class Surfaces:
    """What every pixel of a batch shows, maps ``(B, H, W)`` or, of vectors, ``(B, H, W, 3)``.

    Attributes:
        depth: z-depth in metres.
        point: in the room's axes, metres (x along the width, y up, z along the depth).
        normal: unit vectors in the room's axes, towards the camera.
        label: class.
        instance: piece of furniture, 0 for the room itself.
        material: row of the materials' table: three of each scene's shell, then all solids'.
        across: first texture coordinate, metres on the surface.
        along: second texture coordinate.
        level: height within its solid, from −1 to 1.
    """

    depth: np.ndarray
    point: np.ndarray
    normal: np.ndarray
    label: np.ndarray
    instance: np.ndarray
    material: np.ndarray
    across: np.ndarray
    along: np.ndarray
    level: np.ndarray


def render(
    scenes: Sequence[Scene], size: tuple[int, int], rngs: Sequence[np.random.Generator]
) -> dict[str, np.ndarray]:
    """Pictures and labels of some rooms; each is the same in whatever company it is rendered.

    Args:
        scenes: what to render.
        size: height and width in pixels; pixels are square and the picture's width sees the camera's whole angle.
        rngs: one for each scene, for its camera's noise.

    Returns:
        ``image`` ``(B, 3, H, W)`` uint8, ``seg`` ``(B, H, W)`` uint8, ``depth`` ``(B, 1, H, W)`` float32 z-depth in
        metres, ``normals`` ``(B, 3, H, W)`` float32 in camera axes, ``edges`` ``(B, 1, H, W)`` uint8, ``room``
        ``(B,)`` int64.
    """
    view = cameras(scenes, size)
    solids = np.concatenate([scene.solids for scene in scenes])
    image = np.repeat(np.arange(len(scenes), dtype=np.int32), [len(scene.solids) for scene in scenes])
    surfaces = trace(scenes, solids, image, view)
    axes = view.axes[:, None, None]
    normals = np.stack([_dot(surfaces.normal, axes[..., k, :]) for k in range(3)], axis=1)
    return {
        "image": shading.photograph(scenes, solids, image, view, surfaces, rngs),
        "seg": surfaces.label.astype(np.uint8),
        "depth": surfaces.depth[:, None],
        "normals": normals,
        "edges": edges(surfaces)[:, None].astype(np.uint8),
        "room": np.array([scene.room for scene in scenes], dtype=np.int64),
    }


def cameras(scenes: Sequence[Scene], size: tuple[int, int]) -> View:
    """The scenes' cameras; the principal point is the picture's middle."""
    height, width = size
    slope = np.array([scene.slope for scene in scenes], dtype=np.float32)[:, None]
    x = ((np.arange(width) + 0.5) * 2 / width - 1).astype(np.float32)
    y = ((np.arange(height) + 0.5) * 2 / width - height / width).astype(np.float32)
    camera = np.stack([scene.camera for scene in scenes])
    return View(camera[:, 0], camera[:, 1:], slope * x, slope * y)


def trace(scenes: Sequence[Scene], solids: np.ndarray, image: np.ndarray, view: View) -> Surfaces:
    """The nearest surface on every ray: the room's shell, or a solid before it."""
    right, down, forward = (view.axes[:, None, None, k] for k in range(3))
    rays = forward + view.x[:, None, :, None] * right + view.y[:, :, None, None] * down
    surfaces = _shell(scenes, rays, view)
    hits = cast(solids, image, view)
    b, i, j = np.nonzero((hits.solid >= 0) & (hits.depth < surfaces.depth))
    which = hits.solid[b, i, j]
    rows, depth = solids[which], hits.depth[b, i, j]
    point = view.position[b] + depth[:, None] * rays[b, i, j]
    half = rows[:, Columns.HALF]
    local = into(rows, point - rows[:, Columns.CENTRE])
    outward, across, along = _face(rows[:, Columns.KIND], local, half)
    normal = out_of(rows, outward)
    surfaces.depth[b, i, j], surfaces.point[b, i, j], surfaces.normal[b, i, j] = depth, point, normal
    surfaces.label[b, i, j] = rows[:, Columns.CLASS]
    surfaces.instance[b, i, j] = rows[:, Columns.INSTANCE]
    surfaces.material[b, i, j] = which + 3 * len(scenes)
    surfaces.across[b, i, j], surfaces.along[b, i, j] = across, along
    surfaces.level[b, i, j] = local[:, 1] / half[:, 1]
    return surfaces


def _shell(scenes: Sequence[Scene], rays: np.ndarray, view: View) -> Surfaces:
    """Walls, floor and ceiling, as if the rooms were empty."""
    extent = np.stack([scene.extent for scene in scenes])[:, None, None]
    start = view.position[:, None, None]
    with np.errstate(divide="ignore"):
        t = (np.where(rays > 0, extent, np.float32(0)) - start) / rays
    axis = np.argmin(t, axis=-1)
    depth = np.take_along_axis(t, axis[..., None], -1)[..., 0]
    point = start + depth[..., None] * rays
    towards = np.take_along_axis(rays, axis[..., None], -1)[..., 0]
    normal = np.zeros_like(rays)
    np.put_along_axis(normal, axis[..., None], -np.sign(towards)[..., None], -1)
    label = np.where(axis == 1, np.where(towards < 0, FLOOR, CEILING), WALL)
    scene = np.arange(len(scenes))[:, None, None]
    across = np.where(axis == 0, point[..., 2], point[..., 0])
    along = np.where(axis == 1, point[..., 2], point[..., 1])
    return Surfaces(
        depth, point, normal, label, np.zeros_like(label), 3 * scene + label, across, along, np.zeros_like(depth)
    )


def _face(kind: np.ndarray, local: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outward unit normals in the solids' axes, and texture coordinates in metres, of points on them."""
    unit = local / half
    size = np.abs(unit)
    boxed = np.eye(3, dtype=np.float32)[np.argmax(size, axis=1)] * np.sign(unit)
    radius = np.hypot(unit[:, 0], unit[:, 2])
    side = unit * np.array([1, 0, 1], dtype=np.float32) / half
    cap = np.sign(unit) * np.array([0, 1, 0], dtype=np.float32)
    tube = np.where((radius >= size[:, 1])[:, None], side, cap)
    is_box, is_tube = (kind == Kind.BOX)[:, None], (kind == Kind.CYLINDER)[:, None]
    outward = np.where(is_box, boxed, np.where(is_tube, tube, unit / half))
    outward /= np.sqrt(np.sum(outward * outward, axis=1, keepdims=True))
    flat = np.abs(outward[:, 1]) > 0.7
    sideways = (np.abs(outward[:, 0]) > 0.7) & ~flat
    across = np.where(sideways, local[:, 2], local[:, 0])
    return outward, across, np.where(flat, local[:, 2], local[:, 1])


def edges(surfaces: Surfaces) -> np.ndarray:
    """Pixels ``(B, H, W)`` bool at which class, piece or surface changes, on both sides of the change."""
    found = np.zeros(surfaces.label.shape, dtype=bool)
    for one, other in (
        (np.s_[:, 1:], np.s_[:, :-1]),
        (np.s_[:, :, 1:], np.s_[:, :, :-1]),
    ):
        differ = surfaces.label[one] != surfaces.label[other]
        differ |= surfaces.instance[one] != surfaces.instance[other]
        n, m = surfaces.normal[one], surfaces.normal[other]
        between = surfaces.point[one] - surfaces.point[other]
        differ |= _dot(n, m) < CREASE
        differ |= np.minimum(np.abs(_dot(n, between)), np.abs(_dot(m, between))) > GAP
        found[one] |= differ
        found[other] |= differ
    return found


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]
