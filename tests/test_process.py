"""How a command ends: by a signal, an error, a closed pipe; and what it takes for a path, in any locale.

Relatives looked for: SIGTERM, SIGHUP, Ctrl-C, SIGHUP under nohup, a signal that a library swallows; exceptions of every
kind at the top; readers that go away (stdout, stderr); locales that are ASCII or ISO-8859-1; options that are empty,
hold a variable or a home; names that would steer a terminal in the messages of typer.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from mulde import cli
from mulde.commands import options
from mulde.process import DEBUG, run

_COMMAND = """
import os, signal, sys, time
from pathlib import Path
from mulde import process
from mulde.files import atomic_write

def command(standalone_mode):
    with atomic_write(Path(sys.argv[1]) / "a.mp4") as partial:
        partial.write_bytes(bytes(1000))
        print("ready", flush=True)
        {body}

sys.exit(process.run(command))
"""
_WAITS = "for _ in range(12000): time.sleep(0.05)"  # one long sleep would miss a signal that came just before it
_SWALLOWS = """
        while True:
            try: time.sleep(0.05)
            except KeyboardInterrupt: pass
"""


def started(folder: Path, body: str = _WAITS, before: str = "") -> subprocess.Popen[str]:
    code = before + _COMMAND.format(body=body)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_command_as_ctrl_c_does(tmp_path, number):
    before = "import signal; signal.signal(2, signal.default_int_handler)\n"  # a background job ignores it
    before += "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # and what nohup started this one
    with started(tmp_path, before=before) as process:
        process.send_signal(number)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 128 + number
    assert err == "error: stopped; what is finished is kept. Run the same command again to continue.\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_closed_terminal_does_not_end_what_nohup_started(tmp_path):
    before = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    with started(tmp_path, before=before) as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
def test_a_signal_that_a_library_swallows_ends_the_command_all_the_same(tmp_path):
    with started(tmp_path, _SWALLOWS.strip(), "import mulde.process; mulde.process._GRACE_S = 0.2\n") as process:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            ZeroDivisionError("division by zero"),
            "mulde: unexpected ZeroDivisionError: division by zero. Try: set MULDE_",
        ),
        (OSError(13, "Permission denied", "/x/lost+found"), "/x/lost+found cannot be read: Permission denied"),
        (OSError(28, "No space left on device", "/x/a.csv"), "/x/a.csv cannot be written: No space left on device"),
        (MemoryError(), "mulde: not enough memory"),
        (RecursionError("x"), "mulde: nested too deep"),
        (UnicodeEncodeError("utf-8", "a\udce9", 1, 2, "surrogates not allowed"), r"a\udce9 is not UTF-8"),
        (ValueError("a\x1b[31m\nb"), r"unexpected ValueError: a\x1b[31m\x0ab"),
    ],
)
def test_whatever_goes_wrong_is_one_sentence(capsys, error, says):
    def command(standalone_mode):
        raise error

    assert run(command) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert says in err
    assert err.count("\n") == 1


def test_the_place_of_a_bug_is_shown_to_who_asks(caplog, monkeypatch):
    monkeypatch.setenv(DEBUG, "1")

    def command(standalone_mode):
        raise ZeroDivisionError

    assert run(command) == 1
    assert "in command" in caplog.text


def test_who_stops_reading_is_no_error():
    for stream in ("stdout", "stderr"):
        code = f"""
import sys
from mulde import process
sys.exit(process.run(lambda **_: print("x" * 10**6, file=sys.{stream})))
"""
        read, write = os.pipe()
        os.close(read)
        ends = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, stream: write}
        done = subprocess.run([sys.executable, "-c", code], check=False, text=True, **ends)
        os.close(write)
        assert done.returncode == 141
        assert not done.stderr


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LANG": "de_DE.ISO-8859-1"},
    ],
    ids=str,
)
def test_names_in_any_script_are_shown_in_any_locale(tmp_path, locale):
    name = "café שלום \udce9"
    env = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHONUTF8"))}
    done = subprocess.run(
        [sys.executable, "-m", "mulde.cli", "cache", "ls", "--store", os.fsencode(tmp_path / f"{name}-")],
        env=env | locale, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"caf" in done.stderr
    assert b"xe9-" in done.stderr
    assert b"Traceback" not in done.stderr


def _paths(command: typing.Any) -> list[typing.Any]:
    hints = typing.get_type_hints(command, include_extras=True)
    annotated = [hint for hint in hints.values() if typing.get_origin(hint) is typing.Annotated]
    return [hint.__metadata__[0] for hint in annotated if "Path" in str(typing.get_args(hint)[0])]


def test_every_option_and_argument_that_is_a_path_goes_through_one_door():
    commands = [command for table in (cli.COMMANDS, cli.CACHE, cli.DATA) for command in table.values()]
    found = [info for command in commands for info in _paths(command)]
    assert len(found) > 30
    assert all(info.parser is options.path for info in found)


def test_a_path_of_an_option_or_the_environment_is_the_one_that_is_meant(mulde, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for args in (["--store=~/nowhere"], ["--store", "~/nowhere/"], []):
        monkeypatch.setenv("MULDE_STORE", "~/nowhere")
        code, _, err = mulde("cache", "ls", *args)
        assert code == 2
        assert f"no feature store at {tmp_path}/home/nowhere." in err
    for given, says in {"": "got nothing", "$HOME/x": "got $HOME", "~no-such-user/x": "no such user"}.items():
        code, _, err = mulde("cache", "ls", "--store", given)
        assert code == 2
        assert "'--store'" in err
        assert says in err
    assert not list(tmp_path.iterdir())


def test_settings_that_are_paths_know_a_home(mulde, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    _, out, _ = mulde("settings", "--set", "run.out=~/x", "--set", "regions.yolo.weights=~/w.pt")
    assert f'out = "{tmp_path}/home/x"' in out
    assert f'weights = "{tmp_path}/home/w.pt"' in out


def test_what_typer_says_steers_no_terminal(mulde):
    code, _, err = mulde("cache", "ls", "--no\x1b[31msuch")
    assert code == 2
    assert "\x1b" not in err
    assert r"--no\x1b[31msuch" in err
