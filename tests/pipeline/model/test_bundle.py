"""The bundle: read back equal, of an older version as well, refused by name when it is newer or damaged."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.numpy import save_file

from mulde import __version__
from mulde.errors import BundleError
from mulde.evaluation.conformal import NormalVideo
from mulde.pipeline.model.bundle import SCHEMA_VERSION, Stream, load_bundle
from mulde.pipeline.model.bundle_file import StreamFacts
from mulde.pipeline.model.calibration import Calibration, Surprise
from mulde.settings_file import load_settings

VERSION_1 = Path(__file__).resolve().parents[2] / "data" / "bundle-v1.safetensors"
"""Written by the first release; the rows and scores beside it are that release's own."""


@pytest.fixture(scope="module")
def golden():
    return json.loads(VERSION_1.with_suffix(".json").read_text())


@pytest.fixture
def changed(tmp_path):
    """Writes a copy of the bundle whose header went through `change`."""

    def write(change):
        with safe_open(VERSION_1, framework="np") as file:
            header = json.loads(file.metadata()["mulde"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        path = tmp_path / "changed.safetensors"
        save_file(tensors, path, metadata={"mulde": json.dumps(change(header))})
        return path

    return write


def of_version_1(*extractors, only_high=()):
    """The bundle of version 1 with settings that name its streams, so that it can be saved again."""
    bundle = load_bundle(VERSION_1)
    names = list(extractors or bundle.streams)
    changes = [f"features.extractors={names}", f"fusion.only_high={list(only_high)}"]
    return replace(bundle, settings=load_settings(overrides=changes, base=bundle.settings))


def test_the_file_is_of_version_1():
    with safe_open(VERSION_1, framework="np") as file:
        header = json.loads(file.metadata()["mulde"])
    assert header["schema"] == 1
    assert {stream["density"]["version"] for stream in header["streams"].values()} == {1}


@pytest.mark.parametrize("stream", ["velocity", "backbone", "geometry", "descriptor"])
def test_a_bundle_of_version_1_scores_as_it_did_then(golden, stream):
    bundle = load_bundle(VERSION_1)
    assert set(bundle.streams) == set(golden["anomaly_score"])
    then, rows = np.array(golden["anomaly_score"][stream]), np.array(golden["rows"], np.float32)
    (density,) = bundle.streams[stream].densities
    np.testing.assert_allclose(density.anomaly_score(rows), then, rtol=1e-6, atol=1e-6)
    scale = golden["calibration"][stream]
    assert bundle.streams[stream].calibration.as_dict() | {"floor": bundle.streams[stream].floor} == scale
    share = (then - scale["low"]) / (scale["high"] - scale["low"])
    calibrated = [one if one <= 1 else 1 + np.log(one) for one in share]
    np.testing.assert_allclose(bundle.streams[stream].score_rows(rows), calibrated, rtol=1e-5, atol=1e-6)
    assert bundle.streams[stream].empty_score == scale["floor"]


def test_a_bundle_of_version_1_is_the_same_after_it_is_saved_again(golden, tmp_path):
    old = of_version_1()
    old.save(tmp_path / "again.safetensors")
    new = load_bundle(tmp_path / "again.safetensors")
    rows = np.array(golden["rows"], np.float32)
    assert (new.settings, new.made_from, new.training) == (old.settings, old.made_from, old.training)
    for name, stream in old.streams.items():
        np.testing.assert_array_equal(new.streams[name].score_rows(rows), stream.score_rows(rows))
        assert new.streams[name].empty_score == stream.empty_score
        assert new.streams[name].dim == stream.dim == 3


def test_several_densities_and_the_scale_of_a_stream_are_the_same_after_they_are_saved(golden, tmp_path):
    old = of_version_1("velocity", only_high=["velocity"])
    surprise = Surprise(np.array([0.0, 0.5, 1.25]), np.array([0.0, 0.75, 3.0]), 2.5)
    first, second = old.streams["velocity"].densities[0], old.streams["geometry"].densities[0]
    densities, calibration = (first, second, first), Calibration(-3.0, 8.5)
    stream = Stream(densities, calibration, dim=3, floor=0.375, surprise=surprise, least=np.zeros(3, np.float32))
    replace(old, streams={"velocity": stream}).save(tmp_path / "three.safetensors")
    (again,) = load_bundle(tmp_path / "three.safetensors").streams.values()
    rows = np.array(golden["rows"], np.float32)
    np.testing.assert_array_equal(again.score_rows(rows), stream.score_rows(rows))
    for one, other in zip(again.densities, densities, strict=True):
        np.testing.assert_array_equal(one.anomaly_score(rows), other.anomaly_score(rows))
    assert again.calibration == calibration
    assert again.empty_score == stream.empty_score == pytest.approx((2 * 0.75 * 0.375 / 0.5) ** 0.5)


def test_a_bundle_of_version_1_has_no_normal_scores():
    assert load_bundle(VERSION_1).normal == {}


def test_normal_scores_are_the_same_after_they_are_saved(tmp_path):
    scores = {"cam1/monday": np.array([0.25, -1.0, 3e9]), "b": np.arange(500)[::2] / 7, "a": np.zeros(0)}
    normal = {
        name: NormalVideo(one, rate) for (name, one), rate in zip(scores.items(), (25.0, 30000 / 1001, 1), strict=True)
    }
    replace(of_version_1(), normal=normal).save(tmp_path / "with.safetensors")
    again = load_bundle(tmp_path / "with.safetensors")
    assert list(again.normal) == list(normal)
    for name, video in normal.items():
        np.testing.assert_array_equal(again.normal[name].scores, scores[name])
        assert again.normal[name].scores.dtype == np.float64
        assert again.normal[name].rate == video.rate
    assert set(again.streams) == {"velocity", "backbone", "geometry", "descriptor"}


def test_a_newer_schema_is_refused_by_name(changed):
    path = changed(lambda header: header | {"schema": SCHEMA_VERSION + 1, "mulde": "7.1.0"})
    sentence = (
        f"model bundle {path}, written by mulde 7.1.0, schema version: expected one that mulde {__version__} reads, "
        f"1 or 2 or 3 or 4, got {SCHEMA_VERSION + 1}. Try: upgrade mulde, or train again with this one"
    )
    with pytest.raises(BundleError, match=re.escape(sentence)):
        load_bundle(path)


def test_a_newer_density_inside_is_refused_by_name(changed):
    def change(header):
        header["streams"]["geometry"]["density"]["version"] = 9
        return header

    with pytest.raises(BundleError, match=r"stored density mixture, version: expected .* 3 or 4, got 9\. Try: upgrade"):
        load_bundle(changed(change))


@pytest.mark.parametrize("schema", [None, 0, "1"])
def test_what_is_no_schema_is_refused(changed, schema):
    with pytest.raises(BundleError, match=rf"reads, 1 or 2 or 3 or 4, got {schema!r}\. Try: train again$"):
        load_bundle(changed(lambda header: header | {"schema": schema}))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda header: ["no", "header"], id="a list"),
        pytest.param(lambda header: 7, id="a number"),
        pytest.param(lambda header: header | {"streams": ["velocity"]}, id="streams without content"),
        pytest.param(lambda header: header | {"streams": {"velocity": 1}}, id="a stream that is none"),
        pytest.param(lambda header: header | {"settings": {"no_such": 1}}, id="unknown settings"),
        pytest.param(lambda header: header | {"normal": [{"video": "a", "rate": 25}]}, id="normal scores missing"),
        pytest.param(lambda header: header | {"normal": [{"video": "a"}]}, id="a normal video without a rate"),
        pytest.param(lambda header: {k: v for k, v in header.items() if k != "made_from"}, id="an entry missing"),
    ],
)
def test_a_damaged_header_is_a_sentence_with_the_path(changed, change):
    path = changed(change)
    with pytest.raises(BundleError, match=rf"model bundle {re.escape(str(path))} cannot be read .*\. Try: copy it"):
        load_bundle(path)


@pytest.mark.parametrize("change", [{"calibration": {"low": 0.0, "high": 1e39}}, {"floor": -1e39}, {"slope": 1e39}])
def test_numbers_that_no_training_gives_are_refused(change):
    sound = {"densities": [{}], "calibration": {"low": 0.0, "high": 1.0}, "dim": 1, "floor": 0.0, "slope": 1.0}
    StreamFacts.model_validate(sound)
    with pytest.raises(ValidationError):
        StreamFacts.model_validate(sound | change)
