from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mulde.errors import RecordError
from mulde.records import ScoreTrack
from mulde.report.page import ReportEvent, SuppressedEvent, build_page, report_id
from tests.report.conftest import event, scored

NASTY = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


def payload(page: str) -> dict:
    text = re.search(r'id="payload">([^<]*)<', page)[1]
    return json.loads(zlib.decompress(base64.b64decode(text)))


def test_the_page_asks_no_network_for_anything(small):
    page = build_page(small)
    assert "http://www.w3.org/2000/svg" in page  # the name of a kind of markup
    assert not re.findall(r"https?://(?!www\.w3\.org)|//cdn|@import|url\(", page)
    assert not re.findall(r"<(?:link|iframe|object|embed|base)\b|<script[^>]+src", page)


def test_names_from_outside_are_never_markup(small):
    video = scored(NASTY, np.array([0.0, 3.0, 3.0, 0.0]))
    report = replace(
        small, title=NASTY, videos=[video], events=[ReportEvent(event(video, 1, 3, 0.1, text=NASTY))],
        statement=NASTY, facts=[(NASTY, NASTY)], texts=[(NASTY, NASTY)], remarks=[NASTY],
        suppressions=[SuppressedEvent(NASTY, NASTY, "proposed", NASTY, NASTY, NASTY, (NASTY,))],
    )  # fmt: skip
    page = build_page(report)
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>") == 4
    assert payload(page)["videos"][0]["name"] == NASTY


def test_the_policy_allows_the_page_s_own_script_and_style_alone(small):
    page = build_page(small)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "connect-src" not in policy  # so default-src holds


def test_the_payload_has_the_events_in_their_order(small):
    found = payload(build_page(small))
    assert [one["id"] for one in found["events"]] == ["gate@210", "yard@125", "yard@610"]
    assert found["events"][0]["reason"]["nearest"] == [[4, "train01", 120, 4.8, 2.5]]
    assert [video["name"] for video in found["videos"]] == ["yard", "gate"]
    assert [stream["name"] for stream in found["streams"]] == ["velocity", "pose"]
    assert found["grid"]["alarm_level"] == 2.0
    assert found["normal"]["hours"] == 2.0


def test_without_an_alarm_level_the_page_starts_at_the_99th_percentile(small):
    found = payload(build_page(replace(small, level=None, events=[], normal=None)))
    scores = np.concatenate([video.track.smoothed for video in small.videos])
    assert found["grid"]["alarm"] is None
    start = found["grid"]["low"] + found["grid"]["start"] * found["grid"]["step"]
    assert start == pytest.approx(np.quantile(scores, 0.99), abs=1e-3)


def test_streams_that_not_every_video_has_are_left_out(small):
    first, second = small.videos
    only = replace(second.track, streams={"pose": second.track.fused})
    found = payload(build_page(replace(small, videos=[first, replace(second, track=only)])))
    assert [stream["name"] for stream in found["streams"]] == ["pose"]


def test_a_report_of_nothing(small):
    found = payload(build_page(replace(small, videos=[], events=[], level=None)))
    assert found["videos"] == found["events"] == []


def test_an_empty_video(small):
    none = np.zeros(0)
    track = ScoreTrack("still", none.astype(np.int64), none, none, none, {"velocity": none, "pose": none}, none)
    empty = replace(small.videos[0], track=track, truth=())
    assert payload(build_page(replace(small, videos=[*small.videos, empty])))["videos"][2]["num_frames"] == 0


def test_an_event_of_no_video_is_refused(small):
    with pytest.raises(RecordError, match=r"expected one of its videos, got one of gate"):
        build_page(replace(small, videos=small.videos[:1]))


def test_the_id_holds_while_scores_and_events_are_the_same(small):
    assert report_id(small) == report_id(replace(small, title="another", statement=""))
    assert report_id(small) != report_id(replace(small, events=small.events[:2]))


def test_scripts_and_styles_can_stand_in_a_page():
    for path in (Path(__file__).parents[2] / "mulde").glob("*/*/*.[jc]s*"):
        assert "</" not in path.read_text(encoding="utf-8").replace("</code", ""), path
        assert "innerHTML" not in path.read_text(encoding="utf-8"), path
