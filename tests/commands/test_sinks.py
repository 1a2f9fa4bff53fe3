"""`[[sinks]]` in a file of cameras: what is refused, in one sentence and without a secret, and `--test-sinks`."""

from __future__ import annotations

import json
import sys
import tomllib

import pytest

from mulde.pipeline.live.alerts import Alert, AlertKind, AlertState
from mulde.pipeline.live.settings import WatchSettings, read_watch_settings
from mulde.sinks import settings as sinks
from tests.media.stream_servers import free_port
from tests.sinks.receivers import http_receiver

from .test_live import CAMERA, refused


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('kind = "pigeon"', "setting sinks.0: expected"),
        ('host = "x"', "setting sinks.0"),
        ('kind = "mqtt"\nprot = "SECRET"', "setting sinks.0.mqtt.prot: expected an existing setting"),
        ('kind = "mqtt"\nport = 65536', "setting sinks.0.mqtt.port: expected less than or equal to 65535"),
        ('kind = "mqtt"\ntopic = "a/#"', "setting sinks.0.mqtt.topic"),
        ('kind = "mqtt"\ntopic = "SECRET/+"', "setting sinks.0.mqtt.topic"),
        ('kind = "mqtt"\npassword = "SECRET"', "setting password of a sink: expected password_env or password_file"),
        ('kind = "mqtt"\npassword_env = "X"', "sink mqtt: password has no effect without user"),
        ('kind = "mqtt"\nca_file = "x"', "sink mqtt: ca_file has no effect without tls = true"),
        ('kind = "mqtt"\ndiscovery_topic = "x"', "discovery_topic has no effect without home_assistant = true"),
        ('kind = "mqtt"\nuser = "me"\npassword_env = "NOT_SET"', "environment variable NOT_SET is not set"),
        (
            'kind = "mqtt"\nuser = "me"\npassword_env = "A"\npassword_file = "b"',
            "password_env or password_file, got both",
        ),
        ('kind = "mqtt"\ncommands = true\nonly = ["pigeon"]', "setting sinks.0.mqtt.only.0"),
        ('kind = "mqtt"\nat_most_per_hour = -1', "setting sinks.0.mqtt.at_most_per_hour"),
        ('kind = "mqtt"\nstates = []', "setting sinks.0.mqtt.states"),
        ('kind = "mqtt"\n[[sinks]]\nkind = "mqtt"', "names of sinks: expected each once, got mqtt twice"),
        ('kind = "webhook"', "sink webhook: expected one of url, url_env and url_file"),
        ('kind = "webhook"\nurl = "http://a"\nurl_env = "B"', "expected one of url, url_env and url_file"),
        ('kind = "webhook"\nurl = "http://me:SECRET@a/"', "carries a user, a password or a query: expected url_env"),
        ('kind = "webhook"\nurl = "http://a/?key=SECRET"', "carries a user, a password or a query: expected url_env"),
        ('kind = "webhook"\nurl = "http://[SECRET"', "carries a user, a password or a query: expected url_env"),
        ('kind = "webhook"\nurl = "http://a"\nsecret = "SECRET"', "expected secret_env or secret_file"),
        ('kind = "webhook"\nurl = "http://a"\nurls = ["SECRET"]', "expected urls_env or urls_file"),
        ('kind = "webhook"\nurl = ["SECRET"]', "setting sinks.0.webhook.url"),
        ('kind = "apprise"', "sink apprise: expected one of urls_env and urls_file"),
        ('kind = "apprise"\nurls_file = "none"', "none"),
        ('kind = "command"', "setting sinks.0.command.command"),
        ('kind = "command"\ncommand = "rm -rf SECRET"', "setting sinks.0.command.command"),
        ('kind = "command"\ncommand = []', "setting sinks.0.command.command"),
    ],
)
def test_sinks_that_cannot_be_used(mulde, tmp_path, monkeypatch, text, sentence):
    monkeypatch.delenv("NOT_SET", raising=False)
    (tmp_path / "cameras.toml").write_text(f"{CAMERA}[[sinks]]\n{text}\n")
    said = refused(mulde("watch", "cameras.toml", "--test-sinks"))
    assert sentence in said
    assert "SECRET" not in said


def test_a_program_that_is_not_there_is_an_outcome(mulde, tmp_path):
    (tmp_path / "cameras.toml").write_text(f'{CAMERA}[[sinks]]\nkind = "command"\ncommand = ["./none"]\n')
    code, out, err = mulde("watch", "cameras.toml", "--test-sinks")
    assert (code, err) == (1, "")
    assert out.startswith("command: command of sink command: expected a program that can be run, got ")


def test_sinks_are_tested_each_by_itself(mulde, tmp_path, monkeypatch):
    """One of each kind on loopback, and one that is not there: a line each."""
    (tmp_path / "alert.py").write_text(
        f"#!{sys.executable}\nimport os, shutil, sys\nopen(os.environ['OUT'], 'w').write(sys.stdin.read())\n"
        "shutil.copy(os.environ['MULDE_PICTURE'], os.environ['OUT'] + '.jpg')\n"
    )
    (tmp_path / "alert.py").chmod(0o755)
    monkeypatch.setenv("OUT", str(tmp_path / "got.json"))
    port = free_port()
    with http_receiver() as hook, http_receiver() as phone:
        monkeypatch.setenv("HOOK", hook.url("/SECRET"))
        monkeypatch.setenv("DEAD", f"http://127.0.0.1:{port}/SECRET")
        (tmp_path / "urls").write_text(f"json://127.0.0.1:{phone.port}/SECRET\n")
        (tmp_path / "cameras.toml").write_text(
            f'{CAMERA}[[sinks]]\nkind = "webhook"\nurl_env = "HOOK"\nonly = ["drift"]\n'
            '[[sinks]]\nkind = "webhook"\nname = "dead"\nurl_env = "DEAD"\n'
            '[[sinks]]\nkind = "apprise"\nurls_file = "urls"\n'
            '[[sinks]]\nkind = "command"\ncommand = ["./alert.py"]\n'
        )
        code, out, err = mulde("watch", "cameras.toml", "--test-sinks")
        assert (code, err) == (1, "")
        webhook, dead, apprise, command = out.splitlines()
        assert (webhook, apprise, command) == (
            "webhook: acknowledged",
            "apprise: acknowledged",
            "command: acknowledged",
        )
        assert dead.startswith(f"dead: http://127.0.0.1:{port}: ")
        assert "SECRET" not in out
        ((_, headers, body),) = hook.requests
        assert json.loads(phone.requests[0][2])["title"].startswith("Test: mulde-test: ")
        (tmp_path / "cameras.toml").write_text(f'{CAMERA}[[sinks]]\nkind = "webhook"\nurl_env = "HOOK"\n')
        assert mulde("watch", "cameras.toml", "--test-sinks") == (0, "webhook: acknowledged\n", "")
    assert headers["Mulde-Test"] == "1"
    for text in (body.decode(), (tmp_path / "got.json").read_text()):
        assert "nothing happened" in Alert.from_json(text).reason
    assert (tmp_path / "got.json.jpg").read_bytes().startswith(b"\xff\xd8")


def test_a_test_without_sinks_is_refused(mulde, tmp_path):
    (tmp_path / "cameras.toml").write_text(CAMERA)
    for words in (("cameras.toml",), ("rtsp://127.0.0.1/x", "--model", "m")):
        assert "expected a file with [[sinks]], got none" in refused(mulde("watch", *words, "--test-sinks"))


def test_the_example_shows_every_kind_with_every_setting(mulde, tmp_path):
    (tmp_path / "cameras.toml").write_text(mulde("watch", "--settings")[1])
    shown = tomllib.loads((tmp_path / "cameras.toml").read_text())["sinks"]
    read = read_watch_settings(tmp_path / "cameras.toml").sinks
    assert [sink["kind"] for sink in shown] == ["mqtt", "webhook", "apprise", "command"]
    for table, sink in zip(shown, read, strict=True):
        assert set(table) == set(type(sink).model_fields)
    assert WatchSettings.model_validate({"sinks": shown}).sinks == read


def test_paths_are_those_beside_the_file(tmp_path):
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "cameras.toml").write_text(
        f'{CAMERA}[[sinks]]\nkind = "command"\ncommand = ["./alert.py", "./as it is"]\n'
        '[[sinks]]\nkind = "command"\nname = "found"\ncommand = ["python3"]\n'
        '[[sinks]]\nkind = "apprise"\nurls_file = "urls"\n'
    )
    own, found, apprise = read_watch_settings(folder / "cameras.toml").sinks
    assert own.command == (str(folder / "alert.py"), "./as it is")
    assert found.command == ("python3",)
    assert apprise.urls_file == str(folder / "urls")


def test_the_room_of_sinks_knows_the_kinds_and_states_of_alerts():
    assert (sinks.Kind, sinks.State) == (AlertKind, AlertState)
