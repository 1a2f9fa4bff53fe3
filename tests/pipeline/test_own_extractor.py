"""Extractors that a program registers go through extract, train, score and reasons like mulde's own."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mulde.errors import BundleError
from mulde.extractors.boxes import crop
from mulde.extractors.registry import EXTRACTORS
from mulde.extractors.spec import ExtractorSpec
from mulde.media import write_video
from mulde.pipeline.events.tables import read_events
from mulde.pipeline.model.bundle import load_bundle
from mulde.records import FeatureTable
from tests.conftest import moving_square
from tests.test_cli import run_main

COLOURS = ("red", "green", "blue")
RATE = Fraction(25)


class Colour:
    """Mean RGB of each box, or of the whole frame, 0 to 1."""

    before = after = 0

    def __init__(self, name, object_centric):
        self.name, self.object_centric = name, object_centric

    def fingerprint(self):
        return {"extractor": self.name, "version": 1}

    def extract(self, window, regions):
        if not self.object_centric:
            images = window.frames.images[window.first : window.last]
            values = np.array([image.mean(axis=(0, 1)) / 255 for image in images], np.float32)
            return FeatureTable(values.reshape(-1, 3), window.core_index)
        boxes = zip(regions.box_xyxy, regions.frame_index, strict=True)
        means = [crop(window.image(frame), box).mean(axis=(0, 1)) / 255 for box, frame in boxes]
        return FeatureTable(np.array(means, np.float32).reshape(-1, 3), regions.frame_index, regions.box_xyxy)


def describe(comparison, settings):
    difference = comparison.row - np.median(comparison.usual, axis=0)
    column = int(np.abs(difference).argmax())
    whose = "its" if comparison.is_object else "the whole picture's"
    return f"{whose} {COLOURS[column]} is unusual", {"difference": float(difference[column])}


def spec_of(name, object_centric):
    return ExtractorSpec(
        name=name,
        object_centric=object_centric,
        build=lambda settings, shared: Colour(name, object_centric),
        column_groups=lambda dim, settings: COLOURS,
        describe=describe,
    )


@pytest.mark.parametrize(("name", "object_centric"), [("colour", True), ("tint", False)])
def test_a_registered_extractor_gives_the_reason(monkeypatch, tmp_path, name, object_centric):
    monkeypatch.setitem(EXTRACTORS, name, spec_of(name, object_centric))
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **options: Path(path).touch())
    for i in range(3):
        write_video(tmp_path / "normal" / f"n{i}.mp4", iter(moving_square(40, seed=i)), RATE)
    turns_yellow = moving_square(80, seed=7)
    turns_yellow[40:][turns_yellow[40:].min(axis=3) > 120, 2] = 0
    write_video(tmp_path / "yellow.mp4", iter(turns_yellow), RATE)
    common = ("--store", tmp_path / "store", "--device", "cpu", "-q")
    quick = (f'features.extractors=["{name}"]', "density.method=mixture", "fusion.folds=1")
    settings = [argument for setting in quick for argument in ("--set", setting)]

    run_main("extract", tmp_path / "normal", *common, *settings[:2])
    run_main("train", tmp_path / "normal", "--out", tmp_path / "model", *common, *settings)
    model = tmp_path / "model" / "model.safetensors"
    run_main("score", tmp_path / "yellow.mp4", "--model", model, "--out", tmp_path / "run", *common)

    events = read_events(tmp_path / "run")
    assert events
    reason = events[0].reason
    assert reason.stream == name
    assert {group for group, _ in reason.groups} == {*COLOURS}
    assert reason.text == (
        "moving object: its blue is unusual" if object_centric else "the whole picture's blue is unusual"
    )
    assert reason.facts["difference"] < 0
    assert (reason.region is not None) == object_centric

    monkeypatch.delitem(EXTRACTORS, name)
    with pytest.raises(
        BundleError, match=rf"{model}, its extractor '{name}': expected .*call register_extractor before"
    ):
        load_bundle(model)
