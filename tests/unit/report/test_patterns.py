import itertools
import json
import re

import numpy as np
import pytest

from lomt.report.patterns import SHARES, WIDTH, Layer, _resample, needs, raster
from lomt.report.read import read


def layers(count, groups=8, trials=2):
    rng = np.random.default_rng(0)
    return [Layer(f"layer{i}.conv1", True, [rng.random(groups) < 0.5 for _ in range(trials)]) for i in range(count)]


@pytest.mark.parametrize("groups", [1, 3, 64, 2048])
def test_resampling_keeps_the_share_of_live_groups(groups):
    alive = np.random.default_rng(groups).random(groups) < 0.4
    shares = _resample(alive, 100)
    assert shares.mean() == pytest.approx(alive.mean())
    assert 0 <= shares.min() <= shares.max() <= 1 + 1e-12


def test_no_groups_are_no_error():
    assert _resample(np.zeros(0, bool), 10).tolist() == [0.0] * 10


def test_needs_of_a_run(run_folder):
    found = {need.task: need for need in needs(read(run_folder))}
    assert found["edges"].tap == "layer2.0.conv2"
    assert (found["edges"].agree, found["edges"].trials) == (1, 2)
    assert found["edges"].runner_up == "layer4.1.conv1"
    assert found["edges"].reason == "The deepest layer that is alive in all 2 trials."
    after = [layer for layer in found["edges"].layers if layer.name.startswith("layer4")]
    assert [layer.density for layer in after] == [0.0] * len(after)


@pytest.mark.parametrize(
    ("agreement", "said"),
    [
        ([1.0], "One trial cannot say"),
        ([1.0, 1.0, 1.0], ""),
        ([0.5, 0.5, 1.0, 1.0], "Any 3 of them"),
        ([0.5, 0.75, 0.75, 1.0], "Only all of them"),
        ([], ""),
    ],
)
def test_says_whether_fewer_trials_would_have_done(example, run_folder, agreement, said):
    path = run_folder / "stages" / "select" / "result.json"
    stored = json.loads(path.read_text())
    stored["selections"]["edges"]["agreement"] = agreement
    example.write_json(path, stored)
    words = {need.task: need.enough for need in needs(read(run_folder))}["edges"]
    assert words.startswith(said)
    assert bool(words) == bool(said)


def test_the_tap_is_marked_and_what_follows_is_faded():
    picture = raster("seg", layers(6), "layer3.conv1")
    assert picture.count('class="tap-frame"') == 1
    assert picture.count('class="unused"') == 2
    assert "layer3.conv1 ▸" in picture


def test_a_block_as_tap_marks_its_last_layer():
    rows = [Layer(name, True, [np.ones(4, bool)]) for name in ("layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1")]
    assert "layer1.0.conv2 ▸" in raster("seg", rows, "layer1.0")


def test_an_unknown_tap_marks_nothing():
    assert "tap-frame" not in raster("seg", layers(3), "elsewhere")


def test_many_layers_stay_compact():
    small, large = raster("seg", layers(20), None), raster("seg", layers(104, groups=512, trials=5), None)
    heights = [float(picture.split('height="')[1].split('"')[0]) for picture in (small, large)]
    assert heights[1] < 350
    assert len(large) < 100_000


def test_trials_of_different_length_are_no_error():
    rows = [Layer("a", True, [np.ones(4, bool), np.zeros(4, bool)]), Layer("b", True, [np.ones(4, bool)])]
    assert "2 trials" in raster("seg", rows, "a")


@pytest.mark.parametrize("trials", [1, 12, 13, 44, 45, 201, 1500])
def test_any_number_of_trials_has_room(trials):
    picture = raster("seg", layers(3, trials=trials), "layer1.conv1")
    places = [
        (float(left), float(width))
        for left, width in re.findall(r'<image[^>]* x="([\d.]+)"[^>]* width="([\d.]+)"', picture)
    ]
    assert len(places) == trials
    assert all(width > 0 for _, width in places)
    assert all(left + width <= right + 0.1 for (left, width), (right, _) in itertools.pairwise(places))
    assert places[-1][0] + places[-1][1] == pytest.approx(WIDTH - SHARES, abs=0.2)
    assert ("…" in picture) == (trials > 12)
