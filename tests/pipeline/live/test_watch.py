"""`mulde watch` as a process: signals, kills, and what other commands see meanwhile."""

from __future__ import annotations

import base64
import contextlib
import json
import signal
import socket
import threading
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest

from mulde.errors import MuldeError
from mulde.pipeline.live.clips import find_clips
from mulde.pipeline.live.ledger import AlertLedger
from mulde.pipeline.live.watch import STATE
from tests.api_world import frames_of
from tests.media.media_samples import encode
from tests.media.stream_servers import PasswordProxy, Proxy, Refusal, free_port, rtsp_server
from tests.processes import Command

LIMIT_S = 120
PASSWORD = "p@ss:/?#%ü"


@pytest.fixture(scope="module")
def server(live_world, tmp_path_factory):
    """The port of a server that plays the scene over and over, as `scene.mp4`, 10 frames a second."""
    folder = tmp_path_factory.mktemp("served")
    images = [image for image, _ in frames_of(live_world / "scene.mkv")]
    encode(folder / "scene.mp4", images, rate=10, options={"g": "10", "bf": "0"})
    with rtsp_server(folder) as port:
        yield port


def scene(port: int) -> str:
    return f"rtsp://127.0.0.1:{port}/scene.mp4?play_count=100"


def write_cameras(path: Path, model: Path, cameras: dict[str, str]) -> Path:
    """A file of cameras, each with what follows its name."""
    lines = ['out = "run"', "[defaults]", f'model = "{model}"', "false_alarms_per_hour = 1200"]
    for name, rest in cameras.items():
        lines += [f"[cameras.{name}]", rest if "=" in rest.partition("\n")[0].partition("?")[0] else f'url = "{rest}"']
    path.write_text("\n".join(lines) + "\n")
    return path


def wait_for(what, why=lambda: ""):
    end_s = time.monotonic() + LIMIT_S
    while not (found := what()):
        assert time.monotonic() < end_s, why()
        time.sleep(0.05)
    return found


def state_of(run: Path) -> dict:
    with contextlib.suppress(OSError, ValueError):
        return json.loads((run / STATE).read_text())["cameras"]
    return {}


def are(run: Path, **states: str) -> bool:
    known = state_of(run)
    return all(known.get(name, {}).get("state") == state for name, state in states.items())


def ended(process: Command, code: int, run: Path) -> str:
    """What was said; it has ended by itself, and nobody had to end it for sure."""
    found, said = process.ended()
    assert found == code, said
    assert json.loads((run / STATE).read_text())["ended"], said
    return said


@contextlib.contextmanager
def service_manager(path: Path):
    """Gives the list of what it is told."""
    told: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))

        def listen():
            while (message := channel.recv(100)) != b"":
                told.append(message)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield told
        finally:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
                last.sendto(b"", str(path))
            thread.join(LIMIT_S)


def test_sigterm_ends_it_in_every_state(server, model10, tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "told"))
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, service_manager(tmp_path / "told") as told, Proxy(server) as proxy, Refusal() as refusal:
        cameras = {
            "live": scene(server),
            "stalled": scene(proxy.port),
            "refused": f"rtsp://127.0.0.1:{refusal.port}/x",
            "connecting": f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x",
            "lost": f"rtsp://127.0.0.1:{free_port()}/x",
        }
        path, run = write_cameras(tmp_path / "cameras.toml", model10, cameras), tmp_path / "run"
        with Command("watch", path, "--device", "cpu") as process:
            wait_for(
                lambda: are(run, live="live", stalled="live", refused="refused", lost="lost"), lambda: state_of(run)
            )
            proxy.flowing.clear()
            wait_for(lambda: are(run, stalled="stalled", live="live"))
            wait_for(lambda: "WATCHDOG=1" in map(bytes.decode, told))
            process.send_signal(signal.SIGTERM)
            said = ended(process, 128 + signal.SIGTERM, run)
    assert " on record: mulde alerts " in said
    assert (told[0], told[-1]) == (b"READY=1", b"STOPPING=1")
    assert len(refusal.credentials) <= 2
    with AlertLedger.read(run) as ledger:
        assert ledger.open_alerts() == []
        assert all(session.reason for session in ledger.sessions())


def test_sighup_changes_cameras_and_leaves_the_others(server, model10, tmp_path, mulde):
    path, run = tmp_path / "cameras.toml", tmp_path / "run"
    other = f"rtsp://127.0.0.1:{free_port()}/x"
    write_cameras(path, model10, {"kept": scene(server), "gone": scene(server), "changed": other})
    with Command("watch", path, "--device", "cpu") as process:
        wait_for(lambda: are(run, kept="live", gone="live", changed="lost"), lambda: state_of(run))
        before = state_of(run)["kept"]

        assert mulde("watch", "--check", "--out", run) == (0, "2 of 3 cameras live\n", "")
        code, _, err = mulde("watch", path, "--device", "cpu")
        assert (code, err.count("another process watches into")) == (2, 1)

        path.write_text("cameras = 3")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "the cameras stay as they are" in process.said.readline())
        write_cameras(path, model10, {"kept": scene(server), "changed": scene(server), "new": scene(server)})
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: are(run, kept="live", changed="live", new="live"), lambda: state_of(run))
        after = wait_for(lambda: (now := state_of(run)) and now["kept"]["num_scored"] > before["num_scored"] and now)
        assert set(after) == {"kept", "changed", "new"}
        assert after["kept"]["num_connects"]["ok"] == before["num_connects"]["ok"] == 1
        process.send_signal(signal.SIGTERM)
        ended(process, 128 + signal.SIGTERM, run)
    code, out, _ = mulde("watch", "--check", "--out", run)
    assert (code, out) == (1, "the process has ended\n")


def test_a_kill_in_the_middle_of_an_alert(server, model10, tmp_path, mulde):
    """Each id is there once, none stays open, clips are kept; other commands read the folder all the time."""
    path = write_cameras(tmp_path / "cameras.toml", model10, {"yard": scene(server), "gate": scene(server)})
    run = tmp_path / "run"

    def stored():
        with AlertLedger.read(run) as ledger:
            return [stored.alert for stored in ledger.alerts()]

    def growing():
        opened = []
        with contextlib.suppress(MuldeError):  # there is none yet, or it is just made
            opened = [alert for alert in stored() if alert.state != "closed"]
        # A piece is written each half second: before the first there is nothing to keep.
        partial = {path.name for path in run.glob("clips/*/.*.part") if path.stat().st_size > 5000}
        return next((alert for alert in opened if f".{alert.id}.mp4.part" in partial), None)

    with Command("watch", path, "--device", "cpu", "-q") as process:
        alert = wait_for(growing)
        assert mulde("alerts", run)[1].count(alert.id) == 1
        process.kill()
    before = stored()
    with Command("watch", path, "--device", "cpu", "-q") as process:
        wait_for(lambda: are(run, yard="live", gate="live"))
        wait_for(lambda: len(stored()) > len(before))
        listed = json.loads(mulde("alerts", run, "--json", "--camera", "yard", "--since", "1h")[1])
        assert {entry["camera"] for entry in listed} <= {"yard"}
        process.send_signal(signal.SIGTERM)
        ended(process, 128 + signal.SIGTERM, run)
    after = stored()
    assert len({alert.id for alert in after}) == len(after)
    assert {known.id for known in before} <= {known.id for known in after}
    assert {known.state for known in after} == {"closed"}
    killed = next(known for known in after if known.id == alert.id)
    assert killed.cut_short
    (clip,) = find_clips(run, alert.camera, alert.id)
    assert len(list(frames_of(clip))) > 0
    assert not list(run.glob("clips/*/.*.part"))
    table = pd.read_csv(run / "events.csv")
    assert len(table) == len(after)
    assert set(table["video"]) == {known.video for known in after}
    code, _, err = mulde("report", run)
    assert code == 0, err
    assert f"{len(after)} event" in err
    assert mulde("alerts", run, "--undelivered")[1] == "nothing is undelivered\n"
    lines = mulde("alerts", run)[1].splitlines()
    assert [line.rpartition("  ")[2] for line in lines] == [known.id for known in after]


def secrets(user: str) -> list[bytes]:
    raw = PASSWORD.encode()
    pair = f"{user}:".encode() + raw
    quoted = quote(PASSWORD, safe="")
    return [raw, quoted.encode(), quoted.lower().encode(), base64.b64encode(pair), base64.b64encode(raw)]


@pytest.mark.parametrize("kind", ["password_env", "password_file"])
def test_a_password_is_in_no_byte(server, model10, tmp_path, monkeypatch, kind):
    """Of what is said and written, with every log; the server that refuses is asked twice at most."""
    (tmp_path / "secret").write_text(PASSWORD + "\n")
    monkeypatch.setenv("MULDE_DEBUG", "1")
    if kind == "password_env":
        monkeypatch.setenv("CANARY", PASSWORD)
    how = {"password_env": 'password_env = "CANARY"', "password_file": 'password_file = "secret"'}[kind]
    run, said = tmp_path / "run", ""
    with PasswordProxy(server) as proxy, Refusal() as refusal:
        cameras = {
            "open": f'user = "viewer"\n{how}\nurl = "{scene(proxy.port)}"',
            "shut": f'user = "viewer"\n{how}\nurl = "rtsp://127.0.0.1:{refusal.port}/x?token=1"',
        }
        path = write_cameras(tmp_path / "cameras.toml", model10, cameras)
        with Command("watch", path, "--dry-run", "--device", "cpu") as process:
            code, said = process.ended()
            assert code == 1, said
        num_asked = len(refusal.credentials)
        with Command("watch", path, "--device", "cpu") as process:
            wait_for(lambda: are(run, open="live", shut="refused"), lambda: state_of(run))
            wait_for(lambda: state_of(run)["shut"]["num_connects"]["refused"] == 2)
            wait_for(lambda: state_of(run)["open"]["num_scored"] > 20)
            process.send_signal(signal.SIGTERM)
            said += ended(process, 128 + signal.SIGTERM, run)
        with Command("collect", path, "--out", tmp_path / "normal", "--hours", "0.001", "--share", "1") as process:
            said += process.ended()[1]
    with Command("report", run) as process:
        said += process.ended()[1]
    assert set(proxy.credentials) == set(refusal.credentials) == {f"viewer:{PASSWORD}"}
    assert num_asked <= 1
    assert len(refusal.credentials) <= num_asked + 4, "two by watch, two by collect"
    assert "DEBUG" in said or "INFO" in said, "the logs were on"
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "secret"]
    assert {"run.json", "settings.toml", STATE, "alerts.sqlite", "report.html"} <= {path.name for path in files}
    assert list((tmp_path / "normal/open").glob("*.mp4"))
    for content in (said.encode(), *(path.read_bytes() for path in files)):
        assert [secret for secret in secrets("viewer") if secret in content] == []


def test_collect_keeps_what_it_has_when_it_is_stopped(server, tmp_path):
    """One camera sends, another is not there: both are named."""
    out = tmp_path / "normal"
    lost = f'[cameras.lost]\nurl = "rtsp://127.0.0.1:{free_port()}/x"\n'
    (tmp_path / "cameras.toml").write_text(f'[cameras.yard]\nurl = "{scene(server)}"\n{lost}')
    with Command("collect", tmp_path / "cameras.toml", "--out", out, "--share", "1") as process:
        wait_for(lambda: [path for path in out.glob("yard/.*.part") if path.stat().st_size > 20_000])
        process.send_signal(signal.SIGTERM)
        code, said = process.ended()
    assert code == 128 + signal.SIGTERM, said
    (path,) = out.rglob("*.mp4")
    assert path.parent.name == "yard"
    assert len(list(frames_of(path))) > 5
    assert not list(out.rglob("*.part"))
    assert "lost: lost: rtsp://127.0.0.1" in said


def test_a_video_is_watched_to_its_end(live_world, model10, tmp_path, mulde):
    words = ["watch", live_world / "scene.mkv", "--model", model10, "--as-live", "--speed", "0", "--device", "cpu"]
    words += ["--out", tmp_path / "run", "--false-alarms-per-hour", "1200"]
    code, out, err = mulde(*words)
    assert (code, out.strip()) == (0, str(tmp_path / "run")), err
    assert mulde("alerts", tmp_path / "run")[1].count("scene-") > 0


def test_a_live_run_is_evaluated_against_a_csv_of_its_hours(live_world, model10, tmp_path, mulde):
    """Labels that are where the scores are high have an AUC of 1, and their opposite one of 0."""
    run = tmp_path / "run"
    words = ["watch", live_world / "scene.mkv", "--model", model10, "--as-live", "--speed", "0", "--device", "cpu"]
    code, _, err = mulde(*words, "--out", run, "--false-alarms-per-hour", "1200")
    assert code == 0, err
    hours = {path.relative_to(run / "scores").with_suffix("").as_posix(): path for path in run.rglob("scene/*.parquet")}
    tables = {video: pd.read_parquet(path) for video, path in hours.items()}
    level = np.median(np.concatenate([table["smoothed"] for table in tables.values()]))
    for name, auc in (("high", 1.0), ("low", 0.0)):
        rows = ["video,start_s,end_s"]
        for video, table in tables.items():
            is_anomalous = (table["smoothed"] > level) == (name == "high")
            rows += [f"{video},{time_s - 0.01},{time_s + 0.01}" for time_s in table["time_s"][is_anomalous]]
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")
        code, _, err = mulde("evaluate", run, "--labels", tmp_path / f"{name}.csv", "--bootstrap", "0")
        assert code == 0, err
        figures = json.loads((run / "metrics.json").read_text())
        by_smoothing = {row["smoothing"]: row["result"] for row in figures["rows"]}
        assert by_smoothing["causal"]["micro_auc"] == auc
    (tmp_path / "other.csv").write_text("video,start_s,end_s\nyard/20200101T00,1,2\n")
    code, _, err = mulde("evaluate", run, "--labels", tmp_path / "other.csv")
    assert code == 1
    assert "other.csv" in err
    assert "yard/20200101T00" in err
    assert "Traceback" not in err
