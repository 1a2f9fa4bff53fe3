"""What `mulde watch`, `alerts` and `collect` refuse, each in one sentence, and what they print without a camera."""

from __future__ import annotations

import json
import tomllib

import pytest

from mulde.pipeline.live.ledger import AlertLedger, Revision
from tests.pipeline.live.stored_alerts import T0, alert


def refused(ran: tuple[int, str, str]) -> str:
    """The one sentence on standard error."""
    code, out, err = ran
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    return err.removeprefix("error: ")


CAMERA = '[cameras.yard]\nurl = "rtsp://127.0.0.1/x"\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected a table [cameras.NAME] for each camera, got none"),
        (CAMERA, "camera yard: expected a model, its own or that of [defaults], got none"),
        (CAMERA + 'model = "none.safetensors"', "none.safetensors: expected a model.safetensors, got no such file"),
        ('[cameras.yard]\nurl = "rtsp://me:secret@127.0.0.1/x"\nmodel = "m"', "carries a user or a password"),
        ('[cameras.yard]\nurl = "rtsp://127.0.0.1/x?password=secret"\nmodel = "m"', "carries a user or a password"),
        (CAMERA + 'model = "m"\npassword_env = "NOT_SET_HERE"', "environment variable NOT_SET_HERE is not set"),
        (CAMERA + 'model = "m"\npassword_env = "A"\npassword_file = "b"', "password_env or password_file, got both"),
        (CAMERA + 'model = "m"\npassword_file = "none"', "none"),
        ('[cameras."a b"]\nurl = "rtsp://127.0.0.1/x"', "a b"),
        ('[cameras."../x"]\nurl = "rtsp://127.0.0.1/x"', "../x"),
        (CAMERA + CAMERA.replace("yard", "Yard"), "names that differ in more than case, got yard, Yard"),
        (CAMERA + 'modell = "m"', "modell"),
        (CAMERA + "[defaults]\npre_roll_s = -1", "pre_roll_s"),
        ("[cameras.yard", "cameras.toml"),
    ],
)
def test_files_of_cameras_that_cannot_be_used(mulde, tmp_path, text, sentence):
    (tmp_path / "cameras.toml").write_text(text)
    said = refused(mulde("watch", "cameras.toml"))
    assert sentence in said
    assert "secret" not in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "a file of cameras, or an address"),
        (("rtsp://127.0.0.1/x",), "its --model, got none"),
        (("rtsp://me:secret@127.0.0.1/x", "--model", "m"), "carries a user or a password"),
        (("ftp://127.0.0.1/x", "--model", "m"), "The address of a camera is of another kind"),
        (("cameras.toml", "--model", "m"), "--model has no effect on a file of cameras"),
        (("cameras.toml", "--user", "me"), "--user has no effect on a file of cameras"),
        (("cameras.toml", "--false-alarms-per-hour", "1"), "--false-alarms-per-hour has no effect"),
        (("cameras.toml", "--max-delay-s", "1"), "--max-delay-s has no effect on a file of cameras"),
        (("rtsp://127.0.0.1/x", "--model", "m", "--speed", "2"), "--speed has no effect without --as-live"),
        (("rtsp://127.0.0.1/x", "--model", "m", "--loop"), "--loop has no effect without --as-live"),
        (("none.mp4", "--model", "m", "--as-live"), "expected a video file, got none"),
        (("clip.mp4", "--model", "m", "--as-live", "--user", "me"), "--user has no effect with --as-live"),
        (("rtsp://127.0.0.1/x", "--model", "m", "--user", "me"), "MULDE_CAMERA_PASSWORD"),
    ],
)
def test_words_that_cannot_be_used(mulde, tmp_path, monkeypatch, words, sentence):
    monkeypatch.delenv("MULDE_CAMERA_PASSWORD", raising=False)
    (tmp_path / "cameras.toml").write_text(CAMERA)
    said = refused(mulde("watch", *words))
    assert sentence in said
    assert "secret" not in said


def test_the_example_is_a_file_of_cameras(mulde, tmp_path):
    code, out, _ = mulde("watch", "--settings")
    assert code == 0
    assert set(tomllib.loads(out)) == {"out", "defaults", "keep", "service", "cameras", "sinks"}
    (tmp_path / "cameras.toml").write_text(out)
    assert "YARD_PASSWORD is not set" in refused(mulde("watch", "cameras.toml"))


def test_nobody_watches(mulde, tmp_path):
    (tmp_path / "cameras.toml").write_text('out = "elsewhere"\n' + CAMERA)
    code, out, _ = mulde("watch", "cameras.toml", "--check")
    assert (code, out) == (1, f"nobody watches into {tmp_path / 'elsewhere'}\n")
    assert mulde("watch", "--check") == (1, "nobody watches into runs/watch\n", "")
    (tmp_path / "live.json").write_text('{"schema": 1}')
    assert mulde("watch", "--check", "--out", ".") == (1, "live.json is damaged\n", "")
    (tmp_path / "live.json").write_text('{"utc_s": 1, "cameras": {}}')
    code, out, _ = mulde("watch", "--check", "--out", ".")
    assert (code, out.startswith("the loop has not turned for ")) == (1, True)


@pytest.fixture
def ledger(tmp_path):
    with AlertLedger.open(tmp_path) as ledger:
        ledger.record([Revision(alert(reason="moves fast"), ("hook",)), Revision(alert(start=T0 + 60_000))])
        ledger.record([Revision(alert(camera="gate", start=T0 - 86_400_000))])
        ledger.record([Revision(alert(2, "closed", camera="gate", start=T0 - 86_400_000, cut_short=True))])
        yield ledger


def test_alerts_are_listed(mulde, ledger, monkeypatch):
    monkeypatch.setattr("time.time", lambda: T0 / 1000 + 3600)
    code, out, _ = mulde("alerts", ".")
    assert code == 0
    assert out.splitlines() == [
        "2026-11-28T13:56:41.300Z  yard  opened, 1.0 s  moves fast  yard-20261128T135641300Z",
        "2026-11-28T13:57:41.300Z  yard  opened, 1.0 s  unusual  yard-20261128T135741300Z",
        "2026-11-27T13:56:41.300Z  gate  closed, cut short, 2.0 s  unusual  gate-20261127T135641300Z",
    ]
    assert len(mulde("alerts", ".", "--camera", "gate")[1].splitlines()) == 1
    assert len(mulde("alerts", ".", "--since", "2h")[1].splitlines()) == 2
    assert mulde("alerts", ".", "--camera", "none")[1] == "no alerts\n"
    listed = json.loads(mulde("alerts", ".", "--json", "--camera", "gate")[1])
    assert [(entry["id"], entry["covered_by"]) for entry in listed] == [("gate-20261127T135641300Z", "")]
    code, out, _ = mulde("alerts", ".", "--undelivered")
    assert (code, out.splitlines()) == (
        0,
        [
            "hook: waiting 1 since 2026-11-28T13:56:42.300Z, given up 0",
            "hook  yard-20261128T135641300Z revision 1  waiting, 0 tries",
        ],
    )
    (delivery,) = json.loads(mulde("alerts", ".", "--undelivered", "--json")[1])
    assert delivery["json"]["id"] == "yard-20261128T135641300Z"


def test_the_schema_is_printed_without_a_run_folder(mulde):
    code, out, _ = mulde("alerts", "--json-schema")
    assert code == 0
    assert json.loads(out)["title"] == "Alert"


def test_what_alerts_and_collect_refuse(mulde, tmp_path):
    assert "expected an age such as 24h" in refused(mulde("alerts", ".", "--since", "yesterday"))
    code, _, err = mulde("alerts", ".")
    assert code == 1
    assert "the folder of a mulde watch" in err
    (tmp_path / "file").touch()
    words = ("collect", "rtsp://127.0.0.1/x")
    assert "expected a folder, or nothing yet, got a file" in refused(mulde(*words, "--out", "file"))
    code, _, err = mulde(*words, "--share", "2")
    assert (code, "Invalid value for '--share'" in err) == (2, True)
    assert "carries a user or a password" in refused(mulde("collect", "rtsp://a:secret@127.0.0.1/x"))
