"""From a run folder to its page."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from mulde.errors import MuldeError, UsageError
from mulde.evaluation.protocol import evaluate_tracks
from mulde.files import write_json
from mulde.pipeline.events.tables import picture_path, write_events
from mulde.pipeline.review.report import run_report
from mulde.pipeline.scoring.frames import write_scores
from mulde.progress import Reporter
from mulde.records import LabelTrack, ScoredVideo
from tests.report.test_page import payload
from tests.report.test_page_pictures import picture

QUIET = Reporter(quiet=True)


@pytest.fixture
def run(tmp_path, small):
    """A run folder with scores, events, an alarm, a picture, a clip, an overlay and settings."""
    root = tmp_path / "yard run"
    for video in small.videos:
        write_scores(ScoredVideo(video.track, 2.0, 0, video.rate), root / "scores")
    events = [one.event for one in small.events]
    write_events(events, root)
    alarm = {
        "merge_gap_s": 1.0, "min_length_s": 0.2, "levels": {"causal": {"alarm": 9.0}, "centred": {"alarm": 2.0}},
        "statement": "Two hours.", "normal": {"levels": [3.0], "num_events": [1], "hours": 2.0},
    }  # fmt: skip
    write_json(
        root / "run.json", {"mulde": "0.1.0", "command": ["score", "a b"], "versions": {"torch": "2"}, "alarm": alarm}
    )
    (root / "settings.toml").write_text("[video]\n")
    thumbnail = picture_path(root / "thumbnails", events[0], ".jpg")
    thumbnail.parent.mkdir(parents=True)
    picture(thumbnail, 320, 180)
    clip = picture_path(root / "clips", events[0], ".mp4")
    clip.parent.mkdir(parents=True)
    clip.write_bytes(b"a clip")
    (root / "overlays").mkdir()
    (root / "overlays/gate.mp4").touch()
    (root / "normal").mkdir()
    picture(root / "normal/4.jpg", 320, 180)
    return root


def pictures(page: str) -> dict:
    return json.loads(re.search(r'id="pictures">(.*?)</script>', page)[1])


def test_a_run_folder_becomes_one_page(run):
    path = run_report(run, None, QUIET, embed_clips=False)
    assert path == run / "report.html"
    page = path.read_text(encoding="utf-8")
    found, shown = payload(page), pictures(page)
    assert [one["id"] for one in found["events"]] == ["gate@210", "yard@125", "yard@610"]
    assert found["events"][0]["picture"] == "thumbnails/gate/000210.jpg"
    assert found["events"][0]["clip"] == "clips/gate/000210.mp4"
    assert found["events"][1]["clip"] is None
    assert [(v["name"], v["overlay"]) for v in found["videos"]] == [("gate", "overlays/gate.mp4"), ("yard", None)]
    assert [(v["merge_gap"], v["min_length"]) for v in found["videos"]] == [(25, 5)] * 2
    assert found["grid"]["alarm_level"] == 2.0
    assert [one is not None for one in shown["events"]] == [True, False, False]
    assert set(shown["normal"]) == {"4"}
    assert shown["clips"] == [None] * 3
    for said in ("yard run", "Two hours.", "score a b", "[video]", "&#34;torch&#34;: &#34;2&#34;"):
        assert said in page


def test_clips_are_put_into_the_page_on_request(run):
    page = run_report(run, None, QUIET, embed_clips=True).read_text(encoding="utf-8")
    assert pictures(page)["clips"] == ["YSBjbGlw", None, None]


def test_clips_that_do_not_fit_are_left_out_and_said(run, monkeypatch, capsys):
    monkeypatch.setattr("mulde.pipeline.review.report.MAX_CLIP_BYTES", 5)
    page = run_report(run, None, QUIET, embed_clips=True).read_text(encoding="utf-8")
    assert pictures(page)["clips"] == [None] * 3
    assert "3 of 3 events are without a clip in the page" in " ".join(capsys.readouterr().err.split())


def test_links_lead_from_where_the_page_lies(run, tmp_path):
    path = run_report(run, tmp_path / "elsewhere/page.html", QUIET, embed_clips=False)
    link = payload(path.read_text(encoding="utf-8"))["events"][0]["clip"]
    assert link == "../yard%20run/clips/gate/000210.mp4"
    assert (path.parent / link.replace("%20", " ")).is_file()


def test_score_tables_alone(run, tmp_path):
    path = run_report(run / "scores", tmp_path / "page.html", QUIET, embed_clips=False)
    found = payload(path.read_text(encoding="utf-8"))
    assert found["events"] == []
    assert found["grid"]["alarm"] is None
    assert found["normal"] is None
    assert [video["merge_gap"] for video in found["videos"]] == [25, 25]  # the usual second


def test_truth_that_an_evaluation_left_is_shaded(run):
    write_json(run / "truth.json", {"gate": [[3, 9]]})
    found = payload(run_report(run, None, QUIET, embed_clips=False).read_text(encoding="utf-8"))
    assert [video["truth"] for video in found["videos"]] == [[[3, 9]], []]


def test_figures_are_those_of_the_evaluation(run, small):
    scores = {video.track.video: video.track.fused for video in small.videos}
    labels = {name: LabelTrack(name, one > 2) for name, one in scores.items()}
    levels = {"centred": {"alarm": 2.0}}
    evaluation = evaluate_tracks(scores, labels, 2.0, rates=25.0, levels=levels, bootstrap=20)
    write_json(run / "metrics.json", evaluation.to_dict())
    page = run_report(run, None, QUIET, embed_clips=False).read_text(encoding="utf-8")
    assert "beside scores that never look at the video" in page
    assert f"{100 * evaluation.rows[0].result.micro_auc:.2f}" in page
    assert "ramp" in page


def test_figures_of_another_version_are_named(run):
    write_json(run / "metrics.json", {"rows": [{"smoothing": "raw"}]})
    page = run_report(run, None, QUIET, embed_clips=False).read_text(encoding="utf-8")
    assert "mulde evaluate writes it again" in page


def test_events_of_videos_without_scores_are_left_out_and_said(run, small, capsys):
    (run / "scores/gate.parquet").unlink()
    found = payload(run_report(run, None, QUIET, embed_clips=False).read_text(encoding="utf-8"))
    assert [one["id"] for one in found["events"]] == ["yard@125", "yard@610"]
    assert "1 events are of videos without scores" in capsys.readouterr().err


def test_what_is_no_run_folder_is_refused(tmp_path, run):
    with pytest.raises(MuldeError, match="no score tables in"):
        run_report(tmp_path / "nothing", None, QUIET, embed_clips=False)
    several = tmp_path / "several"
    for seed in (0, 1):
        (several / f"seed-{seed}").mkdir(parents=True)
    with pytest.raises(UsageError, match=r"expected one of them, got seed-0, seed-1"):
        run_report(several, None, QUIET, embed_clips=False)
    (run / "truth.json").write_text("{")
    with pytest.raises(MuldeError, match=r"truth.json is not JSON .*mulde evaluate"):
        run_report(run, None, QUIET, embed_clips=False)


def test_a_run_whose_model_came_without_normal_video(run, small):
    record = json.loads((run / "run.json").read_text())
    del record["alarm"]
    write_json(run / "run.json", record)
    (run / "events.json").unlink()
    found = payload(run_report(run, None, QUIET, embed_clips=False).read_text(encoding="utf-8"))
    assert found["grid"]["alarm"] is None
    assert np.isfinite(found["grid"]["start"])


def test_suppressions_in_force_name_what_they_cover(run, small):
    suppressions = pytest.importorskip("mulde.pipeline.events.suppression")
    events = [one.event for one in small.events]
    write_events([replace(events[0], suppression="1"), *events[1:]], run)
    word = suppressions.Suppression(
        id="1", event_id="gate@210", video="gate", start_frame=201, end_frame=231, stream="velocity", who="ada",
        when="2026-01-02T03:04:05+00:00", why="a van", applied="2026-01-02T03:05:00+00:00",
    )  # fmt: skip
    try:
        suppressions.write_suppressions([word], run / "exemptions.json")
    except NotImplementedError:
        pytest.skip("suppressions are not written yet")
    found = payload(run_report(run, None, QUIET, embed_clips=False).read_text(encoding="utf-8"))
    assert [(one["state"], one["who"], one["covers"]) for one in found["suppressions"]] == [
        ("in force", "ada", ["gate@210"])
    ]
