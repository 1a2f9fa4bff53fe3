"""Every setting that is given by itself has an effect, or is refused by name with what to do.

Relatives that were looked for: settings of other commands, of features or finders that are not used, of training at
`mulde score`, a section at once, options of the density, options of the command line that stand for settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from mulde.config import Settings
from mulde.errors import UsageError
from mulde.media import write_video
from mulde.pipeline.model.setting_uses import USES, check_used, scoring_settings
from mulde.settings_file import load_settings
from tests.pipeline.model.test_world import ODD, QUICK, RATE, STREAMS, scene
from tests.test_cli import run_main

READ_OTHERWISE = {"video.stream", "video.frame_rate", "video.match_training", "tracks.tracker"}
SPEED_ALONE = {"video.batch_frames", "features.batch_size", "features.precision"}
SAID_ALONE = {"health.compare"}  # tests/pipeline/test_moved_footage.py
SEEN_IN_OUTPUT = {
    "fusion.smoothing_s": 2.0, "fusion.smoothing": "causal", "alarms.false_alarms_per_hour": 900.0,
    "alarms.merge_gap_s": 30.0, "alarms.min_length_s": 60.0, "reasons.nearest": 1,
}  # fmt: skip


OTHER_VALUES = {
    "video.stream": 0, "regions.motion.blur_px": 5, "regions.motion.join_px": 0, "regions.finders": '["yolo"]',
    "regions.yolo.classes": '["car"]', "features.extractors": '["velocity"]', "features.imported": '["mine"]',
    "features.pose.class_ids": "[5]", "density.options": "{steps=7}", "fusion.only_high": '["velocity"]',
    "run.seeds": "[3]", "density.streams": "{velocity={preset='paper'}}",
    "features.prediction.options": "{side=128}", "features.prediction.maps": '["error"]',
}  # fmt: skip


def leaves(section: BaseModel, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting with another value than it has."""
    for name, value in section:
        key = f"{prefix}{name}"
        if isinstance(value, BaseModel):
            yield from leaves(value, f"{key}.")
        elif key in OTHER_VALUES:
            yield key, OTHER_VALUES[key]
        elif isinstance(value, bool):
            yield key, str(not value).lower()
        elif isinstance(value, int):
            yield key, value + (32 if name == "image_size" else 1)
        elif isinstance(value, float):
            yield key, value / 2 or 0.5
        else:
            assert isinstance(value, str)
            words = get_args(type(section).model_fields[name].annotation)
            yield key, next((one for one in words if isinstance(one, str) and one != value), "x")


ALL = dict(leaves(Settings()))


def test_the_list_of_settings_is_whole():
    assert {"video.match_training", "density.options", "run.seeds", "features.clip.weights"} <= set(ALL)
    assert len(ALL) > 60


@pytest.mark.parametrize("key", sorted(ALL))
def test_scoring_takes_a_setting_or_refuses_it_by_name(key):
    """Nothing is taken but what this page says that it does; a new setting has to be put into one of the lists."""
    try:
        scoring_settings(Settings(), [f"{key}={ALL[key]}"])
    except UsageError as error:
        refused = str(error)
    else:
        refused = ""
    assert bool(refused) == (key not in {*READ_OTHERWISE, *SPEED_ALONE, *SAID_ALONE, *SEEN_IN_OUTPUT})
    assert key.rpartition(".")[2] in refused or not refused


def test_scoring_takes_what_the_model_has_and_where_weights_lie():
    learnt = load_settings(overrides=['regions.finders=["yolo", "motion"]', "density.preset=paper"])
    assert scoring_settings(learnt, ["density.preset=paper", "fusion.combine=sum"]) == learnt
    moved = scoring_settings(learnt, ["regions.yolo.weights=/elsewhere/y.pt"])
    assert moved.regions.yolo.weights == "/elsewhere/y.pt"
    with pytest.raises(UsageError, match=r"regions.yolo.weights has no effect.*finders with \"yolo\""):
        scoring_settings(Settings(), ["regions.yolo.weights=/elsewhere/y.pt"])
    with pytest.raises(UsageError, match=r"fusion.combine cannot be changed for scoring: the model keeps the scores"):
        scoring_settings(learnt, ["fusion.combine=max"])


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("uses")
    for i in range(3):
        write_video(root / "train" / f"n{i}.mp4", iter(scene(30, seed=i, y=36 + 4 * i)), RATE)
    write_video(root / "odd.mp4", iter(np.concatenate([ODD, ODD])), RATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **options: Path(path).touch())
        run_main("train", root / "train", "--out", root / "model", "--store", root / "store", "-q", "--device", "cpu",
                 *QUICK, *STREAMS)  # fmt: skip
        common = ("--model", root / "model" / "model.safetensors", "--store", root / "store", "-q", "--device", "cpu")
        run_main("score", root / "odd.mp4", *common, "--out", root / "as-learnt")
        for key, value in SEEN_IN_OUTPUT.items():
            run_main("score", root / "odd.mp4", *common, "--out", root / key, "--set", f"{key}={value}")
    return root


@pytest.mark.parametrize("key", sorted(SEEN_IN_OUTPUT))
def test_what_scoring_takes_changes_what_comes_out(work, key):
    def outputs(run: Path) -> list[str]:
        alarm = json.loads((run / "run.json").read_text()).get("alarm", {})
        tables = [pd.read_parquet(run / "scores" / "odd.parquet").to_csv(), str(alarm.get("levels"))]
        return [*tables, *(path.read_text() for path in run.glob("events.json"))]

    assert outputs(work / key) != outputs(work / "as-learnt")
    assert load_settings(work / key / "settings.toml") != load_settings(work / "as-learnt" / "settings.toml")


def test_smoothing_is_that_of_the_normal_video_as_well(work):
    """Level and p-values come from normal video that is smoothed in the same way, or they would mean nothing."""
    strong = pd.read_parquet(work / "fusion.smoothing_s" / "scores" / "odd.parquet")
    own = pd.read_parquet(work / "as-learnt" / "scores" / "odd.parquet")
    np.testing.assert_array_equal(strong["fused"], own["fused"])
    assert strong["smoothed"].std() < 0.8 * own["smoothed"].std()
    assert not np.array_equal(strong["p_value"], own["p_value"])


@pytest.mark.parametrize(
    ("command", "change", "sentence"),
    [
        (
            "extract",
            "density.preset=paper",
            "density.preset has no effect on mulde extract. Try: give it to mulde train",
        ),
        ("extract", "video.match_training=warn", "video.match_training has no effect on mulde extract"),
        ("extract", "fusion={folds=2}", "fusion.folds has no effect on mulde extract"),
        ("train", "run.seeds=[3]", "run.seeds has no effect on mulde train. Try: give it to mulde run"),
        ("cache import", "features.velocity.bins=4", "features.velocity.bins has no effect on mulde cache import"),
        ("reproduce", "run.out=x", "run.out has no effect on mulde reproduce"),
        (
            "train",
            "regions.yolo.confidence=0.5",
            'regions.yolo.confidence has no effect: expected regions.finders with "yo',
        ),
        ("extract", "features.clip.model=x", "features.clip.model has no effect: expected clip or frame_clip"),
        ("run", "fusion.heldout_share=0.5", "fusion.heldout_share has no effect: expected fusion.folds=1 beside it"),
        (
            "train",
            "density.streams.velocity={method='mixture', preset='paper'}",
            "density.streams.velocity.preset has no effect: expected density.streams.velocity.method with presets",
        ),
        ("train", "tracks.lost_frames=4", "tracks.lost_frames has no effect: expected a tracks.tracker beside it"),
    ],
)
def test_a_command_refuses_what_it_has_no_use_for(command, change, sentence):
    with pytest.raises(UsageError) as refused:
        check_used(command, [change], load_settings(overrides=[change]))
    assert sentence in str(refused.value)


def test_a_density_of_all_streams_needs_a_stream_without_its_own():
    table = 'density.streams={velocity={method="mixture"}}'
    settings = load_settings(overrides=['features.extractors=["velocity"]', table, "density.options.steps=7"])
    with pytest.raises(UsageError, match=r"density.options.steps has no effect: expected a stream without a table"):
        check_used("train", ["density.options.steps=7"], settings)
    check_used("train", ["density.options.steps=7"], load_settings(overrides=[table, "density.options.steps=7"]))


def test_the_preset_of_the_command_line_is_no_setting_without_effect_either(mulde):
    code, _, err = mulde("train", "none", "--preset", "paper", "--set", "density.method=mixture")
    assert (code, "density.preset has no effect" in err) == (2, True)


@pytest.mark.parametrize("command", ["extract", "train", "run", "cache export"])
def test_a_file_with_all_settings_serves_every_command(mulde, tmp_path, command):
    """What `mulde settings` prints is read by all of them: they then miss their source, not their settings."""
    _, out, _ = mulde("settings")
    (tmp_path / "mine.toml").write_text(out)
    more = ["--extractor", "velocity", "--out", "x.parquet"] if command == "cache export" else []
    code, _, err = mulde(*command.split(), "none.mp4", "--config", "mine.toml", *more)
    assert code == 2
    assert "none.mp4" in err
    code, _, err = mulde(*command.split(), "none.mp4", "--set", "features.pose.margin=1", *more)
    assert code == 2
    assert "features.pose.margin has no effect: expected pose in features.extractors" in err


def test_reproduce_refuses_before_it_looks_for_the_data(mulde):
    code, _, err = mulde("reproduce", "ucsd-ped2", "--root", "nowhere", "--set", "run.out=x")
    assert code == 2
    assert "run.out has no effect on mulde reproduce" in err


def test_every_setting_has_a_command_that_uses_it():
    used = {key for key in ALL for sections, but in USES.values()
            if key not in but and any(key == one or key.startswith(f"{one}.") for one in sections)}  # fmt: skip
    assert used == set(ALL)
