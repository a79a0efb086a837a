import numpy as np
import pytest

from lomt.data.surface import VOID, class_edges, fill_seams, normals_from_depth

HEIGHT, WIDTH = 60, 80
X, Y = (np.arange(WIDTH) - 39.5) / 65, (np.arange(HEIGHT) - 29.5) / 65


def plane(normal, distance):
    """Depth of the plane n·P = −distance, with n unit and towards the camera."""
    rays = np.stack(
        [np.broadcast_to(X, (HEIGHT, WIDTH)), np.broadcast_to(Y[:, None], (HEIGHT, WIDTH)), np.ones((HEIGHT, WIDTH))]
    )
    n = np.array(normal) / np.linalg.norm(normal)
    return n, -distance / np.tensordot(n, rays, 1)


def angle(normals, n):
    return np.degrees(np.arccos(np.clip(np.tensordot(n, normals.astype(np.float64), 1), -1, 1)))


@pytest.mark.parametrize("normal", [(0, 0, -1), (0.5, 0, -0.8), (-0.6, 0.1, -0.5), (0, -0.9, -0.6)])
def test_normals_of_a_plane_are_exact_up_to_the_rim(normal):
    n, depth = plane(normal, 2.0)
    normals = normals_from_depth(depth, X, Y, 2.0)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=0), 1, atol=1e-5)
    assert angle(normals, n).max() < 0.5


def test_quantized_depth_is_smoothed():
    n, depth = plane((0.4, 0.1, -0.9), 2.0)
    step = 0.04
    coarse = (np.floor(depth / step) + 0.5) * step
    rough = angle(normals_from_depth(coarse, X, Y, 0.5, step=step), n)[8:-8, 8:-8]
    smooth = angle(normals_from_depth(coarse, X, Y, 3.0, step=step), n)[8:-8, 8:-8]
    assert smooth.mean() < 4 < rough.mean()


def test_nothing_is_smoothed_across_a_step_in_depth():
    n, near = plane((0.3, 0, -0.9), 1.5)
    m, far = plane((-0.3, 0, -0.9), 3.5)
    left = np.broadcast_to(np.arange(WIDTH) < WIDTH // 2, (HEIGHT, WIDTH))
    normals = normals_from_depth(np.where(left, near, far), X, Y, 3.0)
    assert angle(normals, n)[left].max() < 0.5
    assert angle(normals, m)[~left].max() < 0.5


def test_missing_depth_is_missing_and_touches_nothing():
    n, depth = plane((0.3, 0.2, -0.9), 2.0)
    hole = np.zeros(depth.shape, bool)
    hole[20:30, 30:50] = True
    normals = normals_from_depth(np.where(hole, np.nan, depth), X, Y, 2.0)
    assert np.isnan(normals[:, hole]).all()
    assert angle(normals, n)[~hole].max() < 0.5


def test_edges_are_on_both_sides_and_void_makes_none():
    labels = np.array([[1, 1, 2, 2], [1, 1, VOID, 2], [1, 1, VOID, VOID]], dtype=np.uint8)
    expected = np.array([[0, 1, 1, 0], [0, 0, VOID, 0], [0, 0, VOID, VOID]])
    np.testing.assert_array_equal(class_edges(labels), expected)
    np.testing.assert_array_equal(class_edges(labels[None])[0], expected)


def test_edges_against_brute_force():
    labels = np.random.default_rng(0).choice([0, 1, VOID], (9, 11)).astype(np.uint8)
    found = class_edges(labels)
    for i in range(9):
        for j in range(11):
            around = [
                labels[a, b] for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)) if 0 <= a < 9 and 0 <= b < 11
            ]
            here = labels[i, j]
            edge = any(other not in (here, VOID) for other in around)
            assert found[i, j] == (VOID if here == VOID else edge)


def test_seams_close_from_both_sides_and_wide_void_stays():
    row = np.array([1] * 3 + [VOID] * 4 + [2] * 3 + [VOID] * 9, dtype=np.uint8)
    labels = np.tile(row, (3, 1))
    filled = fill_seams(labels, 2)
    np.testing.assert_array_equal(filled[1], [1] * 5 + [2] * 7 + [VOID] * 7)
    assert labels[0, 3] == VOID
