"""Alerts to a real program: what it is given, what its end means, and that it ends."""

from __future__ import annotations

import json
import os
import sys
import threading
from dataclasses import replace

import pytest

from mulde.errors import UsageError
from mulde.sinks.command import CommandSink
from mulde.sinks.message import SinkError
from mulde.sinks.settings import CommandSettings
from tests.pipeline.live.fake_cameras import wait_until

from .receivers import message


def program(folder, text):
    path = folder / "alert me.py"
    path.write_text(f"#!{sys.executable}\nimport json, os, sys, time, subprocess\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_program_gets_the_json_the_picture_and_its_arguments_as_they_are(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"jpeg")
    words = program(
        tmp_path,
        "out = {'alert': json.load(sys.stdin), 'words': sys.argv[1:], 'picture': os.environ['MULDE_PICTURE'],"
        " 'test': os.environ.get('MULDE_TEST')}\n"
        f"open({str(tmp_path / 'got')!r}, 'w').write(json.dumps(out))",
    )
    arguments = ("$HOME; echo *", "a b")
    sink = CommandSink(CommandSettings(command=(words, *arguments)), threading.Event())
    sent = message(picture=tmp_path / "a.jpg")
    sink.deliver(sent)
    assert json.loads((tmp_path / "got").read_text()) == {
        "alert": json.loads(sent.json), "words": list(arguments), "picture": str(tmp_path / "a.jpg"), "test": None,
    }  # fmt: skip
    sink.deliver(replace(sent, picture=tmp_path / "none.jpg", is_test=True))
    got = json.loads((tmp_path / "got").read_text())
    assert (got["picture"], got["test"]) == ("", "1")


def test_an_exit_code_that_is_not_0_is_tried_again(tmp_path):
    sink = CommandSink(CommandSettings(command=(program(tmp_path, "sys.exit(3)"),)), threading.Event())
    with pytest.raises(SinkError, match=r"^alert me.py: exit code 3$") as caught:
        sink.deliver(message())
    assert caught.value.retry == "message"


def test_a_program_that_does_not_read_acknowledges_all_the_same(tmp_path):
    sink = CommandSink(CommandSettings(command=(program(tmp_path, "sys.exit(0)"),)), threading.Event())
    sink.deliver(message(reason="x" * 1_000_000))


@pytest.mark.parametrize("why", ["time", "stop"])
def test_a_program_that_hangs_is_ended_with_what_it_has_started(tmp_path, why):
    stop = threading.Event()
    text = (
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        f"os.rename({str(tmp_path / 'pids')!r}, {str(tmp_path / 'done')!r})\ntime.sleep(600)"
    )
    timeout_s = 30.0 if why == "stop" else 3.0
    sink = CommandSink(CommandSettings(command=(program(tmp_path, text),), timeout_s=timeout_s), stop)
    failures = []

    def deliver():
        with pytest.raises(SinkError) as caught:
            sink.deliver(message())
        failures.append(caught.value)

    thread = threading.Thread(target=deliver)
    thread.start()
    while thread.is_alive() and not (tmp_path / "done").exists():
        thread.join(0.01)
    if why == "stop":
        stop.set()
    thread.join()
    assert failures[0].retry == "message"
    assert ("ended after 3 s" if why == "time" else "ended with mulde") in str(failures[0])
    if (tmp_path / "done").exists():  # on a machine too busy to start it in time there is nothing to look for
        for pid in map(int, (tmp_path / "done").read_text().split()):
            wait_until(lambda pid=pid: is_gone(pid))


def is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return not os.path.exists(f"/proc/{pid}")


def test_a_program_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match=r"command of sink command: expected a program that can be run, got .*none"):
        CommandSink(CommandSettings(command=(str(tmp_path / "none"),)), threading.Event())
    path = program(tmp_path, "")
    sink = CommandSink(CommandSettings(command=(path,)), threading.Event())
    os.unlink(path)
    with pytest.raises(SinkError, match="No such file") as caught:
        sink.deliver(message())
    assert caught.value.retry == "reconnect"
