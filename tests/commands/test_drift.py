"""What `mulde drift` prints and writes of a run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mulde.images import read_image, write_png
from mulde.pipeline.live.daily_scores import OBJECTS
from mulde.pipeline.live.ledger import AlertLedger, Revision
from mulde.pipeline.live.utc import DAY_MS
from tests.pipeline.live.stored_alerts import alert
from tests.pipeline.live.stored_days import DAY0, normal_days, write_days


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A camera that has changed after 16 of 26 days, one that has not, and one that was just added."""
    root = tmp_path_factory.mktemp("watched") / "watch"
    values = normal_days(26, hours=slice(0, 24, 6))
    values["velocity"][16:, 6] += 4
    values["velocity"][16:, 12] += 4
    write_days(root, "yard", values)
    calm = normal_days(26, seed=1, hours=slice(0, 24, 6))
    write_days(root, "gate", {"geometry": calm["geometry"]})
    write_days(root, "door", {name: each[:3] for name, each in calm.items()})
    return root


def test_it_says_what_has_changed_since_when_and_what_to_do(mulde, run, tmp_path):
    code, out, err = mulde("drift", run, "--days", 60, "--out", tmp_path / "out", "-q")
    assert code == 3  # one camera could not be tested
    words = " ".join(out.replace("│", " ").split())
    assert "yard: 26 days, 2026-09-04 to 2026-09-29" in words
    assert "more unusual, since about 2026-09-" in words
    assert "06 and 12 h UTC" in words
    assert "What to do: look at yard." in words
    assert "What to do: look at gate." not in words
    assert "On average at least 60 days to a false notice of a camera, if days are exchangeable" in words
    assert "door" in err
    assert "7 days of reference and one more to compare with them, got 3 whole days" in err
    cameras = {each["camera"]: each for each in json.loads((tmp_path / "out/drift.json").read_text())}
    assert cameras.keys() == {"yard", "gate", "door"}
    assert cameras["yard"]["streams"]["velocity"]["evidence"] >= cameras["yard"]["threshold"] == 180
    assert cameras["gate"]["streams"]["geometry"]["drifts"] == []
    assert cameras["yard"]["streams"].keys() == {"velocity", "geometry", OBJECTS}
    for name in ("yard", "gate"):
        assert read_image(tmp_path / f"out/{name}.png").shape[2] == 3
    assert not (tmp_path / "out/door.png").exists()


def test_json_is_what_the_file_holds_of_tested_cameras(mulde, run, tmp_path):
    code, out, _ = mulde("drift", run, "--days", 60, "--out", tmp_path / "out", "--json", "-q")
    assert code == 3
    written = json.loads((tmp_path / "out/drift.json").read_text())
    assert json.loads(out) == [each for each in written if not each["refusal"]]


def test_pictures_of_then_and_now_are_those_of_alerts(mulde, run, tmp_path):
    code, _, err = mulde("drift", run, "--days", 60, "--out", tmp_path / "none")
    assert code == 3
    assert "yard: no alert left a picture of before" in err
    assert "yard: no alert left a picture of since" in err
    plain = read_image(tmp_path / "none/yard.png").shape
    with AlertLedger.open(run) as ledger:
        for day in (3, 25):
            one = alert(start=(DAY0 + day) * DAY_MS)
            ledger.record([Revision(one)])
            write_png(run / "alerts" / f"{one.id}.png", np.full((40, 60, 3), 200, np.uint8))
            (run / "alerts" / f"{one.id}.png").rename(run / "alerts" / f"{one.id}.jpg")
    code, _, err = mulde("drift", run, "--days", 60, "--out", tmp_path / "both")
    assert "no alert left" not in err
    assert read_image(tmp_path / "both/yard.png").shape[0] > plain[0]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("none",), 1, "when its videos were taken is not known"),
        (("none", "--reference-days", 3), 2, "expected at least 7, as no fewer show a week, got 3"),
        (("none", "--days", 0), 2, "--days"),
    ],
)
def test_words_that_cannot_be_used(mulde, words, code, sentence):
    found, out, err = mulde("drift", *words)
    assert (found, out) == (code, "")
    assert sentence in err
    assert "Traceback" not in err


def test_a_file_in_the_place_of_the_folder_is_refused(mulde, run, tmp_path):
    (tmp_path / "out").write_text("mine")
    code, _, err = mulde("drift", run, "--out", tmp_path / "out")
    assert code == 2
    assert "expected a folder, or nothing yet, got a file" in err
    assert (tmp_path / "out").read_text() == "mine"
