"""The page of `mulde report` in a real browser: what a reviewer does, and what must not happen."""

from __future__ import annotations

import csv
import functools
import importlib.util
import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mulde.evaluation.events import find_events
from mulde.records import Frames
from mulde.report.page import ReportEvent, ReportPage, SuppressedEvent, build_page
from tests.browser import until, violations
from tests.report.conftest import RATE, event, scored

NASTY = "<img src=x onerror=\"document.title='broken'\"></script><script>document.title='broken'</script>"


def rows(page) -> list[str]:
    """The places that the rows in sight speak of, from above."""
    return page.eval_on_selector_all(
        "#events .row",
        "rows => rows.sort((a, b) => a.dataset.index - b.dataset.index)"
        ".map(row => row.querySelector('.row-place').textContent)",
    )


def headline(page) -> str:
    return page.text_content("#detail h2")


def on_curve(page, position: float, *, y: int = 60) -> tuple[float, float]:
    """Where a frame of the video lies on the screen."""
    box = page.locator("#curve").bounding_box()
    return box["x"] + page.evaluate("at => mulde.app.curve.x(at)", position), box["y"] + y


def labels_of(page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.click("#export")
    text = download.value.path().read_bytes().decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_events_are_listed_by_p_value_and_filtered(opened, small):
    page = opened(small)
    assert [row.split(" · ")[0] for row in rows(page)] == ["gate", "yard", "yard"]
    assert "moves 201 times" in page.text_content("#events .row-reason >> nth=0")
    assert headline(page) == "gate 0:08.0 to 0:09.2"
    page.select_option("#sort", "time")
    assert [row.split(" · ")[:2] for row in rows(page)] == [["yard", "0:04.0"], ["yard", "0:24.0"], ["gate", "0:08.0"]]
    page.select_option("#sort", "length")
    assert rows(page)[0] == "yard · 0:04.0 · 2 s"
    page.select_option("#filter-video", label="gate")
    assert len(rows(page)) == 1
    assert page.text_content("#num-shown") == "1 of 3 events"
    page.select_option("#filter-video", "")
    page.select_option("#filter-stream", "pose")
    assert [row.split(" · ")[0] for row in rows(page)] == ["yard", "yard"]


def test_keys_go_through_the_events_and_label_them(opened, small):
    page = opened(small)
    for key, expected in [("j", "yard 0:04.0"), ("n", "yard 0:24.0"), ("ArrowDown", "yard 0:24.0")]:
        page.keyboard.press(key)
        assert headline(page).startswith(expected)
    page.keyboard.press("r")
    page.keyboard.press("k")
    page.keyboard.press("i")
    page.keyboard.type('van, "daily"; n p k')  # keys are letters while one writes
    page.keyboard.press("Enter")
    page.keyboard.press("p")
    assert headline(page).startswith("gate")
    page.keyboard.press("r")
    page.keyboard.press("u")
    assert page.text_content("#progress") == "2 labelled"
    page.select_option("#filter-label", "normal")
    assert len(rows(page)) == 1
    labels = {label["event_id"]: label for label in labels_of(page)}
    assert set(labels) == {"yard@125", "yard@610"}
    assert list(labels["yard@125"].items())[:6] == [
        ("event_id", "yard@125"), ("video", "yard"), ("start_frame", "100"), ("end_frame", "150"), ("mark", "normal"),
        ("why", 'van, "daily"; n p k'),
    ]  # fmt: skip
    assert labels["yard@610"]["mark"] == "reviewed"
    assert np.datetime64(labels["yard@610"]["marked_at"].removesuffix("Z")) > np.datetime64("2020-01-01")


def test_marks_are_kept_and_read_back(opened, small, tmp_path):
    page = opened(small)
    page.keyboard.press("r")
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.text_content("#events .tag >> nth=0") == "✓ reviewed"
    lines = [
        "event_id,video,start_frame,end_frame,mark,why,marked_at",
        'yard@125,yard,100,150,normal,"a van,\r\nand ""late""",2026-01-02T03:04:05.000Z',
        "elsewhere@1,elsewhere,0,9,normal,,2026-01-02T03:04:05.000Z",
    ]
    path = tmp_path / "colleague.csv"
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8", newline="")
    page.set_input_files("#import-file", path)
    until(page, "document.getElementById('status').textContent.startsWith('1 label read')")
    labels = {label["event_id"]: label for label in labels_of(page)}
    assert labels["yard@125"]["why"] == 'a van,\r\nand "late"'
    assert labels["yard@125"]["marked_at"] == "2026-01-02T03:04:05.000Z"
    assert set(labels) == {"gate@210", "yard@125"}
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    page.set_input_files("#import-file", path)
    until(page, "document.getElementById('status').textContent.includes('no column event_id')")


def test_labels_of_a_video_whose_name_is_a_formula_are_no_formulas_and_read_back(opened, tmp_path):
    name, scores = "=cmd|' /C calc'!A0", np.full(400, 0.25)
    scores[100:150] = 4.0
    video = scored(name, scores)
    report = ReportPage("formulas", [video], [ReportEvent(event(video, 100, 150, 0.01))], level=2.0)
    page = opened(report)
    page.keyboard.press("i")
    page.keyboard.type("'+1")
    page.keyboard.press("Enter")
    (label,) = labels_of(page)
    assert (label["event_id"], label["video"], label["why"]) == (f"'{name}@100", f"'{name}", "''+1")
    assert label["start_frame"] == "100"
    path = tmp_path / "event_labels.csv"
    path.write_text(
        "event_id,video,start_frame,end_frame,mark,why,marked_at\r\n"
        f"'{name}@100,'{name},100,150,normal,''-2,2026-01-02T03:04:05.000Z\r\n",
        encoding="utf-8",
    )
    page.set_input_files("#import-file", path)
    until(page, "document.getElementById('status').textContent.startsWith('1 label read')")
    (label,) = labels_of(page)
    assert (label["event_id"], label["why"]) == (f"'{name}@100", "''-2")


def test_the_level_says_what_would_alarm_and_how_often_wrongly(opened, small):
    page = opened(small)
    assert page.text_content("#num-alarms") == "3"
    assert page.text_content("#false-rate") == "1.5"  # (2 + 1) / 2 h
    page.fill("#level-number", "2.9")
    page.keyboard.press("Enter")
    until(page, "document.getElementById('false-rate').textContent === '1'")  # one is seen at 2.9
    assert page.text_content("#num-alarms") == "3"
    page.fill("#level-number", "3.8")
    page.keyboard.press("Enter")
    until(page, "document.getElementById('num-alarms').textContent === '2'")
    assert page.text_content("#false-rate") == "0.5"  # none is seen at 3.8
    assert [row.split(" · ")[0] for row in rows(page)] == ["gate", "yard"]
    assert "2 alarms" in page.get_attribute("#level", "aria-valuetext")
    page.fill("#level-number", "0.4")
    page.keyboard.press("Enter")
    until(page, "document.getElementById('false-rate').textContent === '5'")
    assert page.text_content("#num-alarms") == "2"  # each video is one
    page.focus("#events")
    page.keyboard.press("a")
    until(page, "document.getElementById('num-alarms').textContent === '3'")
    page.focus("#level")
    page.keyboard.press("End")
    until(page, "document.getElementById('num-alarms').textContent === '0'")
    page.click("#level-reset")
    until(page, "document.getElementById('num-alarms').textContent === '3'")


def test_events_of_the_page_are_those_of_python(opened, small):
    rng = np.random.default_rng(5)
    videos = []
    for i, length in enumerate([1, 2, 900, 333]):
        scores = rng.normal(0, 1, length) if i % 2 else np.repeat(rng.normal(0, 1, -(-length // 7)), 7)[:length]
        videos.append(scored(f"v{i}", scores, merge_gap=int(rng.integers(0, 9)), min_length=int(rng.integers(1, 6))))
    page = opened(replace(small, videos=videos, events=[], level=None))
    low, step = page.evaluate("[mulde.app.data.grid.low, mulde.app.data.grid.step]")
    on_scores = page.evaluate("Array.from(mulde.app.data.scores.slice(100, 900)).filter((_, i) => i % 53 === 0)")
    for k in [0, 1, *rng.integers(0, 65_000, 15).tolist(), *on_scores, 65_000, 65_001]:
        found = page.evaluate(
            "k => { const f = mulde.stretchesAt(mulde.app.data, k);"
            "return f.video.map((v, i) => [v, f.start[i], f.end[i]]); }",
            k,
        )
        expected = [
            [v, one.start, one.end]
            for v, video in enumerate(videos)
            for one in find_events(
                video.track.smoothed, low + k * step, merge_gap=video.merge_gap, min_length=video.min_length
            )
        ]
        assert found == expected, k


def test_at_the_alarm_level_the_page_finds_the_events_of_the_run(opened, small):
    page = opened(small)
    columns = "f => f.video.map((v, i) => [v, f.start[i], f.end[i], f.peak[i], f.own[i]]).sort()"
    own, found = page.evaluate(
        f"""() => {{ const data = mulde.app.data, show = {columns}, k = data.grid.alarm;
        const own = show(mulde.stretchesAt(data, k)); data.grid.alarm = null;
        return [own, show(mulde.stretchesAt(data, k))]; }}"""
    )
    assert own == found


def test_hover_shows_the_numbers_of_the_frame(opened, small):
    page = opened(small)
    page.select_option("#video", label="yard")
    page.mouse.move(*on_curve(page, 600.5))
    until(page, "document.getElementById('hover').textContent.startsWith('frame 600')")
    p = 1 / (1 + np.exp(3.0))
    shown = [part.strip() for part in page.text_content("#hover").split("·")]
    assert shown == ["frame 600", "0:24.00", "score 3", f"p {p:.2g}", "velocity 2.25", "pose 0.75"]
    page.mouse.move(5, 5)
    until(page, "!document.getElementById('hover').textContent.startsWith('frame 600')")


def test_wheel_drag_buttons_and_keys_move_the_curve(opened, small):
    page = opened(small)
    page.select_option("#video", label="yard")
    view = lambda: page.evaluate("mulde.app.curve.view")  # noqa: E731
    assert view() == [0, 1000]
    page.mouse.move(*on_curve(page, 200))
    page.mouse.wheel(0, -200)
    until(page, "mulde.app.curve.view[1] - mulde.app.curve.view[0] < 700")
    start, end = view()
    assert (200 - start) / (end - start) == pytest.approx(0.2, abs=0.01)  # what is pointed at stays in its place
    page.mouse.wheel(120, 0)
    until(page, "start => mulde.app.curve.view[0] > start + 10", start)
    page.mouse.dblclick(*on_curve(page, 300))
    assert view() == [0, 1000]
    page.mouse.move(*on_curve(page, 100))
    page.mouse.down()
    page.mouse.move(*on_curve(page, 300), steps=3)
    page.mouse.up()
    assert view() == pytest.approx([100, 300], abs=2)
    page.keyboard.down("Shift")
    page.mouse.move(*on_curve(page, 150))
    page.mouse.down()
    page.mouse.move(*on_curve(page, 250), steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert view() == pytest.approx([0, 200], abs=2)
    page.click("#zoom-out")
    assert view()[1] > 300
    page.focus("#curve")
    page.keyboard.press("0")
    assert view() == [0, 1000]
    before = page.evaluate("mulde.app.curve.cursor ?? 500")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("mulde.app.curve.cursor") == before + 1
    for _ in range(20):
        page.keyboard.press("+")
    assert view()[1] - view()[0] == 12
    overview = page.locator("#overview").bounding_box()
    page.mouse.click(overview["x"] + overview["width"] - 12, overview["y"] + 10)
    assert view()[1] == 1000


def test_streams_are_switched_off_and_on(opened, small):
    page = opened(small)
    drawn = lambda: page.evaluate("document.getElementById('curve').toDataURL()")  # noqa: E731
    page.wait_for_timeout(100)
    both = drawn()
    page.click("#streams label:has-text('velocity')")
    page.wait_for_timeout(100)
    assert drawn() != both
    page.click("#streams label:has-text('velocity')")
    page.wait_for_timeout(100)
    assert drawn() == both


def test_a_click_on_the_curve_seeks_the_video(opened, small, tmp_path):
    from mulde.media import write_video

    (tmp_path / "overlays").mkdir()
    frames = np.repeat((np.arange(100, dtype=np.uint8) * 2)[:, None, None, None], 64, 1).repeat(64, 2).repeat(3, 3)
    write_video(
        tmp_path / "overlays/yard 1.mp4",
        iter(Frames(frames, np.arange(100), np.arange(100) / RATE).images),
        Fraction(25),
    )
    scores = np.full(100, 0.5)
    scores[40:60] = 4.0
    video = scored("yard 1", scores, overlay="overlays/yard%201.mp4")
    clip = (tmp_path / "overlays/yard 1.mp4").read_bytes()
    page = opened(replace(small, videos=[video], events=[ReportEvent(event(video, 40, 60, 0.1), clip=clip)]))
    page.mouse.click(*on_curve(page, 80.5))
    until(
        page,
        "(video => video && video.currentTime > 0 && video.readyState >= 2)(document.querySelector('#detail video'))",
    )
    time_s = page.evaluate("document.querySelector('#detail video').currentTime")
    assert 80 / RATE <= time_s < 81 / RATE
    page.click("#detail button:has-text('Clip')")
    until(page, "document.querySelector('#detail video')?.duration > 3.9")
    page.click("#detail button:has-text('Whole video')")
    page.focus("#events")
    page.keyboard.press(" ")
    until(page, "!document.querySelector('#detail video').paused")
    until(page, "mulde.app.curve.cursor > 42")


def test_detail_and_parts(opened, small):
    page = opened(small)
    detail = page.inner_text("#detail")
    assert "3 (p 0.011)" in detail  # exp(-3 * 3 / 2)
    assert "speed" in detail
    assert "80 %" in detail
    assert "+4.2 SD" in detail
    assert "train01, 0:04.8 (frame 120), distance 2.5" in detail
    assert "mulde overlay RUN --clips" in detail
    page.click("button:has-text('How it was made')")
    assert "Two hours of normal video were held out." in page.inner_text("#made")
    assert not page.is_visible("#review")
    page.click("button:has-text('Review')")
    page.click("button:has-text('Videos')")
    page.click("#videos .row:has-text('yard')")
    assert headline(page).startswith("yard 0:04.0")
    page.keyboard.press("?")
    assert page.is_visible("#help-dialog")
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    assert headline(page).startswith("yard 0:04.0")


def test_single_keys_can_be_switched_off(opened, small):
    page = opened(small)
    page.click("#help")
    page.uncheck("#keys-on")
    page.click("#help-dialog button")
    page.keyboard.press("j")
    assert headline(page).startswith("gate")
    page.keyboard.press("ArrowDown")
    assert headline(page).startswith("yard")


def test_suppressed_events_are_shown_and_hidden(opened, small):
    first, *rest = small.events
    events = [replace(first, event=replace(first.event, suppression="1")), *rest]
    suppressions = [
        SuppressedEvent("1", "gate@210", "in force", "ada", "2026-01-02T03:04:05Z", "a van", ("gate@210",)),
        SuppressedEvent("2", "yard@125", "proposed", "ben", "2026-01-03T03:04:05Z", "", ("yard@125", "yard@610")),
    ]
    page = opened(replace(small, events=events, suppressions=suppressions, num_alarms=(2, 0)))
    assert page.text_content("#num-alarms") == "2"
    assert page.text_content("#num-alarms-text") == "alarms, 1 suppressed"
    assert "Suppression 1, in force: ada, 2026-01-02T03:04:05Z: a van" in page.inner_text("#detail")
    page.check("#hide-suppressed")
    assert len(rows(page)) == 2
    page.click("button:has-text('Suppressions')")
    said = page.inner_text("#suppressions")
    assert "alarms would go from 2 to 0" in said
    assert "ben" in said


def test_scores_alone(opened, small):
    page = opened(replace(small, level=None, events=[], normal=None, statement=""))
    assert "no alarm level" in page.text_content("#level-note")
    assert page.text_content("#false-rate") == "?"
    assert rows(page)
    page.keyboard.press("i")  # nothing that `mulde feedback` would know
    assert not page.is_visible("#why-form")
    page.keyboard.press("r")
    assert page.text_content("#progress") == "1 labelled"


def test_uneven_times_and_missing_frames(opened, small):
    scores = np.full(60, 0.5)
    scores[30:40] = 4.0
    video = scored("uneven", scores)
    frames = np.arange(60) + (np.arange(60) >= 20) * 5
    times = np.cumsum(np.full(60, 0.1)) + (np.arange(60) >= 20) * 2
    video = replace(video, track=replace(video.track, frame_index=frames, time_s=times))
    one = replace(event(scored("uneven", np.concatenate([np.zeros(5), scores])), 35, 45, 0.1))
    page = opened(replace(small, videos=[video], events=[ReportEvent(one)]))
    page.mouse.move(*on_curve(page, 25.5))
    until(page, "document.getElementById('hover').textContent.startsWith('frame 30')")
    assert "0:04.60" in page.text_content("#hover")
    assert page.evaluate("[mulde.app.data.events[0].startAt, mulde.app.data.events[0].endAt]") == [30, 40]


def test_names_from_outside_stay_text(opened, small):
    video = scored(NASTY, np.array([0.5] * 20 + [4.0] * 9 + [0.5] * 20))
    one = ReportEvent(event(video, 20, 29, 0.1, text=NASTY, suppression="1"))
    suppressed = SuppressedEvent("1", NASTY, "in force", NASTY, NASTY, NASTY, (one.event.event_id,))
    page = opened(
        replace(small, title=NASTY, videos=[video], events=[one], suppressions=[suppressed], facts=[(NASTY, NASTY)])
    )
    for part in ("How it was made", "Suppressions", "Review", "Videos", "Events"):
        page.click(f"button:has-text('{part}') >> nth=0")
    page.keyboard.press("i")
    page.fill("#why", NASTY)
    page.keyboard.press("Enter")
    page.wait_for_timeout(50)
    assert headline(page).startswith(NASTY)
    assert "broken" not in page.title().replace(NASTY, "")
    assert page.locator("img[src=x]").count() == 0
    assert labels_of(page)[0]["why"] == NASTY


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(opened, small, scheme):
    suppressed = [SuppressedEvent("1", "gate@210", "proposed", "ada", "2026-01-02T03:04:05Z", "a van", ("gate@210",))]
    page = opened(replace(small, suppressions=suppressed), color_scheme=scheme)
    page.keyboard.press("i")
    everything = "document.querySelectorAll('main, .list').forEach(one => { one.hidden = false; })"
    page.click("button:has-text('Videos')")
    page.evaluate(everything)
    assert not violations(page), "all parts at once"
    page.click("#help")
    assert not violations(page), "help"


def test_ten_thousand_events_scroll_in_a_handful_of_rows(opened, small):
    scores = np.tile([0.5] * 5 + [4.0] * 5, 10_000)
    video = scored("long", scores, merge_gap=0)
    events = [ReportEvent(event(video, at, at + 5, 0.001 + at * 1e-6)) for at in range(5, 100_000, 10)]
    page = opened(replace(small, videos=[video], events=events))
    assert page.text_content("#num-shown") == "10,000 events"
    assert page.locator("#events .row").count() < 20
    page.focus("#events")
    page.keyboard.press("End")
    assert rows(page)[-1].startswith("long · 1:06:39")
    assert page.locator("#events .row").count() < 20
    assert page.get_attribute("#events [aria-selected=true]", "aria-posinset") == "10000"


def test_a_day_with_ten_thousand_events_is_small_opens_and_answers(chromium, tmp_path, monkeypatch):
    """How quickly is measured by benchmarks/report.py, which this runs."""
    from mulde.report import page_pictures

    benchmark = _benchmark()
    pictures = benchmark.write_pictures(tmp_path, 6)
    monkeypatch.setattr(page_pictures, "encoded", functools.cache(page_pictures.encoded))
    path = tmp_path / "day.html"
    path.write_text(build_page(benchmark.long_report(24.0, 10_000, pictures)), encoding="utf-8")
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    page = context.new_page()
    found = benchmark.measure(page, path)
    assert found["megabytes"] < benchmark.LIMITS["megabytes"]
    assert found.keys() > benchmark.LIMITS.keys()
    assert page.text_content("#num-shown") != "10,000 events"  # the slider is at its end
    context.close()


def _benchmark():
    path = Path(__file__).parents[2] / "benchmarks/report.py"
    spec = importlib.util.spec_from_file_location("report_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
