"""The page of the service in a real browser: what somebody who watches cameras sees and does."""

from __future__ import annotations

import pytest

from tests.browser import until, violations
from tests.service.page.conftest import NOW_MS
from tests.service.page.fake_server import DAY_MS, FakeService, alert, camera

NASTY = "<img src=x onerror=\"document.title='broken'\"></script><b>"


def rows(page) -> list[str]:
    """The sentences of the alerts in sight, from above."""
    return page.eval_on_selector_all(
        "#list .row",
        "rows => rows.sort((a, b) => a.dataset.index - b.dataset.index)"
        ".map(row => row.querySelector('.row-reason').textContent)",
    )


def tile(page, name: str):
    return page.locator(f".tile:has(bdi:text-is('{name}'))")


def reason(page) -> str:
    return page.text_content("#alert .reason")


def asked(service: FakeService, start: str) -> list[str]:
    return [path for path in service.requests if path.startswith(start)]


def test_a_glance_says_how_things_are(opened, service):
    page = opened(service)
    for name, text in [
        ("to-look-at", "4"), ("watching", "2"), ("watching-of", "of 3 watching"), ("need-a-hand", "1"),
        ("need-a-hand-text", "needs a hand"), ("alerts-today", "4"),
        ("alerts-today-text", "alerts today, 3.5 promised"),
        ("outbox", "3"), ("free", "812 GB"),
    ]:  # fmt: skip
        assert page.text_content(f"#{name}") == text
    assert page.title() == "(4) watch <b>&: mulde"
    assert page.get_attribute("#outbox-item", "title") == "mqtt: 2, hook: 1"
    assert not page.is_visible("#offline")
    assert not page.is_visible("#problems")


def test_problems_are_said_once_and_not_where_a_tile_says_them(opened, service):
    said = f"dock: {service.cameras[2]['text']}"
    service.overview = {
        "problems": ["the disk is slow", said],
        "storage": {"free_bytes": None, "clips_bytes": 0, "problem": "the disk is slow"},
    }
    page = opened(service)
    assert page.locator("#problems li").all_text_contents() == ["the disk is slow"]
    assert page.text_content("#free") == "?"


def test_a_tile_says_its_state_by_word_mark_and_border(opened, service):
    service.cameras[1] |= {"state": "stalled", "alert": "gate-x"}
    page = opened(service)
    borders = {}
    for name, word in [("yard", "● live"), ("gate", "◐ stalled"), ("dock", "✕ lost")]:
        assert tile(page, name).locator(".state").text_content() == word
        borders[name] = tile(page, name).evaluate("one => getComputedStyle(one).borderTopStyle")
    assert borders == {"yard": "solid", "gate": "double", "dock": "dashed"}
    assert tile(page, "dock").locator(".what").text_content() == "no picture since 13:48:10, try 9 in 24 s"
    assert "needs a hand" in tile(page, "dock").inner_text()
    assert "unusual" in tile(page, "gate").inner_text()
    service.send("state", camera("dock", text="", state="connecting"))
    until(page, "document.querySelectorAll('.tile')[2].textContent.includes('◌ connecting')")


def test_alerts_come_newest_first_and_keys_go_through_them(opened, service):
    page = opened(service)
    assert rows(page) == ["yard 60 s ago", "gate 120 s ago", "yard 3600 s ago", "dock 7200 s ago"]
    assert reason(page) == "yard 60 s ago"
    assert "p 4e-4 · score 8.41" in page.text_content("#list .row >> nth=0")
    for key, expected in [("j", "gate 120"), ("ArrowDown", "yard 3600"), ("k", "gate 120"), ("End", "dock 7200"),
                          ("j", "dock 7200"), ("Home", "yard 60")]:  # fmt: skip
        page.keyboard.press(key)
        assert reason(page).startswith(expected), key
    page.select_option("#filter-camera", "yard")
    until(page, "document.querySelectorAll('#list .row').length === 2")
    assert rows(page) == ["yard 60 s ago", "yard 3600 s ago"]


def test_marks_go_to_the_server_and_rows_stay_under_the_hand(opened, service):
    page = opened(service)
    page.keyboard.press("s")
    until(page, "document.querySelector('#list .tag').textContent === '✓ seen'")
    page.keyboard.press("j")
    page.keyboard.press("n")
    page.keyboard.type("a van; s j k")  # keys are letters while one writes
    page.keyboard.press("Tab")
    page.keyboard.type("ada")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('#list .tag')[1].textContent === '✓ normal here'")
    page.keyboard.press("j")
    page.keyboard.press("t")
    until(page, "document.querySelectorAll('#list .tag')[2].textContent === '✓ true'")
    ids = [one["id"] for one in service.alerts]
    assert service.posts == [
        (f"/api/alerts/{ids[0]}/mark", {"mark": "seen", "who": "", "why": ""}),
        (f"/api/alerts/{ids[1]}/mark", {"mark": "normal", "who": "ada", "why": "a van; s j k"}),
        (f"/api/alerts/{ids[2]}/mark", {"mark": "true", "who": "ada", "why": ""}),
    ]
    assert len(rows(page)) == 4
    assert "Marked as true by ada" in page.inner_text("#alert")
    page.keyboard.press("u")
    until(page, "document.querySelectorAll('#list .tag')[2].textContent === ''")
    assert service.posts[-1][1]["mark"] == ""
    page.click("button:text-is('All')")
    until(page, "document.querySelectorAll('#list .row').length === 4")
    page.click("button:text-is('To look at')")
    until(page, "document.querySelectorAll('#list .row').length === 2")
    assert rows(page) == ["yard 3600 s ago", "dock 7200 s ago"]
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.input_value("#who") == "ada"


def test_a_mark_that_is_refused_is_said_in_the_server_s_words(opened, service):
    service.refusal = "a mark: expected the name of a person, got none"
    page = opened(service)
    page.keyboard.press("s")
    until(page, "document.getElementById('status').textContent.includes('expected the name of a person')")
    assert page.text_content("#list .tag >> nth=0") == ""


def test_alerts_come_as_they_happen_over_one_connection(opened, service):
    page = opened(service)
    page.keyboard.press("j")
    fresh = alert("gate", NOW_MS, state="opened", revision=1, reason="fresh")
    service.alerts.insert(0, fresh)
    service.send("alert", fresh)
    until(page, "document.querySelectorAll('#list .row').length === 5")
    assert rows(page)[0] == "fresh"
    assert "▲ going on" in page.text_content("#list .row[data-index='0']")
    assert reason(page) == "gate 120 s ago"  # what was selected stays so
    assert page.get_attribute("#list [aria-selected=true]", "data-index") == "2"
    page.keyboard.press("Home")
    service.send("alert", fresh | {"revision": 3, "state": "closed", "reason": "over"})
    until(page, "document.querySelector('#alert .reason').textContent === 'over'")
    service.send("alert", fresh | {"revision": 2, "reason": "late"})  # delivered in the wrong order
    service.send("alert", alert("yard", NOW_MS + 1, reason="last"))
    until(page, "document.querySelectorAll('#list .row').length === 6")
    assert rows(page)[:2] == ["last", "over"]
    until(page, "document.getElementById('to-look-at').textContent === '5'")
    assert len(asked(service, "/api/stream")) == 1


def test_a_connection_that_was_lost_leaves_nothing_out(opened, service):
    page = opened(service)
    service.alerts.insert(0, alert("gate", NOW_MS, reason="missed"))
    service.cameras[0] |= {"state": "refused"}
    service.end_streams()
    until(page, "document.querySelectorAll('#list .row').length === 5")
    assert rows(page)[0] == "missed"
    until(page, "document.querySelector('.tile').textContent.includes('⊘ refused')")
    service.send("alert", alert("gate", NOW_MS + 9, reason="and on it goes"))
    until(page, "document.querySelectorAll('#list .row').length === 6")


def test_ten_thousand_alerts_are_a_handful_of_rows_and_come_page_by_page(opened, service):
    service.alerts = [alert("yard", NOW_MS - 1000 * i, reason=str(i)) for i in range(10_000)]
    service.cameras = [camera(f"cam{i}") for i in range(8)]
    page = opened(service)
    assert page.text_content("#to-look-at") == "10,000"
    assert page.locator("#list .row").count() < 20
    assert page.evaluate("document.querySelectorAll('*').length") < 700
    assert len(asked(service, "/api/alerts")) == 1
    assert len([one for one in asked(service, "/alerts/") if one.split("?")[0].endswith(".jpg")]) < 25
    for num in range(100, 600, 100):
        until(page, "num => mulde.app.alerts.listed.length >= num && !mulde.app.alerts.isLoading", num)
        page.keyboard.press("End")
    until(page, "mulde.app.alerts.listed.length >= 600")
    listed = page.evaluate("mulde.app.alerts.listed.map(one => Number(one.reason))")
    assert listed == list(range(len(listed)))
    assert page.locator("#list .row").count() < 25
    assert len(asked(service, "/api/alerts")) == len(listed) / 100


def test_scores_of_a_strip_are_the_lowest_and_the_highest_of_their_time(opened, service):
    page = opened(service)
    until(page, "mulde.app.tiles.byName.get('yard').scores !== null")
    found = page.evaluate(
        """() => {
          const scores = new (mulde.app.tiles.byName.get('yard').scores.constructor)(
            { from_utc_ms: 1000, to_utc_ms: 5000, level: 6, bins: [[1000, 1, 2], null, null, null] });
          for (const [ms, score] of [[2100, 5], [2900, 3], [2950, 7], [4999, 4], [6100, 9]]) scores.add(ms, score, 6);
          return [scores.fromMs, scores.bins];
        }"""
    )
    assert found == [3000, [None, [4999, 4, 4], None, [6100, 9, 9]]]


@pytest.mark.parametrize(("fps", "gaps"), [(10, []), (25, [1, 2, 4, 5, 6]), (None, [1, 2, 4, 5, 6])])
def test_bins_that_are_finer_than_frames_are_no_gaps(opened, service, fps, gaps):
    page = opened(service)
    until(page, "mulde.app.tiles.byName.get('yard').scores !== null")
    found = page.evaluate(
        """fps => {
          const bins = [[0, 1, 1], null, null, [120, 2, 2], null, null, null, [280, 3, 3], null];
          const scores = new (mulde.app.tiles.byName.get('yard').scores.constructor)(
            { from_utc_ms: 0, to_utc_ms: 360, level: 6, bins }, fps);
          return scores.bins.map((bin, i) => bin === null ? i : -1).filter((i) => i >= 0);
        }""",
        fps,
    )
    assert found == [*gaps, 8]


def test_a_strip_is_hatched_where_nothing_was_seen(opened, service):
    step = 30_000
    service.scores = {"yard": [[NOW_MS - step * i - 1, 1.0, 1.0] for i in range(60)]}  # the second half of the hour
    page = opened(service)
    until(page, "mulde.app.tiles.byName.get('yard').painted !== null")
    drawn = page.evaluate(
        """() => {
          const canvas = mulde.app.tiles.byName.get('yard').strip;
          const { width, height } = canvas;
          const data = canvas.getContext('2d').getImageData(0, 3, width, 6).data;
          const half = [0, 0];
          for (let i = 0; i < data.length / 4; i++) half[(i % width) >= width / 2 ? 1 : 0] += data[4 * i + 3] > 0;
          return half.map((count) => count / (data.length / 8));
        }"""
    )
    assert drawn[0] > 0.95
    assert drawn[1] < 0.35  # the level alone


def test_a_camera_has_its_day_its_health_and_its_pause(opened, service):
    midnight = NOW_MS // DAY_MS * DAY_MS
    service.scores = {"yard": [[midnight + 60_000 * i, 1.0, 3.25] for i in range(100)]}
    service.cameras[0] |= {
        "health": [{"kind": "moved", "text": "picture has moved 36 px", "since_utc_ms": midnight}],
        "skipped": {"busy": 7, "light": 0},
        "drift": {"evidence": {"velocity": 12.5}, "threshold": 365, "text": "", "refusal": "", "is_drifting": False},
    }  # fmt: skip
    page = opened(service)
    page.focus(".tile .name")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('.day')?.getAttribute('aria-label')?.includes('2 alerts') ?? false")
    assert not page.is_visible("#cameras")
    assert "highest score 3.25 · level 6" in page.inner_text("#camera")
    words = page.inner_text("#camera")
    for text in ("picture has moved 36 px, since 00:00:00", "7 busy", "velocity", "12.5 of 365", "2 of 2 fps"):
        assert text in words
    assert rows(page) == ["yard 60 s ago", "yard 3600 s ago"]
    query = asked(service, "/api/scores?camera=yard")[-1]
    assert f"from={midnight}&to={midnight + DAY_MS}" in query
    page.click("button[aria-label='The day before']")
    until(page, "document.querySelector('.day').getAttribute('aria-label').includes('nothing was seen')")
    page.select_option("#camera select", "240")
    page.click("#camera button:text-is('Pause')")
    until(page, "document.querySelector('#camera .large').textContent.startsWith('paused until')")
    assert service.posts == [("/api/cameras/yard/pause", {"minutes": 240})]
    assert tile(page, "yard").locator(".large").text_content().startswith("paused until")
    page.click("#camera button:text-is('Resume')")
    until(page, "document.querySelector('#camera .large').hidden")
    page.focus("#list")
    page.keyboard.press("Escape")
    until(page, "!document.getElementById('cameras').hidden")
    assert page.evaluate("document.activeElement.textContent") == "yard"
    until(page, "document.querySelectorAll('#list .row').length === 4")


def test_an_alert_on_the_day_s_strip_is_chosen_by_a_click(opened, service):
    page = opened(service, path="#camera/yard")
    until(page, "mulde.app.view.scores !== null && document.querySelector('.day').clientWidth > 0")
    share = (NOW_MS - 3_600_000 + 4000) % DAY_MS / DAY_MS
    box = page.locator(".day").bounding_box()
    page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
    until(page, "document.querySelector('#alert .reason').textContent === 'yard 3600 s ago'")


def test_a_clip_is_loaded_when_it_is_wanted(opened, service, square_clip):
    service.clip = square_clip.read_bytes()
    page = opened(service)
    assert page.locator("video").count() == 0
    page.keyboard.press("c")
    until(page, "document.querySelector('#alert video')?.duration > 0.7")
    assert asked(service, f"/alerts/{service.alerts[0]['id']}.mp4")
    service.send("alert", service.alerts[0] | {"revision": 3, "reason": "another sentence"})
    until(page, "document.querySelector('#alert .reason').textContent === 'another sentence'")
    assert page.locator("#alert video").count() == 1  # what is being watched stays
    service.clip = b""
    page.keyboard.press("j")
    assert page.locator("video").count() == 0
    page.click("#alert button:has-text('Clip')")
    until(page, "document.querySelector('#alert .stage').textContent.includes('not there any more')")


def test_videos_are_reviewed_in_the_same_place_without_live_parts(opened):
    service = FakeService(mode="review")
    names = ["a/walk 1.mp4", "b"]
    service.cameras = [camera(name, state="recorded", fps_wanted=None, fps_scored=None, picture_is_old=True)
                       for name in names]  # fmt: skip
    found = {"start_s": 4.0, "peak_s": 5.0, "end_s": 6.5, "id": "a/walk 1.mp4@50", "camera": names[0]}
    plain = alert(names[0], NOW_MS, reason="runs", **{key: found[key] for key in ("start_s", "peak_s", "end_s")})
    service.alerts = [{**plain, "id": found["id"]} | {"start": None}]
    for key in ("start", "peak", "end"):
        del service.alerts[0][key]
    page = opened(service)
    assert page.text_content("#list .row-place") == "a/walk 1.mp4 · 0:04.0 to 0:06.5"
    assert page.locator(".tile").count() == 2
    assert page.locator(".picture, #clock").count() == 0
    assert not asked(service, "/cameras/")
    page.keyboard.press("s")
    until(page, "document.querySelector('#list .tag').textContent === '✓ seen'")
    assert service.posts[0][0] == "/api/alerts/a/walk 1.mp4@50/mark"
    page.click(".tile .name >> nth=0")
    until(page, "document.querySelector('.day')?.getAttribute('aria-label')?.includes('1 alert') ?? false")
    assert page.locator("#camera select").count() == 0


def test_names_from_outside_stay_text(opened, service):
    service.cameras[0] |= {"name": NASTY, "text": NASTY, "health": [{"kind": NASTY, "text": NASTY}]}
    service.alerts[0] |= {"camera": NASTY, "reason": NASTY, "object": NASTY, "marked_by": NASTY, "mark": "true"}
    service.overview = {"problems": [NASTY]}
    page = opened(service)
    page.click("button:text-is('All')")
    page.click(".tile .name >> nth=0")
    until(page, "document.getElementById('camera-name') !== null")
    until(page, "document.querySelectorAll('#list .row').length === 1")
    assert page.text_content("#camera-name") == NASTY
    assert reason(page) == NASTY
    assert page.locator("img[src=x]").count() == page.locator("main b").count() == 0
    assert "broken" not in page.title()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 360])
def test_axe_finds_nothing_and_nothing_sticks_out(opened, service, scheme, width):
    service.overview = {"problems": ["a problem"]}
    service.cameras[1] |= {"paused_until_utc_ms": NOW_MS + 60_000, "state": "paused", "alert": "x"}
    service.alerts[1] |= {"mark": "normal", "exemption": "1"}
    page = opened(service, color_scheme=scheme, width=width)
    sticks_out = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    page.keyboard.press("n")
    assert not violations(page), "the cameras"
    assert page.evaluate(sticks_out) == 0
    page.evaluate("document.getElementById('offline').hidden = false")
    page.evaluate("location.hash = 'camera/yard'")
    until(page, "document.querySelector('.day') !== null")
    assert not violations(page), "a camera"
    assert page.evaluate(sticks_out) == 0
    page.click("#help")
    assert not violations(page), "help"


def test_all_can_be_done_with_the_keyboard_alone(opened, service):
    page = opened(service)
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("(one => one.id || one.textContent || one.ariaLabel)(document.activeElement)"))
    for what in ("help", "yard", "gate", "dock", "filter-camera", "list", "Seens", "Normal heren", "Truet", "Clipc"):
        assert what in reached
    page.focus("#list")
    page.keyboard.press("?")
    assert page.is_visible("#help-dialog")
    page.uncheck("#keys-on")
    page.keyboard.press("Escape")
    page.focus("#list")
    page.keyboard.press("s")
    page.keyboard.press("ArrowDown")
    assert reason(page) == "gate 120 s ago"
    assert not service.posts
