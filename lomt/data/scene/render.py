"""From rooms to pictures and exact labels."""

from collections.abc import Sequence

import numpy as np

from lomt.data.scene import shading
from lomt.data.scene.raycast import View
from lomt.data.scene.rooms import Scene
from lomt.data.scene.surfaces import Surfaces, dot, trace

CREASE = 0.819  # cosine of 35°; a sharper turn between neighbours is an edge
GAP = 0.04  # metres; a larger step out of a surface's plane between neighbours is an edge


def render(
    scenes: Sequence[Scene], size: tuple[int, int], rngs: Sequence[np.random.Generator]
) -> dict[str, np.ndarray]:
    """Pictures and labels of some rooms; each is the same in whatever company it is rendered.

    Args:
        scenes: what to render.
        size: height and width in pixels; pixels are square, the width sees the camera's whole angle.
        rngs: one for each scene, for its camera's noise.

    Returns:
        ``image`` ``(B, 3, H, W)`` uint8, ``seg`` ``(B, H, W)`` uint8, ``depth`` ``(B, 1, H, W)`` float32
        z-depth in metres, ``normals`` ``(B, 3, H, W)`` float32 in camera axes, ``edges`` ``(B, 1, H, W)``
        uint8, ``room`` ``(B,)`` int64.
    """
    height, width = size
    view = cameras(scenes, size)
    solids = np.concatenate([scene.solids for scene in scenes])
    image = np.repeat(np.arange(len(scenes), dtype=np.int32), [len(scene.solids) for scene in scenes])
    surfaces = trace(scenes, solids, image, view)
    normals = [dot(surfaces.normal, view.axes[:, k].T[:, :, None]) for k in range(3)]
    picture = shading.photograph(scenes, solids, image, view, surfaces)
    picture = shading.develop(picture.reshape(3, len(scenes), height, width), scenes, rngs)
    return {
        "image": picture,
        "seg": surfaces.label.astype(np.uint8).reshape(-1, height, width),
        "depth": surfaces.depth.reshape(-1, 1, height, width),
        "normals": np.stack(normals, axis=1).reshape(-1, 3, height, width),
        "edges": edges(surfaces, size)[:, None].astype(np.uint8),
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


def edges(surfaces: Surfaces, size: tuple[int, int]) -> np.ndarray:
    """Pixels ``(B, H, W)`` bool at which class, piece or surface changes, on both sides of the change."""
    label, piece = (part.reshape(-1, *size) for part in (surfaces.label, surfaces.instance))
    normal, point = (part.reshape(3, -1, *size) for part in (surfaces.normal, surfaces.point))
    found = np.zeros(label.shape, dtype=bool)
    for one, other in (
        (np.s_[..., 1:, :], np.s_[..., :-1, :]),
        (np.s_[..., 1:], np.s_[..., :-1]),
    ):
        n, m, between = normal[one], normal[other], point[one] - point[other]
        differ = (label[one] != label[other]) | (piece[one] != piece[other]) | (dot(n, m) < CREASE)
        differ |= np.minimum(np.abs(dot(n, between)), np.abs(dot(m, between))) > GAP
        found[one] |= differ
        found[other] |= differ
    return found
