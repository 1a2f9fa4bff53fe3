"""100 settings files and `--set` values that nobody should write: each is read, or refused with a sentence.

Relatives looked for: numbers of thousands of digits, nan, infinities and dates where a number, a text, a list or an
option of a density is expected; deep arrays, tables and keys; other encodings; keys twice; what is no file, or a huge
one.
"""

from __future__ import annotations

import os
import random
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import tomli_w

from mulde.config import Settings
from mulde.errors import UsageError
from mulde.pipeline.training.fit import check_density
from mulde.settings_file import dump_toml, load_settings

VALUES = (
    "9" * 5000, "-" + "9" * 4000, "0x" + "f" * 5000, "nan", "-inf", "1e400", "1979-05-27", "07:32:00", "[]", "{}",
    "true", '""', '"x"', "[[[]]]", "[" * 3000, "[" * 100 + "]" * 100, '"\\u0000"', '"\\ud800"', "'''\n'''", "-1",
    "1_0", "{a = 1}", '["velocity", 7]', "[{}]", "1.5", "2099-99-99", "", "=", '"a" b', "nonsense", "\x7f",
)  # fmt: skip


def leaves(table: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in table.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [f"{prefix}{key}"]
    return found


KEYS = leaves(Settings().model_dump(mode="json"))


def changed(rng: random.Random) -> bytes:
    """The default settings with a value replaced, a line doubled, or bytes cut, flipped or put in."""
    data = bytearray(dump_toml(Settings()).encode())
    lines = [line for line in dump_toml(Settings()).splitlines() if line and not line.startswith("#")]
    match rng.randrange(5):
        case 0:
            return bytes(data[: rng.randrange(len(data))])
        case 1:
            for _ in range(rng.randint(1, 5)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            return bytes(data)
        case 2:
            at = rng.randrange(len(data))
            return (
                bytes(data[:at])
                + rng.choice([b"\xff\xfe", b"\0", b"[" * 5000, b"a." * 5000, b"\n[video]\n"])
                + data[at:]
            )
        case 3:
            lines.insert(rng.randrange(len(lines)), rng.choice(lines))
            return "\n".join(lines).encode()
    at = rng.choice([i for i, line in enumerate(lines) if " = " in line])
    lines[at] = f"{lines[at].partition(' = ')[0]} = {rng.choice(VALUES)}"
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def attempt(call: Callable[[], Any]) -> tuple[Any, str]:
    """What a call gave, or the sentence of its refusal."""
    try:
        return call(), ""
    except UsageError as error:
        return None, str(error)


@pytest.mark.parametrize("case", range(100))
def test_changed_settings_are_read_or_refused(tmp_path, case):
    rng = random.Random(case)
    (tmp_path / "s.toml").write_bytes(changed(rng))
    override = f"{rng.choice(KEYS)}{rng.choice(['', '.x', '.'])}={rng.choice(VALUES)}"
    for options in ({"path": tmp_path / "s.toml"}, {"overrides": [override]}):
        settings, sentence = attempt(lambda options=options: load_settings(**options))
        if settings is None:
            assert 20 < len(sentence) < 1500
            continue
        assert load_settings(base=settings) == settings
        assert tomllib.loads(tomli_w.dumps(settings.model_dump(mode="json")))  # what was taken can be written
        assert len(attempt(lambda settings=settings: check_density(settings.density))[1]) < 1500


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("run.seeds=[" + "9" * 5000 + "]", "setting run.seeds cannot be read (Exceeds the limit"),
        ("run.seeds=[0x" + "9" * 5000 + "]", "setting run.seeds cannot be read: expected whole numbers of 64 bits"),
        ("run.seeds=[4294967296]", "setting run.seeds.0: expected less than or equal to 4294967295"),
        ("video.frame_rate=nan", "setting video.frame_rate: expected a finite number, got nan"),
        ("density.options={lr=inf}", "setting density.options: expected finite numbers"),
        ("density.options={lr=1979-01-01}", "setting density.options: expected finite numbers"),
        ("density.options=" + "[" * 3000, "setting density.options is nested too deep"),
        ("density.options=" + "[" * 70 + "]" * 70, "setting density.options is nested too deep"),
        ("a." * 5000 + "b=1", "expected KEY=VALUE, such as density.preset=paper, got a longer one"),
        ('regions.yolo.weights="a\\u0000"', "setting regions.yolo.weights: expected text without a NUL"),
        ("features={velocity={flow_preset='fast'}, flow=3}", "setting features.flow: expected a table, got 3"),
        ("video.colour=1", "setting video.colour: expected an existing setting"),
    ],
    ids=lambda text: text[:30],
)
def test_the_sentence_names_the_setting(override, sentence):
    with pytest.raises(UsageError) as refused:
        load_settings(overrides=[override])
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "options",
    ["{hidden=5}", "{steps='x'}", "{lr=-1}", "{nonsense=1}", "{aggregate=[]}", "{hidden=[1.5]}", "{lr=[[1]]}"],
)
@pytest.mark.parametrize("command", ["train", "run"])
def test_options_that_the_density_does_not_take_are_refused_before_any_work(mulde, tmp_path, options, command):
    code, _, err = mulde(command, tmp_path, "--set", f"density.options={options}", "--out", "out")
    assert (code, "Traceback" in err, (tmp_path / "out").exists()) == (2, False, False), err
    assert options.strip("{}").partition("=")[0] in err or "density.options" in err


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "huge", "none"])
def test_what_is_no_settings_file_is_refused_at_once(mulde, tmp_path, kind):
    path = tmp_path / "s.toml"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "folder":
            path.mkdir()
        case "huge":
            with path.open("wb") as file:
                file.truncate(2**30)
    code, _, err = mulde("settings", "--config", path)
    assert (code, "Traceback" in err) == (2, False), err
    assert "s.toml" in err.replace(" ", "")
