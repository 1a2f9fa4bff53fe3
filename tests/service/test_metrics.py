"""Figures for Prometheus: the names that the documents promise, and values that only rise where they are counts."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from mulde.pipeline.live.ledger import Revision
from mulde.pipeline.live.status import CameraState, CameraStatus
from mulde.pipeline.live.view import CameraView
from tests.pipeline.live.stored_alerts import T0, alert

NAMES = {
    "mulde_camera_up", "mulde_camera_state", "mulde_camera_last_frame_timestamp_seconds", "mulde_frames_received",
    "mulde_frames_scored", "mulde_frames_skipped", "mulde_decode_errors", "mulde_connects",
    "mulde_score_latency_seconds", "mulde_alert_latency_seconds", "mulde_clock_offset_seconds", "mulde_score",
    "mulde_alarm_level", "mulde_alerts", "mulde_alerts_expected_per_hour", "mulde_deliveries", "mulde_outbox_alerts",
    "mulde_health_shift_pixels", "mulde_health_sharpness_ratio", "mulde_health_background_ratio",
    "mulde_health_brightness_ratio", "mulde_drift_evidence", "mulde_drift_threshold", "mulde_clips_bytes",
    "mulde_storage_free_bytes", "mulde_build_info",
}  # fmt: skip


def families(client):
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def values(client, name):
    """By the values of the labels, in the order of their names."""
    return {tuple(sample.labels.values()): sample.value for sample in families(client)[name].samples}


def test_the_names_and_kinds(client):
    found = families(client)
    assert set(found) == NAMES
    counters = {name for name, family in found.items() if family.type == "counter"}
    assert counters == {
        "mulde_frames_received", "mulde_frames_scored", "mulde_frames_skipped", "mulde_decode_errors",
        "mulde_connects", "mulde_alerts", "mulde_deliveries",
    }  # fmt: skip
    assert all(family.documentation for family in found.values())
    text = client.get("/metrics").text
    assert "mulde_frames_received_total{" in text


def test_cameras_by_state_and_by_what_they_skipped(run, client):
    status = CameraStatus(
        "yard", CameraState.LOST, 0.0, num_skipped={"busy": 3, "corrupt": 2, "backlog": 0}, num_received=70,
        num_connects={"ok": 2, "refused": 0, "timeout": 1, "lost": 4}, num_decode_errors=5, last_utc_s=12.5,
        clock_offset_s=-0.5,
    )  # fmt: skip
    run.views["yard"] = CameraView("yard", status, num_scored=60, score=1.5, level=6.0, expected_per_hour=0.25)
    run.view.show(list(run.views.values()))
    assert values(client, "mulde_camera_up") == {("yard",): 0, ("gate",): 1}
    states = values(client, "mulde_camera_state")
    assert {key for key, value in states.items() if value} == {("yard", "lost"), ("gate", "live")}
    assert len(states) == 2 * len(CameraState)
    skipped = values(client, "mulde_frames_skipped")
    assert (skipped["yard", "busy"], skipped["yard", "corrupt"], skipped["gate", "busy"]) == (3, 2, 0)
    assert values(client, "mulde_connects")[("yard", "lost")] == 4
    assert values(client, "mulde_frames_received")[("yard",)] == 70
    assert values(client, "mulde_frames_scored")[("yard",)] == 60
    assert values(client, "mulde_decode_errors")[("yard",)] == 5
    assert values(client, "mulde_clock_offset_seconds") == {("yard",): -0.5}
    assert values(client, "mulde_camera_last_frame_timestamp_seconds") == {("yard",): 12.5}
    assert values(client, "mulde_alerts_expected_per_hour") == {("yard",): 0.25, ("gate",): 0.25}


def test_latencies_are_counted_up_to_each_bound(run, client):
    taken = [0.01, 0.05, 0.3, 0.3, 4.0, 60.0]
    for latency_s in taken:
        run.view.scored("yard", T0, 1.0, latency_s)
    run.view.alert_opened("yard", 1.5)
    samples = families(client)["mulde_score_latency_seconds"].samples
    counts = {s.labels["le"]: s.value for s in samples if s.name.endswith("_bucket") and s.labels["camera"] == "yard"}
    for bound in ("0.05", "0.1", "0.2", "0.5", "1.0", "2.0", "5.0", "10.0", "+Inf"):
        assert counts.pop(bound) == sum(latency_s <= float(bound) for latency_s in taken), bound
    assert not counts
    totals = {(s.name, s.labels["camera"]): s.value for s in samples if "le" not in s.labels}
    assert totals["mulde_score_latency_seconds_count", "yard"] == len(taken)
    assert abs(totals["mulde_score_latency_seconds_sum", "yard"] - sum(taken)) < 1e-9
    samples = families(client)["mulde_alert_latency_seconds"].samples
    assert [s.value for s in samples if s.name.endswith("_count") and s.labels["camera"] == "yard"] == [1]


def test_alerts_by_kind_and_only_of_cameras_that_are_watched(run, client):
    run.record(0, 1)
    run.record(2, kind="flood")
    run.record(3, camera="gone")
    assert values(client, "mulde_alerts") == {("yard", "unusual"): 2, ("yard", "flood"): 1}


def test_deliveries_only_rise_though_old_ones_are_pruned(run, client):
    first = alert()
    run.ledger.record([Revision(first, ("hook", "mqtt"))])
    (delivery,) = run.ledger.pending("hook", T0, 5)
    run.ledger.failed(delivery, T0, T0, "no answer")
    (delivery,) = run.ledger.pending("hook", T0, 5)
    run.ledger.acknowledge(delivery, T0)
    (delivery,) = run.ledger.pending("mqtt", T0, 5)
    run.ledger.give_up(delivery, T0, "for good")
    expected = {
        ("acknowledged", "hook"): 1, ("failed", "hook"): 1, ("given_up", "hook"): 0,
        ("acknowledged", "mqtt"): 0, ("failed", "mqtt"): 0, ("given_up", "mqtt"): 1,
    }  # fmt: skip
    assert values(client, "mulde_deliveries") == expected
    assert values(client, "mulde_outbox_alerts") == {("hook",): 0, ("mqtt",): 0}
    run.ledger.record([Revision(first.next_revision("closed"), ("hook",))])
    run.ledger.prune(T0 + 1)
    assert values(client, "mulde_deliveries") == expected
    assert values(client, "mulde_outbox_alerts") == {("hook",): 1}


def test_health_and_drift_where_they_are_known(run, client):
    run.show("yard", health_figures={"shift_pixels": 3.5}, drift={"evidence": {"velocity": 2.0}, "threshold": 365.0})
    assert values(client, "mulde_health_shift_pixels") == {("yard",): 3.5}
    assert values(client, "mulde_drift_evidence") == {("yard", "velocity"): 2.0}
    assert values(client, "mulde_drift_threshold") == {("yard",): 365.0}
