"""The report as a reader meets it: in a real browser, on a phone and on a desk, by day and by night."""

import contextlib
import os
import runpy
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from lomt.report import render

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install '.[test]'")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here: apt-get install chromium, or set CHROMIUM")

SECTIONS = ["results", "network", "selection", "diagnosis", "gallery", "curves", "config"]
EVIL = '"><script>window.harmed=1</script><img src=x onerror="window.harmed=2">'


@pytest.fixture(scope="module")
def example():
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "unit/report/example_run.py")))


@pytest.fixture(scope="module")
def report(example, tmp_path_factory):
    folder = example.write_run(tmp_path_factory.mktemp("runs") / "demo")
    example.write_diagnosis(folder)
    file = folder / "report.html"
    file.write_text(render(folder), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def browser():
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Opens a file; notes what the page asks for and complains about."""
    contexts = []

    def open_(file, width, scheme="light", touch=False):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, has_touch=touch)
        contexts.append(context)
        page = context.new_page()
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(file.as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (360, "dark"), (768, "light"), (1280, "dark")])
def test_it_fits_asks_for_nothing_and_complains_about_nothing(visit, report, width, scheme):
    page = visit(report, width, scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter(one => !one.closest('.scroll, pre'))
           .filter(one => one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 120))"""
    )
    assert outside == []
    assert [url for url in page.asked if not url.startswith("data:")] == [report.as_uri()]
    assert page.complaints == []


@pytest.mark.parametrize("width", [360, 1280])
def test_every_section_is_to_be_seen(visit, report, width):
    page = visit(report, width)
    assert page.locator("h1").inner_text().startswith("The tailored network is the best of 2 multi-task networks: 2.8")
    for name in SECTIONS:
        section = page.locator(f"#{name}")
        assert section.locator("h2").is_visible()
        assert section.bounding_box()["height"] > 100
        for _ in range(3):  # on a busy machine a click may come to nothing, as it may for a person
            page.locator(f'nav a[href="#{name}"]').click()
            with contextlib.suppress(playwright.TimeoutError):
                page.wait_for_function("hash => location.hash === hash", arg=f"#{name}", timeout=15_000)
                break
        assert page.evaluate("location.hash") == f"#{name}"


def test_the_table_has_its_rows_and_a_phone_shows_all_methods(visit, report):
    page = visit(report, 360)
    table = page.locator("table.results").first
    names = [name.split("\n")[0].strip() for name in table.locator("tbody th[scope=row]").all_inner_texts()]
    assert [name.split(" [")[0].rstrip(" ↑↓") for name in names] == [
        *("Δm", "mIoU", "RMSE", "AbsRel", "mean angle", "within 11.25°", "ODS-F", "accuracy"),
        *("parameters", "multiply-accumulates", "latency"),
    ]
    assert table.locator("thead th[scope=col]").count() == 4
    assert table.bounding_box()["width"] <= 360


def test_a_phone_has_the_best_column_in_sight_and_the_taps_at_full_width(visit, example, tmp_path):
    methods = ("single_task", "multi_task", "lomt", "sparse_lomt")
    folder = example.write_run(tmp_path / "run", tasks=("seg", "edges"), methods=methods, trials=1)
    (tmp_path / "run/report.html").write_text(render(folder), encoding="utf-8")
    for width in (390, 1280):
        page = visit(folder / "report.html", width)
        table = page.locator("table.results").first
        assert table.locator("thead th[scope=col]").count() == 6
        head = table.locator("thead th.taken")
        assert head.inner_text().startswith("tailored, sparse, compacted")
        for cell in (head, table.locator("tbody td.taken").first):
            box = cell.bounding_box()
            assert box["x"] > 0
            assert box["x"] + box["width"] <= width
        section, taps = (page.locator(one).first.bounding_box() for one in ("#network", ".taps"))
        assert taps["width"] > 0.95 * (section["width"] - 32)


def test_all_pictures_are_drawn(visit, report):
    page = visit(report, 1280)
    assert page.locator("#gallery img").count() == 2 * (1 + 4 * 4)
    assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg.drawing')].map(one => one.getBoundingClientRect().height)"
    )
    assert len(sizes) >= 2 + 2 + 5 + 12
    assert min(sizes) > 60


def test_dark_is_dark(visit, report):
    def brightness(scheme):
        page = visit(report, 800, scheme)
        colours = "(() => { const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]; })()"
        return [sum(map(int, text[4:-1].split(","))) for text in page.evaluate(colours)]

    paper, ink = brightness("light")
    assert paper > 700 > 150 > ink
    paper, ink = brightness("dark")
    assert paper < 150 < 600 < ink


def test_a_touch_shows_what_hovering_does(visit, report):
    page = visit(report, 360, touch=True)
    row = page.locator("#selection svg.pattern .catch").nth(9)
    row.scroll_into_view_if_needed()
    row.tap()
    assert "channels alive" in page.locator("#tip").inner_text()
    page.locator("h2").nth(2).tap()
    assert page.locator("#tip").is_hidden()


def test_it_can_be_read_without_a_mouse(visit, report):
    page = visit(report, 360)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('svg:not([aria-hidden]), [role=region]')]
           .filter(one => !one.getAttribute('aria-label')).length"""
    )
    assert nameless == 0
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map(one => +one.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_texts_of_a_run_do_no_harm(visit, example, tmp_path):
    folder = example.write_run(tmp_path / "run", tasks=("seg", "edges"), seeds=1, trials=1)
    stored = example.compared(("seg", "edges"), ("single_task", "multi_task", "lomt", EVIL), 1)
    stored["environment"] = {EVIL: EVIL}
    stored["tasks"][0]["class_names"][0] = EVIL
    example.write_json(folder / "stages/compare/result.json", stored)
    (folder / "config.yaml").write_text(f"name: '{EVIL}'\n")
    file = folder / "report.html"
    file.write_text(render(folder), encoding="utf-8")
    page = visit(file, 360)
    assert page.evaluate("window.harmed === undefined")
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_run_that_has_just_begun(visit, example, tmp_path):
    (tmp_path / "config.yaml").write_text("tasks: []\n")
    example.write_training(tmp_path, "single_task/seg/seed-0", "single_task", {"seg": "layer4"}, 0, 3, ended=False)
    file = tmp_path / "report.html"
    file.write_text(render(tmp_path), encoding="utf-8")
    page = visit(file, 360)
    for name in SECTIONS:
        assert page.locator(f"#{name} h2").is_visible()
    assert page.locator("#curves svg.chart").count() >= 1
    assert page.locator(".absent").count() >= 4
    assert page.complaints == []
