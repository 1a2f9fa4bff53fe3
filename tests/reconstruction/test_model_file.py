"""Files of pixel models: what is written is what is read, and nothing else is taken for one."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from mulde.errors import BundleError, MuldeError, UsageError
from mulde.reconstruction.model_file import SeenModel, load_models, made_from, save_models
from mulde.reconstruction.registry import build_pixel_model
from mulde.reconstruction.teacher import random_network
from tests.reconstruction.clips import Walks
from tests.reconstruction.test_pixel_models import SMALL

KEY = "mulde.pixel-models"


@pytest.fixture(scope="module")
def models() -> list[SeenModel]:
    seen = [{"a" * 64: ((0, 30),), "b" * 64: ((5, 10), (20, 25))}, {"c" * 64: ((0, 1),)}]
    return [
        SeenModel(build_pixel_model("pdm", "paper", SMALL["pdm"] | {"max_steps": 1}, seed=i).fit(Walks(range(1))), of)
        for i, of in enumerate(seen)
    ]


@pytest.fixture
def path(models, tmp_path):
    save_models(tmp_path / "m.safetensors", models, "these")
    return tmp_path / "m.safetensors"


def test_models_come_back_with_what_they_have_seen(models, path):
    clips = np.stack(Walks(range(1)).clips[:3])
    for before, after in zip(models, load_models(path), strict=True):
        assert after.seen == before.seen
        assert after.model.options == before.model.options
        np.testing.assert_array_equal(after.model.maps(clips), before.model.maps(clips))
    assert made_from(path) == "these"


def test_seen_frames_are_half_open_ranges(models):
    one = models[0]
    seen = [frame for frame in range(40) if one.has_seen("b" * 64, frame)]
    assert seen == [*range(5, 10), *range(20, 25)]
    assert not one.has_seen("c" * 64, 0)


@pytest.mark.parametrize("content", [None, b"", b"no", bytes(8), b"\xff" * 100, b"PK\x03\x04" + bytes(50)])
def test_what_is_no_model_is_a_sentence(tmp_path, content):
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="expected trained pixel models"):
        load_models(path)
    assert made_from(path) is None


def test_other_safetensors_are_a_sentence(tmp_path):
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match="a safetensors file of another kind"):
        load_models(tmp_path / "x.safetensors")
    with pytest.raises(UsageError, match="expected trained pixel models"):
        load_models(tmp_path)


GOOD = {"version": 1, "kind": "copy", "options": {"side": 64}, "made_from": "x", "seen": [{}]}


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2}, {"version": True}, {"version": None}, {"kind": "os.system"}, {"kind": 3}, {"kind": ["pdm"]},
        {"options": []}, {"options": {"side": 10**9}}, {"options": {"path": "/etc"}},
        {"seen": []}, {"seen": {}}, {"seen": [{}] * 17}, {"seen": [[]]}, {"seen": [{"a": 1}]}, {"seen": [{"a": [1]}]},
        {"seen": [{"a": [[1, 1]]}]}, {"seen": [{"a": [[-1, 1]]}]}, {"seen": [{"a": [[0, 1.5]]}]},
        {"seen": [{"a": [[0, True]]}]}, {"kind": "pdm", "options": {}},
    ],
    ids=str,
)  # fmt: skip
def test_a_header_that_was_changed_is_a_sentence(tmp_path, changes):
    path = tmp_path / "x.safetensors"
    save_file({}, path, {KEY: json.dumps(GOOD)})
    assert len(load_models(path)) == 1
    save_file({}, path, {KEY: json.dumps(GOOD | changes)})
    with pytest.raises(MuldeError, match="expected"):
        load_models(path)


@pytest.mark.parametrize("text", ["[]", "{", "1", "[" * 100_000, '"a"', "NaN"])
def test_a_header_that_is_no_table_is_a_sentence(tmp_path, text):
    save_file({}, tmp_path / "x.safetensors", {KEY: text})
    with pytest.raises(BundleError):
        load_models(tmp_path / "x.safetensors")
    assert made_from(tmp_path / "x.safetensors") is None


def test_arrays_of_another_network_name_the_file_and_what_to_do(path):
    from safetensors import safe_open
    from safetensors.numpy import load_file

    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
    arrays = load_file(path)
    arrays["0/renamed"] = arrays.pop("0/background")
    save_file(arrays, path, metadata)
    with pytest.raises(
        UsageError, match=r"m\.safetensors: stored model pdm: expected its .*Try: a whole copy of the file"
    ):
        load_models(path)


@pytest.mark.parametrize("teacher", ["vgg19", "regnet_y_128gf", "vit_h_14", "nobody"])
@pytest.mark.parametrize("kind", ["ppdm", "patches"])
def test_a_small_file_makes_no_large_network(tmp_path, monkeypatch, kind, teacher):
    made_on = []
    draw = torch.nn.init.kaiming_normal_

    def watched(tensor, *args, **kwargs):
        made_on.append(tensor.device.type)
        return draw(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.nn.init, "kaiming_normal_", watched)
    arrays = {"0/bank": np.zeros((3, 5), np.float32)}
    header = {"version": 1, "kind": kind, "options": {"teacher": teacher}, "made_from": "x", "seen": [{}]}
    save_file(arrays, tmp_path / "x.safetensors", {KEY: json.dumps(header)})
    with pytest.raises(UsageError, match=r"expected|stages"):
        load_models(tmp_path / "x.safetensors")
    assert "cpu" not in made_on


@pytest.mark.parametrize("kind", ["ppdm", "patches"])
def test_a_teacher_of_timm_comes_back(tmp_path, kind):
    options = SMALL[kind] | {"teacher": "timm:test_convnext"} | ({"max_steps": 1} if kind == "ppdm" else {})
    images = np.random.default_rng(0).integers(0, 256, (8, 1, 64, 64, 3), dtype=np.uint8)
    model = build_pixel_model(kind, "paper", options, teacher=lambda name: random_network(name, 0)).fit(images)
    save_models(tmp_path / "m.safetensors", [SeenModel(model, {})], "these")
    again = load_models(tmp_path / "m.safetensors")[0].model
    np.testing.assert_array_equal(again.maps(images), model.maps(images))
