"""`mulde watch` as a process with sinks: what receivers get of real alerts, and what stays secret."""

from __future__ import annotations

import json
import signal
import sys

import pytest

from mulde.pipeline.live.alerts import Alert
from mulde.pipeline.live.ledger import AlertLedger
from tests.media.stream_servers import free_port
from tests.processes import Command
from tests.sinks.receivers import HttpReceiver, http_receiver

from .test_watch import are, ended, scene, server, wait_for, write_cameras

__all__ = ["server"]  # a fixture
SECRET = "S3CRET-path"


@pytest.fixture
def receivers(monkeypatch):
    with http_receiver() as hook, http_receiver() as phone:
        monkeypatch.setenv("HOOK", hook.url(f"/{SECRET}"))
        monkeypatch.setenv("HOOK_KEY", SECRET)
        monkeypatch.setenv("APPRISE", f"json://127.0.0.1:{phone.port}/{SECRET}")
        yield hook, phone


def got(receiver: HttpReceiver) -> list[Alert]:
    return [Alert.from_json(body.decode()) for _, _, body in list(receiver.requests)]


def test_receivers_get_all_of_every_alert_and_no_secret_gets_out(server, model10, tmp_path, monkeypatch, receivers):
    """One of them is away, and one is named later, by SIGHUP."""
    hook, phone = receivers
    monkeypatch.setenv("MULDE_DEBUG", "1")
    script = tmp_path / "alert.py"
    script.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"open({str(tmp_path / 'lines')!r}, 'a').write(sys.stdin.read())\n"
        "assert open(os.environ['MULDE_PICTURE'], 'rb').read(2) == b'\\xff\\xd8'\n"
    )
    script.chmod(0o755)
    cameras = {"yard": scene(server), "lost": f"rtsp://127.0.0.1:{free_port()}/x"}
    path, run = write_cameras(tmp_path / "cameras.toml", model10, cameras), tmp_path / "run"
    with_hook = path.read_text() + '[[sinks]]\nkind = "webhook"\nurl_env = "HOOK"\nsecret_env = "HOOK_KEY"\n'
    path.write_text(with_hook + '[[sinks]]\nkind = "command"\ncommand = ["./alert.py"]\n')
    hook.answers += [(503, {})] * 2
    with Command("watch", path, "--device", "cpu") as process:
        wait_for(lambda: len(hook.requests) > 4 and {one.state for one in got(hook)} >= {"opened", "closed"})
        num_lines = wait_for(lambda: (tmp_path / "lines").exists() and (tmp_path / "lines").read_text().count("\n"))
        path.write_text(with_hook + '[[sinks]]\nkind = "apprise"\nurls_env = "APPRISE"\n')
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: phone.requests)
        process.send_signal(signal.SIGTERM)
        said = ended(process, 128 + signal.SIGTERM, run)
    with AlertLedger.read(run) as ledger:
        alerts = {stored.alert.id: stored.alert for stored in ledger.alerts()}
        known = {(d.alert, d.revision) for d in ledger._deliveries("sink = 'webhook'", {})}
        assert ledger.outbox_counts().keys() <= {"command"}, said  # the end of what it knew, for when it comes back
    assert {(one.id, one.revision) for one in got(hook)} == known
    assert len(hook.accepted) == len(hook.requests) - 2, "but for those that were answered by 503"
    assert {one.id for one in got(hook)} == alerts.keys()
    assert {one.id for one in got(hook) if one.state == "closed"} == alerts.keys()
    assert num_lines > 0
    titles = {json.loads(body)["title"] for _, _, body in phone.requests}  # one that was open may be told of its end
    assert titles <= {"yard: something unusual", "yard: something unusual, over"}
    assert "sink webhook: reached again" in said
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    for content in (said.encode(), *(path.read_bytes() for path in files)):
        assert SECRET.encode() not in content
    assert "DEBUG" in said or "INFO" in said, "the logs were on"


def test_a_receiver_that_is_silent_holds_up_no_end(server, model10, tmp_path, receivers):
    hook, _ = receivers
    hook.is_silent.set()
    path, run = write_cameras(tmp_path / "cameras.toml", model10, {"yard": scene(server)}), tmp_path / "run"
    path.write_text(path.read_text() + '[[sinks]]\nkind = "webhook"\nurl_env = "HOOK"\ntimeout_s = 100\n')
    with Command("watch", path, "--device", "cpu", "-q") as process:
        wait_for(lambda: hook.requests)
        wait_for(lambda: are(run, yard="live"))  # it is watched all the same
        process.send_signal(signal.SIGTERM)
        ended(process, 128 + signal.SIGTERM, run)
    with AlertLedger.read(run) as ledger:
        assert ledger.outbox_counts()["webhook"].num_waiting > 0
        assert ledger.open_alerts() == []


def test_a_file_whose_sinks_are_wrong_changes_nothing(server, model10, tmp_path, receivers):
    hook, _ = receivers
    path = write_cameras(tmp_path / "cameras.toml", model10, {"yard": scene(server)})
    path.write_text(path.read_text() + '[[sinks]]\nkind = "webhook"\nurl_env = "HOOK"\n')
    good = path.read_text()
    with Command("watch", path, "--device", "cpu") as process:
        wait_for(lambda: hook.requests)
        path.write_text(good + '[[sinks]]\nkind = "command"\ncommand = ["./none"]\n')
        process.send_signal(signal.SIGHUP)
        line = ""
        while "stay as they are" not in line:
            line = process.said.readline()
        assert "command of sink command: expected a program that can be run" in " ".join(line.split())
        num_before = len(hook.requests)
        wait_for(lambda: len(hook.requests) > num_before)
        process.send_signal(signal.SIGTERM)
        ended(process, 128 + signal.SIGTERM, tmp_path / "run")
