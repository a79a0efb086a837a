import numpy as np
import pytest
import torch

from lomt.data import Scenes
from lomt.data.scene.raycast import View, cast
from lomt.data.scene.render import cameras
from lomt.data.scene.rooms import ROOMS, compose
from lomt.data.scene.solids import CLASSES, Columns, Kind, Material, Place, Solids
from lomt.data.scene.surfaces import trace


@pytest.fixture(scope="module")
def chunk():
    return Scenes((48, 64)).generate("train", range(24))


@pytest.fixture(scope="module")
def traced():
    scenes = [compose(np.random.default_rng([7, i])) for i in range(12)]
    solids = np.concatenate([scene.solids for scene in scenes])
    image = np.repeat(np.arange(12, dtype=np.int32), [len(scene.solids) for scene in scenes])
    view = cameras(scenes, (40, 56))
    return scenes, view, trace(scenes, solids, image, view)


def same(a, b):
    return all(np.array_equal(a[key], b[key]) for key in a)


def test_a_sample_depends_on_nothing_but_seed_split_and_index():
    source = Scenes((32, 40), seed=3)
    together = source.generate("train", range(5))
    for index in range(5):
        alone = source.generate("train", range(index, index + 1))
        assert same(alone, {key: value[index : index + 1] for key, value in together.items()})
    assert not same(together, source.generate("validation", range(5)))
    assert not same(together, Scenes((32, 40), seed=4).generate("train", range(5)))


def test_another_size_is_the_same_room():
    small, large = (Scenes((n, n)).generate("train", range(4)) for n in (33, 99))
    assert np.array_equal(small["room"], large["room"])
    # The centre of pixel i of the small picture is that of pixel 3 i + 1 of the large one.
    np.testing.assert_allclose(small["depth"], large["depth"][..., 1::3, 1::3], rtol=1e-3)
    assert (small["seg"] == large["seg"][:, 1::3, 1::3]).mean() > 0.999


def test_a_larger_count_keeps_the_first_samples():
    few, many = (Scenes((16, 16), train=count).split("train") for count in (3, 20))
    for index in range(3):
        assert all(torch.equal(few[index][key], many[index][key]) for key in few[index])


def test_no_sample_is_in_two_splits():
    source = Scenes((16, 16), train=40, validation=40, test=40)
    images = np.concatenate([source.split(name).samples.arrays["depth"] for name in ("train", "validation", "test")])
    assert len(np.unique(images.reshape(120, -1), axis=0)) == 120


def test_labels_are_what_tasks_want():
    source = Scenes((24, 32), train=8, validation=1, test=1)
    split = source.split("train")
    for index in range(8):
        sample = split[index]
        for task in source.tasks:
            task.check(sample[task.name], f"sample {index}")
    assert [task.name for task in source.tasks] == ["seg", "depth", "normals", "edges", "room"]


def test_rooms_and_classes_all_occur():
    drawn = Scenes((24, 32)).generate("train", range(80))
    assert set(drawn["room"]) == set(range(len(ROOMS)))
    assert set(np.unique(drawn["seg"])) == set(range(len(CLASSES)))
    share = drawn["edges"].mean()
    assert 0.05 < share < 0.5


def test_normals_point_at_the_camera(chunk):
    rays_x = ((np.arange(64) + 0.5) * 2 / 64 - 1)[None, :]
    assert np.allclose(np.linalg.norm(chunk["normals"], axis=1), 1, atol=1e-5)
    for index in range(24):
        scene = compose(np.random.default_rng([0, 0, index]))
        x = scene.slope * rays_x
        y = scene.slope * ((np.arange(48) + 0.5) * 2 / 64 - 48 / 64)[:, None]
        n = chunk["normals"][index]
        assert (n[0] * x + n[1] * y + n[2] < 1e-4).all()


def test_depth_is_along_the_optical_axis_and_points_are_on_rays(traced):
    scenes, view, surfaces = traced
    for b, scene in enumerate(scenes):
        position, right, down, forward = scene.camera.astype(np.float64)
        away = surfaces.point[:, b].T - position
        z = surfaces.depth[b]
        np.testing.assert_allclose(away @ forward, z, rtol=1e-4)
        np.testing.assert_allclose((away @ right / z).reshape(40, 56), np.broadcast_to(view.x[b], (40, 56)), atol=1e-4)
        np.testing.assert_allclose((away @ down / z).reshape(40, 56).T, np.broadcast_to(view.y[b], (56, 40)), atol=1e-4)
        inside = (surfaces.point[:, b].T >= -0.15) & (scene.extent + 0.15 >= surfaces.point[:, b].T)
        assert inside.all()


def test_normals_are_those_of_the_depth_map(traced):
    """Cross products of central differences of points, wherever all four neighbours are on the same flat surface."""
    _, _, surfaces = traced
    point = surfaces.point.reshape(3, 12, 40, 56).astype(np.float64)
    normal = surfaces.normal.reshape(3, 12, 40, 56)
    across, down = point[:, :, 1:-1, 2:] - point[:, :, 1:-1, :-2], point[:, :, 2:, 1:-1] - point[:, :, :-2, 1:-1]
    measured = np.cross(across, down, axis=0)
    measured /= np.linalg.norm(measured, axis=0)
    stated = normal[:, :, 1:-1, 1:-1]
    material, label = surfaces.material.reshape(12, 40, 56), surfaces.label.reshape(12, 40, 56)
    alike = ((label != 1) | (material < 3 * 12))[:, 1:-1, 1:-1]  # a rug's rim is taken as flat
    for rows, columns in ((slice(0, -2), slice(1, -1)), (slice(2, None), slice(1, -1)), (slice(1, -1), slice(0, -2)),
                          (slice(1, -1), slice(2, None))):  # fmt: skip
        alike &= np.abs(normal[:, :, rows, columns] - stated).max(0) < 1e-5
        alike &= material[:, rows, columns] == material[:, 1:-1, 1:-1]
    assert alike.mean() > 0.5
    cosine = np.abs((measured * stated).sum(0))[alike]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 1


def test_every_change_of_class_is_an_edge_and_flat_walls_have_none(chunk):
    seg, edges, normals = chunk["seg"], chunk["edges"][:, 0].astype(bool), chunk["normals"]
    differ = seg[:, :, 1:] != seg[:, :, :-1]
    assert edges[:, :, 1:][differ].all()
    assert edges[:, :, :-1][differ].all()
    wall = np.isin(seg, (0, 1, 2))
    calm = wall[:, 1:-1, 1:-1].copy()
    for i in (0, 1, 2):
        for j in (0, 1, 2):
            place = np.s_[:, i : i + 46, j : j + 62]
            calm &= seg[place] == seg[:, 1:-1, 1:-1]
            calm &= np.abs(normals[:, :, i : i + 46, j : j + 62] - normals[:, :, 1:-1, 1:-1]).max(1) < 1e-5
    assert calm.mean() > 0.3
    assert not edges[:, 1:-1, 1:-1][calm].any()


def reference(solid, origin, direction):
    """Depth of one ray by marching, in float64: the first place inside the solid."""
    steps = np.linspace(0.5, 7, 8001)
    points = origin + steps[:, None] * direction - solid[Columns.CENTRE]
    c, s = solid[Columns.COSINE], solid[Columns.SINE]
    local = np.stack([c * points[:, 0] - s * points[:, 2], points[:, 1], s * points[:, 0] + c * points[:, 2]], 1)
    unit = np.abs(local / solid[Columns.HALF])
    radius = unit[:, 0] ** 2 + unit[:, 2] ** 2
    inside = {
        Kind.BOX: unit.max(1) <= 1,
        Kind.ELLIPSOID: (unit**2).sum(1) <= 1,
        Kind.CYLINDER: (radius <= 1) & (unit[:, 1] <= 1),
    }[Kind(int(solid[Columns.KIND]))]
    return steps[np.argmax(inside)] if inside.any() else np.inf


@pytest.mark.parametrize("kind", list(Kind))
def test_rays_against_marching(kind):
    rng = np.random.default_rng(int(kind))
    size, compared = 8, 0
    for _ in range(4):
        solids = Solids()
        for z in (3.0, 4.5):
            place = Place(rng.uniform(-0.4, 0.4), z + rng.uniform(-0.4, 0.4), rng.uniform(-3, 3))
            span = [(-low, high) for low, high in rng.uniform(0.3, 1.1, (3, 2))]
            solids.add(kind, 3, place, *span, Material((1, 1, 1), (1, 1, 1)))
        table = solids.table()
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)) * 0.15 + np.eye(3))
        axes = (q * np.sign(np.diag(q))).astype(np.float32)
        x, y = (np.linspace(-0.6, 0.6, size, dtype=np.float32)[None] for _ in "xy")
        view = View(np.zeros((1, 3), np.float32), axes[None], x, y)
        hits = cast(table, np.zeros(2, np.int32), view)
        for i in range(0, size, 2):
            for j in range(size):
                ray = axes[2] + x[0, j] * axes[0] + y[0, i] * axes[1]
                depths = [reference(solid, np.zeros(3), ray.astype(np.float64)) for solid in table.astype(np.float64)]
                if np.isfinite(min(depths)) != (hits.solid[0, i, j] >= 0):
                    continue  # a graze that one of them misses
                if np.isfinite(min(depths)):
                    assert hits.depth[0, i, j] == pytest.approx(min(depths), abs=2e-3)
                    assert hits.solid[0, i, j] == int(np.argmin(depths))
        compared += int((hits.solid >= 0).sum())
    assert compared > 25


@pytest.mark.parametrize("wrong", [{"train": 0}, {"test": -1}, {"seed": -1}, {"size": (2, 2)}])
def test_arguments_out_of_range(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=name):
        Scenes(**wrong)
