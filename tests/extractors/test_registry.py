"""Every extractor keeps what its spec says; a registered one is as good as one of mulde's own."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field

from mulde.config import FeatureSettings, Settings
from mulde.errors import UsageError
from mulde.extractors.base import TrackExtractor
from mulde.extractors.descriptor import DESCRIPTOR
from mulde.extractors.registry import EXTRACTORS, RESERVED, register_extractor
from mulde.extractors.spec import ExtractorSpec, NoSettings, Shared
from mulde.extractors.wording import Comparison
from mulde.pipeline.model.setting_uses import check_used
from mulde.records import FeatureTable, Frames, Regions, Window
from mulde.section import Section
from mulde.settings_file import dump_toml, load_settings
from tests.conftest import moving_square

NUM_COLUMNS = {
    "pose": 51,
    "clip": 512,
    "frame_clip": 512,
    "backbone": 1280,
    "video": 768,
    "timm": 384,
    "frame_timm": 384,
    "prediction": 4,
    "object_prediction": 8,
}
"""Of the extractors whose weights are not at hand; all others are run."""


class OwnSettings(Section):
    size_px: int = Field(8, ge=1, le=64, description="side of what is looked at")
    also: bool = Field(False, description="an option")


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """A registry that each test has to itself."""
    monkeypatch.setattr("mulde.extractors.registry.EXTRACTORS", EXTRACTORS)
    before = dict(EXTRACTORS)
    yield EXTRACTORS
    EXTRACTORS.clear()
    EXTRACTORS.update(before)


def own(**facts: object) -> ExtractorSpec:
    return replace(
        ExtractorSpec(name="own", object_centric=True, build=DESCRIPTOR.build, settings=OwnSettings), **facts
    )


def window_of(num_boxes: int) -> tuple[Window, Regions]:
    """The frames 1 to 4 of five, and boxes in them."""
    frames = Frames(moving_square(5), np.arange(5), np.arange(5) / 25)
    box_xyxy = np.array([[8, 36, 34, 64], [60, 10, 90, 30]], np.float32)[:num_boxes]
    return Window(frames, 1, 5), Regions(
        np.tile(box_xyxy, (4, 1)), np.repeat(np.arange(1, 5), num_boxes), np.ones(4 * num_boxes, np.float32),
        np.zeros(4 * num_boxes, np.int64),
    )  # fmt: skip


def extracted(name: str, window: Window, regions: Regions) -> FeatureTable:
    extractor = EXTRACTORS[name].build(Settings().features.for_extractor(name), Shared())
    if isinstance(extractor, TrackExtractor):
        return extractor.extract_tracks(
            regions, regions.frame_index / 1.0, (regions.box_xyxy[:, 0] > 50).astype(np.int64)
        )
    return extractor.extract(window, regions)


def columns_of(name: str) -> int:
    return NUM_COLUMNS.get(name) or extracted(name, *window_of(1)).dim


@pytest.mark.parametrize("num_boxes", [0, 1, 2])
@pytest.mark.parametrize("name", sorted(EXTRACTORS.keys() - NUM_COLUMNS))
def test_there_is_a_row_for_each_box_or_each_frame_and_the_same_again(name, num_boxes):
    spec, (window, regions) = EXTRACTORS[name], window_of(num_boxes)
    tables = [extracted(name, window, regions) for _ in range(2)]
    expected = regions.frame_index if spec.object_centric else window.core_index
    if spec.needs_tracks:  # the first boxes of a track have no past
        expected = expected[expected > 2]
    np.testing.assert_array_equal(tables[0].frame_index, expected)
    np.testing.assert_array_equal(tables[0].values, tables[1].values)
    assert tables[0].dim == columns_of(name)
    assert (tables[0].box_xyxy is not None) == spec.object_centric


@pytest.mark.parametrize("name", sorted(EXTRACTORS.keys() - NUM_COLUMNS))
def test_pictures_change_rows_only_where_the_spec_says_that_they_are_needed(name):
    spec, (window, regions) = EXTRACTORS[name], window_of(2)
    blank = Window(replace(window.frames, images=np.zeros_like(window.frames.images)), window.first, window.last)
    rows, rows_of_blank = (extracted(name, of, regions).values for of in (window, blank))
    assert np.array_equal(rows, rows_of_blank) != spec.needs_pixels


@pytest.mark.parametrize("name", EXTRACTORS)
def test_what_is_built_is_what_the_spec_says(name):
    spec = EXTRACTORS[name]
    extractor = spec.build(Settings().features.for_extractor(name), Shared())
    assert (extractor.name, extractor.object_centric) == (spec.name, spec.object_centric) == (name, spec.object_centric)
    assert isinstance(extractor, TrackExtractor) == spec.needs_tracks
    assert spec.section == name or EXTRACTORS[spec.section].settings is spec.settings


@pytest.mark.parametrize("name", EXTRACTORS)
def test_columns_have_a_group_each_and_rows_have_words(name):
    spec, settings, dim = EXTRACTORS[name], Settings().features.for_extractor(name), columns_of(name)
    groups = spec.groups(dim, settings)
    assert len(groups) == dim
    rows = np.ones((20, dim), np.float32)
    comparison = Comparison(3 * rows[0], rows, rows, is_local=True, is_object=spec.object_centric, distance=7.0,
                            score_rows=lambda rows: rows.sum(axis=1), groups=[(groups[0], 1.0)])  # fmt: skip
    text, facts = spec.describe(comparison, settings)
    assert text
    assert all(isinstance(value, float) for value in facts.values())


@pytest.mark.parametrize("name", EXTRACTORS)
def test_each_requirement_is_of_a_setting_that_there_is(name):
    for need in EXTRACTORS[name].requirements:
        key, sign, _ = need.needed.partition("=")
        assert {need.key, key} <= EXTRACTORS[name].settings.model_fields.keys()
        assert sign
        of = load_settings(overrides=[f"features.{EXTRACTORS[name].section}.{need.needed}"]).features.for_extractor(
            name
        )
        assert need.holds(of)


@pytest.mark.parametrize("name", EXTRACTORS)
def test_each_is_documented(name):
    text = (Path(__file__).parents[2] / "docs/method.md").read_text(encoding="utf-8")
    assert re.search(rf"^\| {name} ", text, flags=re.MULTILINE)


def test_settings_load_no_heavy_library():
    code = (
        "import sys, mulde.settings_file as s\n"
        "s.dump_toml(s.load_settings())\n"
        "heavy = {'torch', 'torchvision', 'cv2', 'ultralytics', 'open_clip', 'timm', 'pandas', 'pyarrow', 'sklearn'}\n"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_extractor_can_take_a_key_of_all_extractors():
    assert FeatureSettings.model_fields.keys() <= {*RESERVED}


def test_a_registered_extractor_has_a_section_of_settings():
    with pytest.raises(UsageError, match=r"setting features.own: expected an existing setting"):
        load_settings(overrides=["features.own.size_px=3"])
    register_extractor(own())
    settings = load_settings(overrides=["features.own.size_px=3", 'features.extractors=["own"]'])
    assert settings.features.for_extractor("own") == OwnSettings(size_px=3)
    assert "[features.own]\n# side of what is looked at (at least 1, at most 64)\nsize_px = 3\n" in dump_toml(settings)
    for bad, sentence in {
        "features.own.size_px=0": "setting features.own.size_px: expected greater than or equal to 1, got 0",
        "features.own.sise_px=1": "setting features.own.sise_px: expected an existing setting, got 1",
        "features.own=1": "setting features.own: expected a table, got 1",
        "features.owm.size_px=1": "setting features.owm: expected an existing setting",
    }.items():
        with pytest.raises(UsageError, match=sentence):
            load_settings(overrides=[bad])


def test_its_settings_are_refused_where_they_have_no_effect():
    register_extractor(own())
    with pytest.raises(UsageError, match=r"features.own.size_px has no effect.*expected own in features.extractors"):
        check_used("extract", ["features.own.size_px=3"], load_settings(overrides=["features.own.size_px=3"]))


def test_settings_that_do_not_use_it_are_the_same_without_it():
    """So a model that does not use it can be loaded by a program that does not know it."""
    before = Settings().model_dump(mode="json")
    register_extractor(own())
    assert Settings().model_dump(mode="json") == before
    assert Settings().features.for_extractor("own") == OwnSettings()
    used = load_settings(overrides=['features.extractors=["own"]'])
    assert used.model_dump(mode="json")["features"]["own"] == {"size_px": 8, "also": False}


def test_settings_made_before_the_registration_have_its_defaults():
    settings = Settings()
    register_extractor(own())
    assert settings.features.for_extractor("own") == OwnSettings()


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (own(name="velocity"), "'velocity', section 'own': expected names that are not taken"),
        (own(name="tracks"), "'tracks', section 'own': expected names that are not taken"),
        (own(section="flow"), "section 'flow': expected names that are not taken"),
        (own(section="pose"), "features.pose: expected PoseSettings, as those of 'pose', got OwnSettings"),
    ],
)
def test_a_name_that_is_taken_is_refused(spec, sentence):
    with pytest.raises(UsageError, match=sentence):
        register_extractor(spec)
    assert EXTRACTORS["velocity"].uses_flow
    assert "own" not in EXTRACTORS


def test_registering_again_replaces_the_extractor():
    register_extractor(own())
    register_extractor(own(settings=NoSettings))
    assert EXTRACTORS["own"].settings is NoSettings


@pytest.mark.parametrize("name", ["", "Own", "../own", "own-1", "1own", "own.x", "a" * 64])
def test_a_name_that_no_stream_can_have_is_refused(name):
    with pytest.raises(UsageError, match="name of an extractor: expected lower-case letters"):
        own(name=name)


def test_another_number_of_groups_than_columns_is_refused():
    with pytest.raises(UsageError, match="column_groups of extractor 'own': expected 3 names, got 2"):
        own(column_groups=lambda dim, settings: ("a", "b")).groups(3, OwnSettings())


def test_an_extractor_that_is_not_registered_is_a_sentence():
    settings = Settings().features.model_copy(update={"extractors": ("own",)})
    with pytest.raises(UsageError, match=r"extractor 'own': expected one of velocity, .*register_extractor first"):
        settings.for_extractor("own")
