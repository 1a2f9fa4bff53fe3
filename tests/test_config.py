"""Settings: bounds, overrides, TOML there and back."""

from __future__ import annotations

import tomllib

import pytest
from pydantic import BaseModel

from mulde.config import Settings
from mulde.errors import UsageError
from mulde.extractors.motion import MotionRegions
from mulde.pipeline.extraction.registry import build_regions
from mulde.settings_file import dump_toml, load_settings


def numeric_bounds(section: BaseModel, prefix: str = ""):
    """Every (key, bad value) that the bounds of the settings must refuse."""
    for name, value in section:
        key = f"{prefix}{name}"
        if isinstance(value, BaseModel):
            yield from numeric_bounds(value, f"{key}.")
            continue
        for limit in type(section).model_fields[name].metadata:
            for kind, step in (("ge", -1), ("gt", 0), ("le", 1), ("lt", 0)):
                if (bound := getattr(limit, kind, None)) is not None:
                    yield key, bound + step


@pytest.mark.parametrize(("key", "bad"), list(numeric_bounds(Settings())))
def test_every_bound_is_kept_and_named(key, bad):
    with pytest.raises(UsageError, match=f"setting {key}: expected .* got {bad}"):
        load_settings(overrides=[f"{key}={bad}"])


def test_toml_there_and_back_changes_nothing(tmp_path):
    settings = load_settings(
        overrides=["density.preset=paper", "features.velocity.bins=1", "density.options={steps=7}", "run.seeds=[3,4]"]
    )
    path = tmp_path / "settings.toml"
    path.write_text(dump_toml(settings))
    assert load_settings(path) == settings
    assert load_settings(path) != Settings()


def test_a_stream_can_have_a_density_of_its_own(tmp_path):
    overrides = [
        "density.preset=paper",
        "density.options={steps=7}",
        'density.streams.velocity={method="neighbours", options={neighbours=3}}',
        "density.streams.geometry.options.steps=9",
        'features.imported=["my.own"]',
        'density.streams={"my.own"={method="mixture"}}',
    ]
    density = load_settings(overrides=overrides).density
    assert density.of("descriptor") is density
    assert (density.of("velocity").method, density.of("velocity").options) == ("neighbours", {"neighbours": 3})
    geometry = density.of("geometry")  # whole by itself: nothing comes from [density]
    assert (geometry.method, geometry.preset, geometry.options) == ("mulde", "fast", {"steps": 9})
    text = dump_toml(load_settings(overrides=overrides))
    assert "[density.streams.velocity.options]" in text
    (tmp_path / "s.toml").write_text(text)
    assert load_settings(tmp_path / "s.toml") == load_settings(overrides=overrides)
    assert load_settings(tmp_path / "s.toml").density.of("my.own").method == "mixture"


def test_printed_settings_name_every_key_and_its_bounds():
    text = dump_toml(Settings())
    assert tomllib.loads(text) == Settings().model_dump(mode="json")
    assert "(at least 0, at most 1)" in text


def test_fragments_are_joined_only_where_motion_is_all_there_is():
    def joined(*overrides):
        finders = build_regions(load_settings(overrides=overrides).regions).finders
        return next(finder.join_px for finder in finders if isinstance(finder, MotionRegions))

    assert joined() == 2
    assert joined('regions.finders=["yolo", "motion"]') == 0
    assert joined('regions.finders=["yolo", "motion"]', "regions.motion.join_px=5") == 5


def test_a_flow_preset_beside_the_velocity_as_older_files_have_it_is_understood():
    older = Settings.model_validate({"features": {"velocity": {"bins": 1, "flow_preset": "fast"}}})
    assert (older.features.velocity.bins, older.features.flow.preset) == (1, "fast")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            'regions.finders=["yollo"]',
            "setting regions.finders.0: expected 'yolo', 'motion' or 'imported', got 'yollo'",
        ),
        ("nonsense.key=1", "setting nonsense"),
        ("features.velocity", "expected KEY=VALUE"),
        ("regions.motion.blur_px=4", "should be odd, got 4"),
        ("regions.finders=[]", "at least 1 item"),
        (
            "density.options={}",
            "setting density.options: expected a value: tables are merged, so an empty one leaves all",
        ),
        ("features.extractors=[]", "at least one name in extractors or imported"),
        ('features.extractors=["pose", "pose"]', "each extractor once, pose is there twice"),
        ('features.imported=["regions"]', "other names for imported features than regions, which is taken"),
        ("density.streams.pose.method=mixture", "'pose' is none of them, so its table has no effect"),
        ("density.streams.velocity.method=best", "setting density.streams.velocity.method: expected 'mulde', 'msma'"),
        ("density.streams.velocity.folds=2", "setting density.streams.velocity.folds: expected an existing setting"),
        ("tracks.average_frames=2", "a tracker for average_frames = 2, as tracker = 'bytetrack'"),
    ],
)
def test_a_bad_override_is_a_sentence(override, sentence):
    with pytest.raises(UsageError, match=sentence):
        load_settings(overrides=[override])


def test_a_missing_and_a_broken_file_are_sentences(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        load_settings(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("[video\n")
    with pytest.raises(UsageError, match="is not TOML"):
        load_settings(bad)


def test_bare_words_are_strings_and_later_overrides_win():
    settings = load_settings(overrides=["video.decoder=decord", "video.decoder=pyav"])
    assert settings.video.decoder == "pyav"


def test_a_stream_that_is_none_is_answered_without_all_of_the_settings():
    with pytest.raises(UsageError) as refused:
        load_settings(overrides=['fusion.only_high=["pose"]'])
    sentence = "settings: expected fusion.only_high with streams of features.extractors, 'pose' is none of them."
    assert str(refused.value).startswith(sentence)
    assert "got" not in str(refused.value)


def test_a_path_that_is_not_utf8_is_kept_as_it_is_shown(tmp_path):
    text = dump_toml(load_settings(overrides=["run.source=/x/caf\udce9"]))
    (tmp_path / "s.toml").write_text(text, encoding="utf-8")
    assert load_settings(tmp_path / "s.toml").run.source == r"/x/caf\xe9"
