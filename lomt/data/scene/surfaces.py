"""What every pixel of a batch of rooms shows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lomt.data.scene.raycast import View, cast
from lomt.data.scene.rooms import Scene
from lomt.data.scene.solids import CEILING, FLOOR, WALL, Columns, Kind


@dataclass(frozen=True, slots=True)
class Surfaces:
    """Maps ``(B, P)`` over the P pixels of B pictures; of vectors ``(3, B, P)``.

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


def trace(scenes: Sequence[Scene], solids: np.ndarray, image: np.ndarray, view: View) -> Surfaces:
    """The nearest surface on every ray: the room's shell, or a solid before it.

    Args:
        scenes: the rooms.
        solids: of all rooms, ``(S, Columns.COUNT)``.
        image: ``(S,)`` which room a solid belongs to.
        view: a camera in each room.
    """
    count = len(scenes)
    x, y = view.x[:, None, :], view.y[:, :, None]
    right, down, forward = (view.axes[:, k].T[:, :, None, None] for k in range(3))
    rays = (forward + x * right + y * down).reshape(3, count, -1)
    start = view.position.T[:, :, None]
    depth, point, normal, label = _shell(scenes, rays, start)
    hits = cast(solids, image, view)
    found = np.flatnonzero(hits.depth.reshape(count, -1) < depth)
    which = hits.solid.ravel()[found]
    depth.ravel()[found] = hits.depth.ravel()[found]
    np.multiply(rays, depth, out=point)
    point += start
    across = np.where(normal[0] != 0, point[2], point[0])
    along = np.where(normal[1] != 0, point[2], point[1])
    material = label + 3 * np.arange(count, dtype=np.int32)[:, None]
    instance, level = np.zeros_like(label), np.zeros_like(depth)
    columns = np.ascontiguousarray(solids.T)[: Columns.COLOUR.start]
    columns = np.stack([column[which] for column in columns])
    local, outward, u, v = _on_solids(columns, point.reshape(3, -1)[:, found])
    normal.reshape(3, -1)[:, found] = outward
    label.ravel()[found], instance.ravel()[found] = columns[Columns.CLASS], columns[Columns.INSTANCE]
    material.ravel()[found] = which + 3 * count
    across.ravel()[found], along.ravel()[found], level.ravel()[found] = u, v, local[1]
    return Surfaces(depth, point, normal, label, instance, material, across, along, level)


def _shell(
    scenes: Sequence[Scene], rays: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Depth, room for points, normals, classes of walls, floor and ceiling, as if the rooms were empty."""
    extent = np.stack([scene.extent for scene in scenes], axis=1)[:, :, None]
    with np.errstate(divide="ignore"):
        t = (np.where(rays > 0, extent, np.float32(0)) - start) / rays
    depth = t.min(axis=0)
    normal = np.where(t == depth, -np.sign(rays), np.float32(0))
    normal[1:] *= normal[0] == 0  # on the line where two walls meet, one of them
    normal[2] *= normal[1] == 0
    label = np.where(normal[1] > 0, np.int32(FLOOR), np.where(normal[1] < 0, np.int32(CEILING), np.int32(WALL)))
    return depth, t, normal, label


def _on_solids(columns: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Unit coordinates ``(3, n)``, normals in the room's axes ``(3, n)``, texture coordinates in metres."""
    kind, half = columns[Columns.KIND], columns[Columns.HALF]
    cosine, sine = columns[Columns.COSINE], columns[Columns.SINE]
    x, y, z = point - columns[Columns.CENTRE]
    local = np.stack([cosine * x - sine * z, y, sine * x + cosine * z])
    unit = local / half
    size = np.abs(unit)
    box, tube = kind == Kind.BOX, kind == Kind.CYLINDER
    largest = size.max(axis=0)
    cap = tube & (size[1] * size[1] > unit[0] * unit[0] + unit[2] * unit[2])
    outward = unit / half
    outward[1] *= ~tube
    flat = np.flatnonzero(box | cap)
    outward[:, flat] = np.sign(unit[:, flat]) * (size[:, flat] == largest[flat])
    outward[::2, cap] = 0
    outward[1, cap] = np.sign(unit[1, cap])
    rug = columns[Columns.CLASS] == FLOOR  # so thin that its rim is no surface
    outward[:, rug] = np.array([[0], [1], [0]], dtype=np.float32)
    outward /= np.sqrt(dot(outward, outward))
    facing = np.abs(outward) > 0.7
    u, v = np.where(facing[0], local[2], local[0]), np.where(facing[1], local[2], local[1])
    turned = np.stack([cosine * outward[0] + sine * outward[2], outward[1], cosine * outward[2] - sine * outward[0]])
    return unit, turned, u, v


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inner products over the first axis, of length 3."""
    return np.asarray(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])
