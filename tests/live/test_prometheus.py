"""Figures and rules as Prometheus takes them: its own `promtool` says so. Debian: prometheus.

`make test` leaves these out; `make test-live` runs them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from mulde.pipeline.live.ledger import Revision
from tests.pipeline.live.stored_alerts import alert
from tests.service.served_runs import client_of, watched_run

if shutil.which("promtool") is None:
    assert not os.environ.get("MULDE_REQUIRE_LIVE"), "no promtool. Debian: prometheus"
    pytest.skip("promtool is not installed. Debian: prometheus", allow_module_level=True)

DOCKER = Path(__file__).parents[2] / "docker"
RULES = DOCKER / "alerts.yml"


def promtool(*words: object, given: str = "") -> str:
    done = subprocess.run(["promtool", *map(str, words)], input=given, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def figures(tmp_path):
    with watched_run(tmp_path / "run") as run:
        run.ledger.record([Revision(alert(), ("mqtt",))])
        run.show("yard", health_figures={"shift_pixels": 1.0}, drift={"evidence": {"velocity": 1.0}, "threshold": 9.0})
        run.view.scored("yard", 0, 1.0, 0.3)
        with client_of(run.source) as client:
            yield client.get("/metrics").text


def test_the_figures_are_as_prometheus_wants_them(figures):
    assert promtool("check", "metrics", given=figures) == ""


def test_the_rules_are_sound_and_ask_for_figures_that_there_are(figures):
    assert "6 rules found" in promtool("check", "rules", RULES)
    asked = set(re.findall(r"mulde_\w+", " ".join(rule["expr"] for rule in rules())))
    assert asked <= set(re.findall(r"^(mulde_\w+)", figures, re.MULTILINE))


def rules() -> list[dict]:
    return yaml.safe_load(RULES.read_text())["groups"][0]["rules"]


SERIES = {
    "MuldeCameraDown": ({'mulde_camera_up{camera="yard"}': "0x40"}, {'mulde_camera_up{camera="yard"}': "1x40"}),
    "MuldeScoresLate": (
        {
            'mulde_score_latency_seconds_bucket{camera="yard",le="2.0"}': "0+0x40",
            'mulde_score_latency_seconds_bucket{camera="yard",le="5.0"}': "0+60x40",
            'mulde_score_latency_seconds_bucket{camera="yard",le="+Inf"}': "0+60x40",
        },
        {
            'mulde_score_latency_seconds_bucket{camera="yard",le="2.0"}': "0+60x40",
            'mulde_score_latency_seconds_bucket{camera="yard",le="5.0"}': "0+60x40",
            'mulde_score_latency_seconds_bucket{camera="yard",le="+Inf"}': "0+60x40",
        },
    ),
    "MuldeFramesSkipped": (
        {
            'mulde_frames_skipped_total{camera="yard",reason="busy"}': "0+20x40",
            'mulde_frames_scored_total{camera="yard"}': "0+100x40",
        },
        {
            'mulde_frames_skipped_total{camera="yard",reason="busy"}': "0+5x40",
            'mulde_frames_scored_total{camera="yard"}': "0+100x40",
        },
    ),
    "MuldeAlertsNotDelivered": (
        {'mulde_outbox_alerts{sink="mqtt"}': "1x40"},
        {'mulde_outbox_alerts{sink="mqtt"}': "1 0 3 0 1 0 0 1 0 2 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1 0 1"},
    ),
    "MuldeDiskFull": ({"mulde_storage_free_bytes": "1000000000x40"}, {"mulde_storage_free_bytes": "9000000000x40"}),
    "MuldeNothingScored": (
        {'mulde_frames_scored_total{camera="yard"}': "7x40"},
        {'mulde_frames_scored_total{camera="yard"}': "0+10x40"},
    ),
}


@pytest.mark.parametrize("name", SERIES)
def test_each_rule_fires_when_it_should_and_else_not(name, tmp_path):
    bad, good = SERIES[name]
    for series, fires in ((bad, True), (good, False)):
        found = fired(tmp_path, name, series)
        assert found == fires, (name, series)


def fired(folder: Path, name: str, series: dict[str, str]) -> bool:
    """Whether a rule has fired after half an hour, as promtool finds when it is told that none does."""
    test = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": key, "values": value} for key, value in series.items()],
                "alert_rule_test": [{"eval_time": "29m", "alertname": name, "exp_alerts": []}],
            }
        ],
    }
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump(test))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 or "got:" in done.stdout + done.stderr, done.stdout + done.stderr
    return done.returncode != 0


def test_the_rules_are_those_of_the_document():
    document = (DOCKER.parent / "docs/live.md").read_text()
    for rule in rules():
        assert f"`{rule['alert']}`" in document


def test_prometheus_takes_the_configuration(tmp_path):
    text = (DOCKER / "prometheus.yml").read_text()
    for place in ("/etc/prometheus/alerts.yml", "/run/secrets/token"):
        assert place in text
    (tmp_path / "token").write_text("x")
    config = text.replace("/etc/prometheus/alerts.yml", str(RULES)).replace(
        "/run/secrets/token", str(tmp_path / "token")
    )
    (tmp_path / "prometheus.yml").write_text(config)
    promtool("check", "config", tmp_path / "prometheus.yml")


def test_the_compose_file_has_its_parts():
    compose = yaml.safe_load((DOCKER / "compose.yml").read_text())
    assert set(compose["services"]) == {"watch", "mqtt", "prometheus"}
    for service in compose["services"].values():
        assert service["healthcheck"]["test"][0] == "CMD"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert compose["services"]["watch"]["hostname"] == "watch"
