"""Make the README's picture from a run's report: ``python docs/picture.py runs/demo docs/images/demo.png``.

Needs Playwright and Debian's Chromium, which the report's browser test uses as well.
"""

import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH, SCALE = 1100, 1.5


def main(run: str, picture: str) -> None:
    """Photograph the first image of the gallery of ``run/report.html`` into ``picture``."""
    page_file = (Path(run) / "report.html").resolve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 900}, device_scale_factor=SCALE)
        page.goto(page_file.as_uri())
        page.locator("#gallery article").first.screenshot(path=picture, timeout=120_000)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
