"""The list of models: right names, right numbers, and what is here is seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mulde.extractors.backbone import _IMAGE_DIMS
from mulde.extractors.clip import _CLIP, clip_appearance
from mulde.extractors.video import _VIDEO_DIMS
from mulde.extractors.zoo import list_models, network_kinds
from mulde.settings_file import load_settings


@pytest.fixture(autouse=True)
def empty_caches(tmp_path, monkeypatch):
    """No model is on this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize("kind", network_kinds())
def test_each_kind_has_models_whose_settings_are_valid(kind):
    models = list_models(kind)
    assert models
    assert len({m.setting for m in models}) == len(models)
    for model in models:
        assert model.kind == kind
        for setting in model.setting.split(" "):
            load_settings(overrides=[setting])


def test_all_kinds_together():
    assert [m.kind for m in list_models()] == [m.kind for kind in network_kinds() for m in list_models(kind)]


def put(path: Path) -> str:
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    return str(path)


@pytest.mark.parametrize(
    ("kind", "name", "place"),
    [
        ("detector", "yolo11n.pt", "cache/mulde/weights/yolo11n.pt"),
        ("pose", "yolov8s-pose.pt", "cache/mulde/weights/yolov8s-pose.pt"),
        ("image", "mobilenet_v2", "torch/hub/checkpoints/mobilenet_v2-7ebf99e0.pth"),
        ("video", "hiera_large_16x224", "torch/hub/checkpoints/hiera_large_16x224.pth"),
        ("flow", "raft_small", "torch/hub/checkpoints/raft_small_C_T_V2-01064c6d.pth"),
        (
            "timm",
            "vit_small_patch14_dinov2.lvd142m",
            "hub/models--timm--vit_small_patch14_dinov2.lvd142m/snapshots/abc/model.safetensors",
        ),
        (
            "clip",
            "ViT-B-16 openai",
            "hub/models--timm--vit_base_patch16_clip_224.openai/snapshots/abc/open_clip_model.safetensors",
        ),
    ],
)
def test_what_is_on_this_machine_is_seen(tmp_path, kind, name, place):
    always = {"dis", "farneback"}
    assert {m.name for m in list_models(kind) if m.present} <= always
    path = put(tmp_path / place)
    assert {m.name: m.present for m in list_models(kind) if m.present and m.name not in always} == {name: path}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "regnet_x_400mf", "vit_b_32"])
def test_numbers_of_image_models_are_the_width_before_the_classifier(name):
    from torchvision import models

    network = models.get_model(name, weights=None)
    last = [m for m in network.modules() if isinstance(m, torch.nn.Linear)][-1]
    assert _IMAGE_DIMS[name] == last.in_features


@pytest.mark.parametrize("name", ["r3d_18", "s3d", "swin3d_t"])
def test_numbers_of_video_models_are_the_width_before_the_classifier(name):
    from torchvision.models import get_model

    with torch.device("meta"):
        network = get_model(name, weights=None)
    last = [m for m in network.modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv3d))][-1]
    assert _VIDEO_DIMS[name] == last.weight.shape[1]


def test_clip_models_are_as_open_clip_knows_them():
    import open_clip
    from open_clip.pretrained import get_pretrained_cfg

    assert clip_appearance  # the only door to open_clip outside the tests
    for one in _CLIP:
        assert get_pretrained_cfg(one.model, one.weights)["hf_hub"].rstrip("/") == one.repository
        assert open_clip.get_model_config(one.model)["embed_dim"] == one.dim


def test_licences_that_forbid_commerce_are_said():
    licences = {m.name: m.licence for m in list_models("image") + list_models("video")}
    assert licences["vit_h_14"] == licences["hiera_large_16x224"] == "CC-BY-NC-4.0"
    assert licences["resnet50"] == "see the project"


def test_the_command_prints_a_table_and_json(mulde):
    code, out, _ = mulde("models", "--kind", "flow")
    assert code == 0
    assert 'features.flow.method="raft_small"' in out
    code, out, _ = mulde("models", "--kind", "pose", "--json")
    assert code == 0
    first = json.loads(out)[0]
    assert (first["name"], first["numbers_per_row"], first["present"]) == ("yolov8n-pose.pt", 51, None)


def test_remarks_say_how_to_list_the_rest(mulde):
    out = mulde("models", "--kind", "clip")[1]
    assert "open_clip knows 1" in out
    assert "open_clip.list_pretrained()" in out


def test_an_unknown_kind_is_a_usage_error(mulde):
    code, _, err = mulde("models", "--kind", "audio")
    assert code == 2
    assert "expected one of detector, pose, clip, image, timm, video, flow, got audio" in err
