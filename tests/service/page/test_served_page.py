"""The page before the real service, whose clock stands still, in a real browser."""

from __future__ import annotations

import pytest

from mulde.pipeline.live.status import CameraState
from mulde.service.review_source import ReviewSource
from mulde.service.source import AlertQuery
from tests.browser import until
from tests.service.served_runs import client_of, watched_run

IS_OLD = "name => mulde.app.tiles.byName.get(name).picture.box.classList.contains('old')"


@pytest.fixture
def run(tmp_path):
    with watched_run(tmp_path / "watch") as run:
        run.record(1, 2, 3, reason="runs")
        run.picture("yard")
        run.show("gate", CameraState.LOST, reason="connection closed")
        yield run


@pytest.fixture
def page(run, visited):
    with client_of(run.source) as client:
        page = visited(str(client.base_url))
        yield page
        page.context.close()


def test_cameras_and_alerts_are_shown_and_come_as_they_happen(page, run):
    until(page, "!mulde.app.tiles.byName.get('yard').picture.box.classList.contains('old')")
    assert page.evaluate(IS_OLD, "gate")
    assert page.text_content("#watching-of") == "of 2 watching"
    assert "connection closed" in page.text_content(".tile.is-lost .what")
    assert page.locator("#list .row").count() == 3
    (fresh,) = run.record(9, reason="fresh")
    until(page, "document.querySelectorAll('#list .row').length === 4")
    until(page, "document.getElementById('to-look-at').textContent === '4'")
    run.show("gate", CameraState.LIVE)
    until(page, "document.querySelector('.tile.is-lost') === null")
    assert fresh in page.evaluate("mulde.app.alerts.listed.map(one => one.id)")


def test_marks_and_pauses_are_on_record(page, run):
    page.keyboard.press("s")
    until(page, "document.querySelector('#list .tag').textContent.includes('✓ seen')")
    marked = page.evaluate("mulde.app.alerts.listed[0].id")
    assert run.source.alert(marked)["mark"] == "seen"
    page.keyboard.press("u")
    until(page, "!document.querySelector('#list .tag').textContent.includes('✓')")
    assert run.source.alert(marked)["mark"] == ""
    page.click(".tile .name >> nth=0")
    page.click("#camera button:text-is('Pause')")
    until(page, "document.querySelector('#camera .large').textContent.startsWith('paused until')")
    assert run.view.paused_until("yard") is not None
    page.click("#camera button:text-is('Resume')")
    until(page, "document.querySelector('#camera .large').hidden")
    assert run.view.paused_until("yard") is None


def test_a_loop_that_hangs_leaves_no_bright_picture(page, run):
    until(page, "!mulde.app.tiles.byName.get('yard').picture.box.classList.contains('old')")
    run.clock.pass_(30.0)  # no picture has come
    until(page, "mulde.app.tiles.byName.get('yard').picture.box.classList.contains('old')")
    until(page, "document.querySelector('#problems')?.textContent.includes('has not turned')")


def test_scores_of_the_day_are_drawn(page, run):
    for i in range(50):
        run.view.scored("yard", round(1000 * run.clock.utc_s) - 1000 * i, 2.5, 0.1)
    page.evaluate("location.hash = 'camera/yard'")
    until(page, "document.querySelector('.day')?.getAttribute('aria-label').includes('highest score 2.5') ?? false")


def test_the_report_of_the_run_is_a_link_and_can_ask_the_service_for_nothing(run, visited):
    with client_of(run.source) as client:
        assert "report.html" not in client.get("/").text
        assert client.get("/report.html").status_code == 404
        script = "const say = (text) => () => { document.title = text; };"
        script += "fetch('/api/overview').then(say('came through'), say('kept out'))"
        (run.root / "report.html").write_text(f"<title>a</title><script>{script}</script>", encoding="utf-8")
        answer = client.get("/report.html")
        assert answer.headers["content-type"].startswith("text/html")
        assert "sandbox allow-scripts allow-downloads;" in answer.headers["content-security-policy"]
        page = visited(str(client.base_url), expects="Content Security Policy")
        page.click("#report")
        until(page, "document.title === 'kept out'")
        page.context.close()


def test_events_of_videos_are_marked_where_they_are_listed(scored_run, visited):
    source = ReviewSource(scored_run)
    num_events = len(source.alerts(AlertQuery(limit=200)).alerts)
    assert num_events > 1
    with client_of(source) as client:
        page = visited(str(client.base_url))
        until(page, "mulde.app.tiles.byName.get('scene').scores !== null")
        assert page.locator("#list .row").count() == num_events
        assert "scene" in page.text_content("#list .row-place >> nth=0")
        until(page, "document.querySelector('#alert .stage img')?.naturalWidth > 0")
        page.keyboard.press("s")
        until(page, "document.querySelector('#list .tag').textContent.includes('✓ seen')")
        page.click(".tile .name")
        alerts = f"'{num_events} alerts'"
        until(page, f"document.querySelector('.day')?.getAttribute('aria-label').includes({alerts}) ?? false")
        page.context.close()
    marks = [one["mark"] for one in ReviewSource(scored_run).alerts(AlertQuery(limit=200)).alerts]
    assert sorted(marks) == [""] * (num_events - 1) + ["seen"]
