"""Exported files score and fuse outside as the bundle does inside; refusals name the flag, the stream, the density."""

import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from mulde import __version__
from mulde.density.registry import build_density
from mulde.digests import fingerprint
from mulde.errors import BundleError, UsageError
from mulde.pipeline.model.bundle import SCHEMA_VERSION, Bundle, Stream, load_bundle
from mulde.pipeline.model.calibration import calibrate, combine, frame_maximum, learn_surprise
from mulde.pipeline.model.export import FORMATS, export
from mulde.pipeline.model.training_record import TrainingRecord
from mulde.settings_file import load_settings

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

VELOCITY = {"velocity-0.onnx", "velocity-1.onnx"}
COLUMNS = {"velocity": 4, "geometry": 2}
SETTINGS = load_settings(overrides=[f"features.extractors={list(COLUMNS)}", f"fusion.only_high={list(COLUMNS)}"])
MADE_FROM = {"regions": {"finders": ["motion"]}, "extractors": {name: {"version": 1} for name in COLUMNS}}


def rows(n, d, seed=0):
    return np.random.default_rng(seed).normal(3, 2, (n, d)).astype(np.float32)


def trained(name, kind="mulde", **settings):
    small = {"mulde": {"hidden": (8,), "steps": 20, "batch_size": 32, "num_scales": 3, "aggregate": "mean"}}
    x = rows(100, COLUMNS[name])
    densities = []
    for seed in (0, 1):
        density = build_density(kind, **small.get(kind, {}) | settings).fit(x + seed)
        densities.append(density)
    surprise = learn_surprise(np.random.default_rng(3).exponential(size=100))
    calibration = calibrate(name, density.anomaly_score(rows(60, COLUMNS[name], seed=1)))
    return Stream(
        tuple(densities), calibration, COLUMNS[name], 0.1, surprise, least=np.full(COLUMNS[name], 5, np.float32)
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    Bundle({name: trained(name) for name in COLUMNS}, SETTINGS, MADE_FROM, TrainingRecord()).save(path)
    return path


@pytest.fixture(scope="module")
def with_baseline(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    streams = {"velocity": trained("velocity"), "geometry": trained("geometry", "neighbours")}
    Bundle(streams, SETTINGS, MADE_FROM, TrainingRecord()).save(path)
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def run_onnx(path, x):
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["anomaly_score"], {"rows": x})[0]


def test_scored_and_fused_outside_as_inside(model, tmp_path):
    """Ten frames, the last two without rows; the outside is written from the sentences in export.json."""
    export(model, tmp_path / "out", ["onnx"])
    said = json.loads((tmp_path / "out" / "export.json").read_text())
    frames = np.sort(np.random.default_rng(5).integers(0, 8, 40))
    fused = np.zeros(10)
    for stream in said["streams"].values():
        calibrated = np.zeros(40)
        for file in stream["files"]:
            raised = np.maximum(2 * rows(40, stream["columns"], seed=6), np.float32(stream["least"]))
            scores = run_onnx(tmp_path / "out" / file, raised)
            low, high = (stream["calibration"][key] for key in ("low", "high"))
            shares = [(score - low) / (high - low) for score in scores]
            calibrated += [(s if s <= 1 else 1 + math.log(s)) / len(stream["files"]) for s in shares]
        x, y, slope = (stream["surprise"][key] for key in ("score", "neg_log_p", "slope"))
        surprise = np.sqrt(2 * (np.interp(calibrated, x, y) + slope * np.maximum(calibrated - x[-1], 0)))
        for frame in range(10):
            fused[frame] += max(surprise[frames == frame], default=stream["empty"])
    bundle = load_bundle(model)
    inside = combine(
        {
            name: frame_maximum(
                stream.score_rows(2 * rows(40, stream.dim, seed=6)), frames, np.arange(10), stream.empty_score
            )
            for name, stream in bundle.streams.items()
        },
        said["combine"],
    )
    np.testing.assert_allclose(fused, inside, rtol=1e-4, atol=1e-4)


def test_the_files_say_what_they_are(model, tmp_path):
    written = export(model, tmp_path / "out", ["onnx"])
    assert (
        {path.name for path in written}
        == names(tmp_path / "out")
        == VELOCITY | {"geometry-0.onnx", "geometry-1.onnx", "export.json"}
    )
    said = json.loads((tmp_path / "out" / "export.json").read_text())
    facts = {"mulde": __version__, "schema": SCHEMA_VERSION, "made_from": fingerprint(MADE_FROM)}
    assert facts.items() <= said.items()
    assert said["direction"] == "higher = more anomalous"
    assert said["smoothing_s"] == SETTINGS.fusion.smoothing_s
    for name, width in COLUMNS.items():
        graph = onnx.load(tmp_path / "out" / f"{name}-1.onnx")
        entries = {entry.key: entry.value for entry in graph.metadata_props}
        assert {key: str(value) for key, value in facts.items()}.items() <= entries.items()
        assert entries["stream"] == name
        assert said["streams"][name]["columns"] == width
        assert graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value == width


def test_one_stream_alone(with_baseline, tmp_path):
    export(with_baseline, tmp_path / "out", ["onnx"], ["velocity"])
    assert names(tmp_path / "out") == VELOCITY | {"export.json"}
    assert list(json.loads((tmp_path / "out" / "export.json").read_text())["streams"]) == ["velocity"]


def test_a_bundle_of_version_1_can_be_exported(tmp_path):
    model = Path(__file__).resolve().parents[2] / "data" / "bundle-v1.safetensors"
    then = json.loads(model.with_suffix(".json").read_text())
    export(model, tmp_path / "out", ["onnx"], ["velocity", "backbone"])
    for stream in ("velocity", "backbone"):
        scores = run_onnx(tmp_path / "out" / f"{stream}-0.onnx", np.array(then["rows"], np.float32))
        np.testing.assert_allclose(scores, then["anomaly_score"][stream], rtol=1e-4, atol=1e-4)


def test_a_stream_that_cannot_be_exported_is_named_and_nothing_is_written(with_baseline, tmp_path):
    sentence = "stream geometry as ONNX: expected a density with a network: mulde or msma, got neighbours"
    with pytest.raises(UsageError, match=re.escape(sentence)):
        export(with_baseline, tmp_path / "out", ["onnx"])
    assert not (tmp_path / "out").exists()


def test_an_unknown_stream_is_answered_with_the_known(model, tmp_path):
    with pytest.raises(UsageError, match="--stream: expected one of velocity, geometry, got pose, sound"):
        export(model, tmp_path / "out", ["onnx"], ["pose", "velocity", "sound"])
    assert not (tmp_path / "out").exists()


def test_no_bundle_and_no_folder_are_sentences(model, tmp_path):
    with pytest.raises(BundleError, match="expected a file written by `mulde train`, got nothing there"):
        export(tmp_path / "none.safetensors", tmp_path / "out", ["onnx"])
    (tmp_path / "taken").write_text("")
    with pytest.raises(UsageError, match="taken: expected a folder, got a file"):
        export(model, tmp_path / "taken", ["onnx"])


def test_the_command(mulde, model, tmp_path):
    code, out, _ = mulde("export", model, "--onnx", "--out", "there", "--stream", "geometry")
    assert code == 0
    assert out.split() == ["there/geometry-0.onnx", "there/geometry-1.onnx", "there/export.json"]
    assert names(tmp_path / "there") == {"geometry-0.onnx", "geometry-1.onnx", "export.json"}


def test_the_command_without_a_format_names_it(mulde, model, tmp_path):
    code, _, err = mulde("export", model, "--out", "there")
    assert code == 2
    assert "export: expected a format: --onnx, got none" in err
    assert not (tmp_path / "there").exists()


def test_every_format_has_its_flag(mulde):
    _, out, _ = mulde("export", "--help")
    for name in FORMATS:
        assert f"--{name} " in out


def test_the_command_without_the_package(mulde, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, _, err = mulde("export", model, "--onnx", "--out", "there")
    assert code == 2
    assert 'Try: pip install "mulde[onnx]"' in err
    assert not (tmp_path / "there").exists()
