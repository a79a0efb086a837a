"""Labels that follow from others: normals from depth, edges from classes."""

import numpy as np

VOID = 255


def normals_from_depth(
    depth: np.ndarray, x: np.ndarray, y: np.ndarray, sigma: float, jump: float = 0.1, step: float = 0.0
) -> np.ndarray:
    """Surface normals of a noisy depth map, smoothed along surfaces but not across their borders.

    On a plane ``n·P = c`` seen through a pinhole, ``P = z (x, y, 1)``, inverse depth is linear in the picture:
    ``1/z = n·(x, y, 1) / c``. So a line fitted to 1/z along rows gives its slope g_x, along columns g_y, and
    ``n ∝ (g_x, g_y, 1/z − g_x x − g_y y)``. Each fit is a weighted least-squares line in a Gaussian window whose
    weights fall as the depths differ. Across the direction of the fit 1/z is first smoothed, by such lines too:
    unlike means they have no bias at the rim of a surface, where a window is one-sided.

    Args:
        depth: ``(H, W)`` metres; NaN is missing and enters no window.
        x: ``(W,)`` horizontal ray slopes, ``(column − c_x) / f_x``, uniformly spaced.
        y: ``(H,)`` vertical ray slopes, ``(row − c_y) / f_y``, uniformly spaced.
        sigma: standard deviation of the window in pixels.
        jump: relative difference of depth at which a pixel has no weight any more.
        step: quantization step of the depth map in metres; a jump is at least four of them.

    Returns:
        ``(3, H, W)`` unit vectors in camera axes (x right, y down, z forward) that point at the camera; NaN where
        depth is missing.
    """
    known = np.isfinite(depth)
    z = np.where(known, depth, 1.0).astype(np.float32)
    inverse = 1 / z
    tolerance = np.maximum(np.float32(jump) * z, np.float32(4 * step)) ** 2
    reach = max(1, int(np.ceil(2.5 * sigma)))
    along_x = _Window(z, known, tolerance, sigma, reach, axis=1)
    along_y = _Window(z, known, tolerance, sigma, reach, axis=0)
    value, slope_x = along_x.line(along_y.line(inverse)[0])
    slope_y = along_y.line(along_x.line(inverse)[0])[1]
    slope_x, slope_y = slope_x / np.float32(x[1] - x[0]), slope_y / np.float32(y[1] - y[0])
    at_rest = value - slope_x * x.astype(np.float32) - slope_y * y.astype(np.float32)[:, None]
    normals = -np.stack([slope_x, slope_y, at_rest])
    normals /= np.maximum(np.linalg.norm(normals, axis=0), 1e-12)
    # n·ray = −value before scaling, which is below 0: the normals point at the camera already.
    normals[:, ~known] = np.nan
    return normals


class _Window:
    """One-dimensional windows along an axis, with weights that know about depth."""

    def __init__(
        self, depth: np.ndarray, known: np.ndarray, tolerance: np.ndarray, sigma: float, reach: int, axis: int
    ) -> None:
        self.offsets = range(-reach, reach + 1)
        self.margin = [(reach, reach) if k == axis else (0, 0) for k in (0, 1)]
        self.slices = [
            tuple(
                slice(reach + offset, reach + offset + n) if k == axis else slice(None)
                for k, n in enumerate(depth.shape)
            )
            for offset in self.offsets
        ]
        there = np.pad(known.astype(np.float32), self.margin)
        padded, scale = np.pad(depth, self.margin, mode="edge"), 1 / tolerance
        self.weights = np.empty((len(self.offsets), *depth.shape), dtype=np.float32)
        for weight, place, offset in zip(self.weights, self.slices, self.offsets, strict=True):
            np.subtract(padded[place], depth, out=weight)
            weight *= weight
            weight *= scale
            np.subtract(1, weight, out=weight)
            np.maximum(weight, 0, out=weight)
            weight *= weight  # Tukey's biweight
            weight *= there[place]
            weight *= np.exp(-(offset**2) / (2 * sigma**2))
        steps = np.array(self.offsets, dtype=np.float32)
        self.total = np.maximum(self.weights.sum(axis=0), 1e-12)
        self.centre = np.tensordot(steps, self.weights, 1) / self.total
        spread = np.tensordot(steps**2, self.weights, 1) - self.centre**2 * self.total
        self.spread = np.maximum(spread, 1e-6 * self.total)

    def line(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weighted least-squares line through each pixel's window: its value there, and its slope."""
        padded = np.pad(values, self.margin, mode="edge")
        mixed, mean = np.zeros_like(values), np.zeros_like(values)
        for weight, place, offset in zip(self.weights, self.slices, self.offsets, strict=True):
            rise = padded[place] - values  # differences, so that float32 is enough
            rise *= weight
            mean += rise
            if offset:
                rise *= offset
                mixed += rise
        slope = (mixed - mean * self.centre) / self.spread
        return values + mean / self.total - slope * self.centre, slope


def fill_seams(labels: np.ndarray, width: int) -> np.ndarray:
    """Closes void seams of up to ``2 * width`` pixels between labelled regions, from both of their sides.

    Args:
        labels: ``(H, W)``, :data:`VOID` where there is no label.
        width: how many pixels each region grows into void.

    Returns:
        A new map; void that is further from every region stays.
    """
    filled = labels.copy()
    for _ in range(width):
        before = np.pad(filled, 1, constant_values=VOID)
        neighbours = (before[:-2, 1:-1], before[1:-1, :-2], before[1:-1, 2:], before[2:, 1:-1])
        for neighbour in neighbours:
            np.copyto(filled, neighbour, where=filled == VOID)
    return filled


def class_edges(labels: np.ndarray) -> np.ndarray:
    """Pixels that touch (one of 4 neighbours) a pixel of another class; void touches nothing.

    Args:
        labels: ``(…, H, W)`` classes, :data:`VOID` where there is none.

    Returns:
        ``(…, H, W)`` uint8: 1 edge, 0 none, :data:`VOID` where the pixel itself is void.
    """
    edges = np.zeros(labels.shape, bool)
    known = labels != VOID
    for one, other in (
        ((..., slice(1, None), slice(None)), (..., slice(None, -1), slice(None))),
        ((..., slice(1, None)), (..., slice(None, -1))),
    ):
        differ = (labels[one] != labels[other]) & known[one] & known[other]
        edges[one] |= differ
        edges[other] |= differ
    return np.where(known, edges, VOID).astype(np.uint8)
