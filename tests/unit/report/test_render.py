import re
import shutil
from html.parser import HTMLParser

import pytest

from lomt.report import render

VOID = {"meta", "link", "img", "br"}


class Balance(HTMLParser):
    """Fails where tags are not closed in turn; notes ids and links."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.images = [], [], [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if "id" in given:
            self.ids.append(given["id"])
        if "href" in given and tag == "a":
            self.links.append(given["href"])
        if tag == "img":
            self.images.append(given)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def parsed(page):
    found = Balance()
    found.feed(page)
    assert not found.open
    return found


@pytest.fixture(scope="module")
def page(run_folder):
    return render(run_folder)


def test_the_page_is_well_formed_and_its_links_lead_somewhere(page):
    found = parsed(page)
    assert len(found.ids) == len(set(found.ids))
    assert {link.removeprefix("#") for link in found.links} <= set(found.ids)


def test_the_page_needs_nothing_else(page):
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", page)
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_every_image_has_an_alternative_text(page):
    images = parsed(page).images
    assert len(images) == 2 * (1 + 4 * 4)
    assert all(image["alt"] for image in images)
    assert page.count('role="img"') == page.count("aria-label=") - page.count('role="region"') - 1


def test_everything_is_there(page):
    for text in (
        "The tailored network is the best of 2 multi-task networks: 2.8\N{NO-BREAK SPACE}% better",
        "positive is better than single-task",
        "within 11.25°",
        "Cut after layer4.0.conv2",
        "1 of 2 trials",
        "Runner-up",
        "config.yaml",
        "Scenes",
        "2.13.0",
        "kitchen",
    ):
        assert text in page


def test_the_same_run_gives_the_same_page(run_folder, page):
    assert render(run_folder) == page


@pytest.mark.parametrize(
    "missing",
    ["stages", "stages/compare", "stages/compare/gallery.npz", "stages/select", "stages/sparse", "stages/single_task"],
)
def test_an_unfinished_run_says_what_is_missing(run_folder, tmp_path, missing):
    folder = tmp_path / "run"
    shutil.copytree(run_folder, folder)
    gone = folder / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    page = render(folder)
    parsed(page)
    if missing in ("stages", "stages/compare", "stages/select", "stages/compare/gallery.npz"):
        assert "has not ended" in page


@pytest.mark.parametrize("options", [{"tasks": ("seg",)}, {"tasks": ("room",)}, {"seeds": 1}, {"trials": 0}])
def test_small_runs(example, tmp_path, options):
    page = render(example.write_run(tmp_path / "run", **{"seeds": 1, "trials": 1, "tasks": ("seg", "edges")} | options))
    parsed(page)
    assert "One seed" in page


def test_a_method_from_elsewhere_has_its_column_curve_and_drawing(example, tmp_path):
    methods = ("single_task", "multi_task", "lomt", "soft_sharing")
    page = render(example.write_run(tmp_path / "run", tasks=("seg", "edges"), methods=methods, seeds=1, trials=1))
    assert page.count("soft sharing") > 5
    assert "of-other-0" in page


def test_texts_of_the_run_are_no_markup(example, tmp_path):
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    folder = example.write_run(tmp_path / "run", tasks=("seg", "edges"), seeds=1, trials=1)
    stored = example.compared(("seg", "edges"), ("single_task", "multi_task", "lomt", evil), 1)
    stored["environment"]["machine"] = evil
    stored["tasks"][0]["class_names"][0] = evil
    stored["tasks"][0]["units"]["mIoU"] = evil
    stored["tasks"][1]["name"] = evil
    stored["candidates"].append({"name": evil, "channels": 3, "stride": 8})
    stored["rows"][2]["taps"]["seg"] = evil
    example.write_json(folder / "stages/compare/result.json", stored)
    selections = {"seg": {"tap": evil, "stability": 1.0, "runner_up": evil, "per_trial": [evil], "reason": evil}}
    example.write_json(folder / "stages/select/result.json", {"taps": {"seg": evil}, "selections": selections})
    (folder / "config.yaml").write_text(f"name: '{evil}'\n")
    page = render(folder)
    parsed(page)
    assert page.count("<script>") == 1
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_sparse_result_is_enough(example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg",), seeds=1, trials=1)
    stored = example.compared(("seg",), ("single_task", "lomt"), 1)
    bare = {"tasks": [{"name": "seg"}], "rows": stored["rows"]}
    example.write_json(folder / "stages/compare/result.json", bare)
    example.write_json(folder / "stages/lomt/seed-0/result.json", {"taps": {"seg": "layer4"}})
    parsed(render(folder))


def test_a_whole_demo_is_small(page):
    assert len(page.encode()) < 1_500_000
