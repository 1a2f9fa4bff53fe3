"""Pages of a service in a browser that complain when anything in them does."""

from __future__ import annotations

import pytest

from tests import browser
from tests.service.page.fake_server import FakeService, Serving, alert, camera

NOW_MS = 1_796_047_220_000  # 2026-11-30 14:00:20
EXPECTED = ("the server responded with a status of", "net::ERR_")
"""Of pictures that are old, of what a test has refused, and of a server that is gone."""


@pytest.fixture
def service() -> FakeService:
    """Three cameras whose clock stands still, of which the last one is lost, and four alerts, the newest first."""
    fake = FakeService(now_ms=NOW_MS)
    lost = {"state": "lost", "text": "no picture since 13:48:10, try 9 in 24 s", "picture_is_old": True}
    fake.cameras = [camera("yard"), camera("gate"), camera("dock", needs_a_hand=True, **lost)]
    fake.pictures = {"yard": NOW_MS, "gate": NOW_MS, "dock": NOW_MS - 600_000}
    places = [("yard", 60), ("gate", 120), ("yard", 3600), ("dock", 7200)]
    fake.alerts = [alert(name, NOW_MS - 1000 * ago, reason=f"{name} {ago} s ago") for name, ago in places]
    return fake


@pytest.fixture
def visited(chromium):
    """Opens an address in a new page. At the end, no error may have been written to the console or thrown, but those of
    answers that are refusals, and nothing may have been asked of anyone else. With `at_ms` the browser's clock stands
    still, at this time, and moves with `page.clock.run_for`. `expects`: an error that the test provokes."""
    contexts, complaints = [], []

    def visit(
        address: str, *, at_ms: int | None = None, width: int = 1400, path: str = "", expects: str = "", **options
    ):
        expected = (*EXPECTED, expects) if expects else EXPECTED
        context = chromium.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * browser.WAIT_S)
        if at_ms is not None:
            page.clock.install(time=at_ms / 1000 - 600)
            page.clock.pause_at(at_ms / 1000)

        def on_console(message):
            if message.type in ("error", "warning") and not any(text in message.text for text in expected):
                complaints.append(message.text)

        page.on("console", on_console)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda one: one.url.startswith(address) or complaints.append(one.url))
        page.goto(address + path)
        page.wait_for_selector("html[data-ready]")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not complaints


@pytest.fixture
def opened(visited):
    """Opens the page of a fake service."""
    servers = []

    def open_page(service: FakeService, **options):
        servers.append(Serving(service))
        servers[-1].__enter__()
        return visited(servers[-1].address, **options)

    yield open_page
    for serving in servers:
        serving.__exit__()
