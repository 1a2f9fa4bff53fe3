"""A real Chromium for the tests of pages."""

from __future__ import annotations

import os
import shutil
import time

import pytest

WAIT_S = 120.0
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def chromium():
    """A browser; without one tests are skipped, with MULDE_REQUIRE_BROWSER=1 they fail. It goes with its module,
    because playwright keeps an event loop running in this thread, beside which others cannot run theirs."""
    absent = pytest.fail if os.environ.get("MULDE_REQUIRE_BROWSER") == "1" else pytest.skip
    path = os.environ.get("MULDE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        absent(f"needs a browser: {', '.join(NAMES)}, or its path in MULDE_CHROMIUM")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("needs playwright")
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


def until(page, condition: str, arg: object = None) -> None:
    """Waits for a condition, asked from outside: the page's policy lets no tool evaluate text inside it."""
    deadline = time.monotonic() + WAIT_S
    while not page.evaluate(condition, arg):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def violations(page) -> list[tuple[str, list[str]]]:
    """What axe finds wrong for people who see, hear or move otherwise: rules and elements."""
    from axe_playwright_python.sync_playwright import Axe

    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found = Axe().run(page, options=options).response["violations"]
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found]
