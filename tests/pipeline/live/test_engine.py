"""What is watched scores as the file does, and alerts are its events."""

from __future__ import annotations

import numpy as np
import pytest

from mulde.pipeline.live.alerts import alert_id
from mulde.pipeline.live.ledger import AlertLedger
from mulde.pipeline.scoring.frames import read_scores

from .small_world import HOUR, HOUR_S, events, played, predictor, score_file, still_clocks, watch

START_S = 60.0


@pytest.mark.parametrize("name", ["model", "model10"])
def test_what_is_watched_is_what_is_scored(name, live_world, request, tmp_path):
    model = request.getfixturevalue(name)
    file = score_file(tmp_path, live_world / "scene.mkv", model)
    watch(tmp_path / "live", [played(live_world / "scene.mkv", predictor(model))], still_clocks())

    (whole,), (live,) = (list(read_scores(run / "scores").values()) for run in (file, tmp_path / "live"))
    own = slice(None) if name == "model" else whole.analysed.own
    assert live.track.video == f"yard/{HOUR}"
    np.testing.assert_allclose(live.track.time_s - START_S, whole.track.time_s[own], rtol=0, atol=1e-3)
    for column in ("fused", "smoothed", "p_value"):
        np.testing.assert_allclose(
            getattr(live.track, column), getattr(whole.track, column)[own], rtol=0, atol=1e-6, err_msg=column
        )
    for stream, scores in live.track.streams.items():
        np.testing.assert_allclose(scores, whole.track.streams[stream][own], rtol=0, atol=1e-6, err_msg=stream)

    found, expected = events(tmp_path / "live"), events(file)
    assert len(expected) >= 3
    assert len(found) == len(expected)
    for column in ("start_s", "end_s", "peak_s"):
        np.testing.assert_allclose(found[column] - START_S, expected[column], rtol=0, atol=1e-3, err_msg=column)
    for column in ("score", "p_value", "x0", "y0", "x1", "y1"):
        np.testing.assert_allclose(found[column], expected[column], rtol=0, atol=1e-6, err_msg=column)
    assert found["reason"].tolist() == expected["reason"].tolist()
    assert found["stream"].tolist() == expected["stream"].tolist()
    with AlertLedger.read(tmp_path / "live") as ledger:
        alerts = [stored.alert for stored in ledger.alerts()]
    starts = [round(1000 * (HOUR_S + start_s)) for start_s in found["start_s"]]
    assert [alert.id for alert in alerts] == [alert_id("yard", start) for start in starts]
    assert [alert.state for alert in alerts] == ["closed"] * len(expected)
    assert [alert.reason for alert in alerts] == expected["reason"].tolist()
    np.testing.assert_allclose([alert.score for alert in alerts], expected["score"], rtol=0, atol=1e-6)
    assert [(alert.end - alert.start) / 1000 for alert in alerts] == pytest.approx(
        (expected["end_s"] - expected["start_s"]).tolist(), abs=1e-3
    )
