"""A model opens no path and runs no code: its weights are those that the user named, compared before they are loaded.

Relatives that were looked for: every setting of weights (detector, pose, CLIP, backbone, video, flow), paths absolute,
relative, `~`, of folders, with another system's separators, addresses; files planted under an official name or a
published tag in the working directory; a record of the user that is damaged, unwritable or out of date; formats that
hold code, named by a model and by a user; older bundles that still hold paths.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from mulde.digests import path_digest
from mulde.errors import MuldeError, UsageError
from mulde.extractors.base import weights_source
from mulde.extractors.formats import check_format
from mulde.pipeline.extraction.plan import ExtractionPlan
from mulde.pipeline.model import weights as own_weights
from mulde.pipeline.model.bundle import load_bundle
from mulde.pipeline.model.weights import RECORD, plain_name, remember
from mulde.settings_file import load_settings
from tests.pipeline.mutated_bundles import VERSION_1

NAMED = {
    "regions.yolo.weights": ["velocity", "geometry", "descriptor"],
    "features.pose.weights": ["pose"],
    "features.clip.weights": ["clip"],
    "features.backbone.weights": ["backbone"],
    "features.timm.weights": ["timm"],
    "features.video.weights": ["video"],
    "features.flow.weights": ["flow_histogram"],
}


def settings_of(key, weights):
    changes = [f"features.extractors={NAMED[key]}", f"{key}={json.dumps(str(weights))}"]
    changes += ['regions.finders=["yolo"]'] if key == "regions.yolo.weights" else []
    changes += ['features.flow.method="raft_small"'] if key == "features.flow.weights" else []
    return load_settings(overrides=changes)


def made_from_of(key, sha256):
    facts = {"weights_sha256": sha256}
    if key == "regions.yolo.weights":
        return {"regions": {"finders": [{"finder": "yolo", **facts}]}, "extractors": {}}
    return {"regions": None, "extractors": {NAMED[key][0]: facts}}


def bundle_of(key, weights, sha256):
    return replace(load_bundle(VERSION_1), settings=settings_of(key, weights), made_from=made_from_of(key, sha256))


def value(settings, key):
    for part in key.split("."):
        settings = getattr(settings, part)
    return settings


@pytest.fixture
def planted(tmp_path):
    path = tmp_path / "nets" / "net.pt"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


@pytest.fixture(autouse=True)
def record(monkeypatch, tmp_path):
    monkeypatch.setenv("MULDE_CONFIG", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own_weights, "official_names", lambda: {"yolov8n.pt"})  # without the seconds of Ultralytics
    return tmp_path / "config" / RECORD


@pytest.mark.parametrize("key", NAMED)
def test_no_path_of_a_model_is_opened(key, planted):
    with pytest.raises(UsageError, match=rf"the model needs the weights .* \({key}, sha256 .*Try: .*--set {key}=PATH"):
        bundle_of(key, planted, path_digest(planted)).with_settings([])


@pytest.mark.parametrize("key", NAMED)
def test_what_the_user_names_is_taken_by_option_record_and_folder(key, planted, record, monkeypatch):
    bundle = bundle_of(key, "/elsewhere/other.pt", path_digest(planted))
    assert value(bundle.with_settings([f"{key}={planted}"]).settings, key) == str(planted)
    remember(settings_of(key, planted), bundle.made_from)
    assert json.loads(record.read_text()) == {path_digest(planted): str(planted)}
    assert value(bundle.with_settings([]).settings, key) == str(planted)
    planted.write_bytes(b"other weights")
    with pytest.raises(UsageError, match=r"the model needs the weights 'other\.pt'"):
        bundle.with_settings([])
    (planted.parent / "again.pt").write_bytes(b"weights")
    monkeypatch.setenv("MULDE_WEIGHTS", f"/nowhere:{planted.parent}")
    assert value(bundle.with_settings([]).settings, key) == str(planted.parent / "again.pt")


@pytest.mark.parametrize("content", ["", "[", "[1]", '{"a": 1}', '{"%s": "net.pt"}', '{"%s": ["net.pt"]}', "\x00"])
def test_a_damaged_record_of_the_user_is_none(content, planted, record):
    record.parent.mkdir()
    record.write_text(content.replace("%s", path_digest(planted)))
    with pytest.raises(UsageError, match="the model needs the weights"):
        bundle_of("features.pose.weights", planted, path_digest(planted)).with_settings([])


def test_a_record_that_cannot_be_written_is_no_failure(planted, record):
    record.parent.write_text("a file where the folder should be")
    remember(settings_of("features.pose.weights", planted), made_from_of("features.pose.weights", path_digest(planted)))
    assert record.parent.is_file()


def test_a_file_planted_under_an_official_name_is_not_taken(tmp_path, monkeypatch):
    (tmp_path / "yolov8n.pt").write_bytes(b"planted")
    asked = []
    monkeypatch.setattr(own_weights, "fetch", lambda name, what: asked.append(name) or tmp_path / "yolov8n.pt")
    bundle = bundle_of("regions.yolo.weights", "yolov8n.pt", "ab" * 32)
    with pytest.raises(UsageError, match="expected those of the model, sha256 abab"):
        bundle.with_settings([])
    assert asked == ["yolov8n.pt"]
    with pytest.raises(UsageError, match=r"the model needs the weights 'yolov8x\.pt'"):
        bundle_of("regions.yolo.weights", "https://host/yolov8x.pt", "ab" * 32).with_settings([])


def test_a_published_tag_is_never_a_path(tmp_path):
    (tmp_path / "DEFAULT").write_bytes(b"planted")
    assert weights_source("DEFAULT") == {"weights": "DEFAULT"}
    assert weights_source("./DEFAULT") == {"weights_sha256": path_digest(tmp_path / "DEFAULT")}
    for tag in ("./DEFAULT", "~/x", "/etc/passwd", 7, None):
        bundle = bundle_of("features.backbone.weights", "DEFAULT", None)
        made_from = {"regions": None, "extractors": {"backbone": {"weights": tag}}}
        with pytest.raises(UsageError, match="the model needs the weights"):
            replace(bundle, made_from=made_from).with_settings([])


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("yolov8n.pt", "yolov8n.pt"),
        ("IMAGENET1K_V1", "IMAGENET1K_V1"),
        ("/home/somebody/nets/a_openvino_model/", "a_openvino_model"),
        ("C:\\nets\\a.pt", "a.pt"),
        ("https://host/a.pt", "a.pt"),
        ("../..", "unnamed"),
        ("~", "unnamed"),
        ("/", "unnamed"),
        ("a\x1b[2J.pt", "a\\x1b[2J.pt"),
    ],
)
def test_a_model_keeps_plain_names(said, name):
    assert plain_name(said) == name


def test_a_saved_model_holds_no_path_and_nothing_of_the_run(tmp_path, planted):
    bundle = load_bundle(VERSION_1)
    names = ["velocity", "geometry", "descriptor", "backbone"]
    changes = [f"features.extractors={names}", f"run.source={tmp_path}", f"run.out={tmp_path}/o"]
    changes += [f"{key}={planted}" for key in NAMED]
    replace(bundle, settings=load_settings(overrides=changes)).save(tmp_path / "m.safetensors")
    assert str(tmp_path).encode() not in (tmp_path / "m.safetensors").read_bytes()
    kept = load_bundle(tmp_path / "m.safetensors").settings
    assert {value(kept, key) for key in NAMED} == {"net.pt"}


@pytest.mark.parametrize("name", ["a.torchscript", "a.engine", "a.pt.torchscript", "a.TORCHSCRIPT"])
def test_formats_that_can_run_code_need_the_users_trust(name, tmp_path, monkeypatch):
    (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"can run any code .* Try: --trust-weights"):
        check_format(tmp_path / name, "detector")
    monkeypatch.setenv("MULDE_TRUST_WEIGHTS", "1")
    check_format(tmp_path / name, "detector")


@pytest.mark.parametrize(
    "name",
    ["a.pb", "a_saved_model/", "a.tflite", "a.mnn", "a.py", "a.yaml", "a", "a.pt/", "a_openvino_model", "a.onnx/"],
)
def test_other_formats_are_refused_by_name(name, tmp_path):
    path = tmp_path / name
    path.mkdir() if name.endswith("/") else path.touch()
    with pytest.raises(UsageError, match=r"detector weights .*: expected a file \.pt, \.onnx, .*, got a f"):
        check_format(path, "detector")


def torchscript_that_writes(path, target):
    """A detector that writes to `target` when it is loaded."""
    import torch

    class Writes(torch.nn.Module):
        def __init__(self, where: str) -> None:
            super().__init__()
            self.where = where

        @torch.jit.export
        def __getstate__(self) -> tuple[str, bool]:
            return self.where, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[str, bool]) -> None:
            self.where = state[0]
            self.training = bool(torch.from_file(self.where, True, 4).fill_(1.0).sum() < 0)  # kept: it is used

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would rather have its successor used
        torch.jit.script(Writes(str(target))).save(str(path))


def test_a_model_cannot_run_torchscript(mulde, tmp_path, square_clip, monkeypatch):
    """As an attacker would: the path beside the model, its digest in the fingerprint, an older file without digest."""
    evil, target = tmp_path / "evil.torchscript", tmp_path / "written"
    torchscript_that_writes(evil, target)
    settings = settings_of("regions.yolo.weights", evil)
    monkeypatch.setenv("MULDE_TRUST_WEIGHTS", "1")
    made_from = ExtractionPlan(settings, "cpu").fingerprint()
    monkeypatch.delenv("MULDE_TRUST_WEIGHTS")
    with safe_open(VERSION_1, framework="np") as file:
        header = json.loads(file.metadata()["mulde"])
        tensors = {k: file.get_tensor(k) for k in file.keys() if not k.startswith("backbone")}  # noqa: SIM118
    del header["streams"]["backbone"]
    header |= {"settings": settings.model_dump(mode="json"), "made_from": made_from}
    save_file(tensors, tmp_path / "m.safetensors", {"mulde": json.dumps(header)})
    code, _, err = mulde("score", square_clip, "--model", "m.safetensors", "--device", "cpu")
    assert (code, "the model needs the weights 'evil.torchscript'" in err) == (2, True), err
    assert not target.exists()
    code, _, err = mulde("score", square_clip, "--model", "m.safetensors", "--device", "cpu", "--detector", evil)
    assert (code, "--trust-weights" in err) == (2, True), err
    assert not target.exists()


def test_a_model_keeps_what_its_detector_calls_things(tmp_path):
    folder = tmp_path / "nets_openvino_model"
    folder.mkdir()
    (folder / "metadata.yaml").write_text("names:\n  0: forklift\n  7: 'a\x1b[31m'\n")
    names = ExtractionPlan(settings_of("regions.yolo.weights", folder), "cpu").class_names()
    assert names == {0: "forklift", 7: "a\\x1b[31m"}
    settings = load_settings(overrides=['features.extractors=["velocity", "geometry", "descriptor", "backbone"]'])
    replace(load_bundle(VERSION_1), settings=settings, classes=names).save(tmp_path / "m.safetensors")
    assert load_bundle(tmp_path / "m.safetensors").classes == names
    assert ExtractionPlan(load_settings(), "cpu").class_names() == {}


def test_a_failed_download_is_said(monkeypatch):
    def fetch(name, what):
        raise MuldeError(f"{what} weights {name} cannot be downloaded (offline)", hint="a path")

    monkeypatch.setattr(own_weights, "fetch", fetch)
    with pytest.raises(MuldeError, match="cannot be downloaded"):
        bundle_of("regions.yolo.weights", "yolov8n.pt", "ab" * 32).with_settings([])


@pytest.mark.parametrize("named", ["net", "net/a.xml"])
def test_an_exported_network_is_found_again_by_the_digest_of_all_its_files(named, tmp_path, monkeypatch):
    key, folder = "features.backbone.weights", tmp_path / "nets" / "net"
    folder.mkdir(parents=True)
    (folder / "a.xml").write_text("<net/>")
    (folder / "a.bin").write_bytes(b"weights")
    path = folder.parent / named
    bundle = bundle_of(key, f"/elsewhere/{named}", weights_source(str(path))["weights_sha256"])
    monkeypatch.setenv("MULDE_WEIGHTS", str(path.parent))
    assert value(bundle.with_settings([]).settings, key) == str(path)
    (folder / "a.bin").write_bytes(b"other weights")
    with pytest.raises(UsageError, match="the model needs the weights"):
        bundle.with_settings([])


@pytest.mark.parametrize("model", ["local-dir:/etc", "https://host/net", "hf-hub:../net", "/etc/net"])
def test_a_model_that_names_a_network_by_a_path_or_an_address_is_refused(model):
    settings = load_settings(overrides=['features.extractors=["timm"]', f'features.timm.model="{model}"'])
    with pytest.raises(UsageError, match="expected the name of a model"):
        ExtractionPlan(settings, "cpu")
