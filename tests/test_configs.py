"""The configs that come with mulde: valid, complete, and saying what each setting rests on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mulde.datasets import DATASETS
from mulde.datasets.registry import find_dataset
from mulde.extractors.registry import object_centric
from mulde.pipeline.experiments.reproduce import pinned_config
from mulde.settings_file import load_settings

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_config_is_valid_and_for_a_known_data_set(path):
    settings = load_settings(path)
    name = path.stem.removesuffix("-frames")
    assert name in {find_dataset(known).config_name for known in DATASETS}
    assert settings.run.seeds == (0, 1, 2, 3, 4)
    boxes = object_centric() & {*settings.features.extractors}
    assert bool(boxes) == (not path.stem.endswith("-frames") and name != "mvtec-ad")
    assert len(boxes) in (0, len(settings.features.extractors))


def test_data_sets_that_differ_in_their_labels_alone_share_a_config():
    pinned = {name: pinned_config(name).stem for name in ("avenue-masks", "avenue-intervals", "ucsd-ped1", "ucsd-ped2")}
    assert list(pinned.values()) == ["avenue", "avenue", "ucsd-ped1", "ucsd-ped2"]


@pytest.mark.parametrize("name", ["shanghaitech", "ubnormal", "ucf-crime"])
def test_what_the_paper_reports_frame_by_frame_has_such_a_config(name):
    assert load_settings(pinned_config(name, frames=True)).features.extractors == ("video",)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_command_that_a_config_shows_finds_it(path):
    shown = re.search(r"mulde reproduce (\S+)( --frames)?", path.read_text())
    assert shown is not None
    assert pinned_config(shown[1], frames=bool(shown[2])).name == path.name


def test_the_package_and_the_checkout_have_the_same_configs():
    inside = (ROOT / "mulde" / "configs").glob("*.toml")  # a link in the checkout, copies in an sdist
    assert {path.name: path.read_text() for path in inside} == {path.name: path.read_text() for path in CONFIGS}
