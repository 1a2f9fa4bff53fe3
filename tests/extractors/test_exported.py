"""Exported networks against the torch networks that they were made of; files that are not such networks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
import timm
import torch
from onnx import TensorProto
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import models

from mulde.errors import UsageError
from mulde.extractors.backbone import backbone_appearance
from mulde.extractors.base import weights_source
from mulde.extractors.clip import clip_appearance
from mulde.extractors.timm_backbone import TimmSettings, timm_appearance
from mulde.extractors.video import video_backbone
from mulde.records import Frames, Regions, Window

openvino = pytest.importorskip("openvino")


def scene() -> tuple[Window, Regions]:
    images = np.random.default_rng(0).integers(0, 255, (3, 60, 80, 3)).astype(np.uint8)
    boxes = np.array([[5, 5, 30, 50], [40, 10, 70, 40], [2, 2, 12, 30]], np.float32)
    regions = Regions(boxes, np.array([0, 0, 2]), np.ones(3, np.float32), np.zeros(3, np.int64))
    return Window(Frames(images, np.arange(3), np.arange(3) / 25), 0, 3), regions


def small(*, pooled: bool = True) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 5, 3), nn.ReLU(), nn.Conv2d(8, 6, 3, 2)]
    return nn.Sequential(*layers, *([nn.AdaptiveAvgPool2d(1)] if pooled else []), nn.Flatten(1 if pooled else 2)).eval()


def export(
    network: nn.Module, path: Path, shape: Sequence[int], *, free: Sequence[int] = (0,), **metadata: str
) -> Path:
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the exporter that needs no further package
        axes = {axis: f"axis{axis}" for axis in free}
        torch.onnx.export(
            network, (torch.zeros(*shape),), path, dynamo=False, input_names=["x"], dynamic_axes={"x": axes}
        )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def as_openvino(path: Path) -> Path:
    folder = path.with_suffix("")
    openvino.save_model(openvino.Core().read_model(path), folder / "net.xml", compress_to_fp16=False)
    return folder


@pytest.fixture(params=["onnx", "folder", "xml"])
def made_as(request):
    """What the path of an exported network becomes in the format of the test."""

    def convert(path: Path) -> str:
        if request.param == "onnx":
            return str(path)
        folder = as_openvino(path)
        return str(folder if request.param == "folder" else folder / "net.xml")

    return convert


@pytest.mark.parametrize(("batch", "free"), [(2, (0,)), (1, ()), (2, (0, 2, 3))])
def test_rows_are_those_of_the_torch_network(tmp_path, made_as, batch, free):
    network = small()
    path = made_as(export(network, tmp_path / "net.onnx", (batch, 3, 224, 224), free=free))
    extractor = backbone_appearance("mobilenet_v2", path)
    window, regions = scene()
    table = extractor.extract(window, regions)
    expects = extractor.network.expects
    assert (expects.size_px, expects.mean) == (224, (0.485, 0.456, 0.406))
    with torch.inference_mode():
        expected = network(expects([window.frames.images[0, 5:50, 5:30], window.frames.images[0, 10:40, 40:70]]))
    assert table.values[:2] == pytest.approx(expected.numpy(), abs=1e-4)
    assert table.values.shape == (3, 6)
    assert np.ptp(table.values) > 0.1
    assert extractor.extract(window, Regions.empty()).values.shape == (0, 6)


def test_metadata_say_what_the_network_sees(tmp_path, made_as):
    said = {
        "size_px": "32",
        "mean": "[0.1, 0.2, 0.3]",
        "std": "0.5 , 1.0, 2.0".replace(" ,", ","),
        "interpolation": "bilinear",
    }
    path = made_as(export(small(), tmp_path / "net.onnx", (2, 3, 32, 32), free=(0, 2, 3), **said))
    for extractor in (backbone_appearance("mobilenet_v2", path), clip_appearance("ViT-B-32", path)):
        expects = extractor.network.expects
        assert (expects.size_px, expects.mean, expects.std) == (32, (0.1, 0.2, 0.3), (0.5, 1.0, 2.0))
        assert expects.interpolation == "bilinear"
    rows = extractor.extract(*scene()).values
    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(3), abs=1e-5)


def test_a_timm_network_exported_gives_the_rows_of_timm(tmp_path, made_as):
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=0).eval()
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    path = made_as(export(network, tmp_path / "net.onnx", (2, 3, 160, 160)))
    of = {"model": "test_vit.r160_in1k", "fit": "pad"}
    rows = [
        timm_appearance(TimmSettings(weights=w, **of)).extract(*scene()).values
        for w in (path, str(tmp_path / "net.safetensors"))
    ]
    assert rows[0] == pytest.approx(rows[1], abs=2e-4)
    with pytest.raises(UsageError, match=r"pooling=cls has no effect on .*: expected own"):
        timm_appearance(TimmSettings(weights=path, pooling="cls", **of)).extract(*scene())
    with pytest.raises(UsageError, match=r"features.timm.size_px for .*: expected 160, got 96"):
        timm_appearance(TimmSettings(weights=path, size_px=96, **of)).extract(*scene())


def test_clips_go_through_an_exported_video_network(tmp_path, made_as):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(3, 4, 3, 4), nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    path = made_as(export(network, tmp_path / "net.onnx", (2, 3, 16, 112, 112)))
    window, _ = scene()
    extractor = video_backbone("r3d_18", path, stride=1)
    rows = extractor.extract(window, Regions.empty()).values
    clips = [[min(max(t + k - 8, 0), 2) for k in range(16)] for t in range(3)]
    batch = torch.stack([extractor.network.expects(window.frames.images[clip]).movedim(0, 1) for clip in clips])
    with torch.inference_mode():
        assert rows == pytest.approx(network(batch).numpy(), abs=1e-4)
    with pytest.raises(UsageError, match=r"expected squares, got \(free, 3, 16, 112, 112\)"):
        backbone_appearance("mobilenet_v2", path).extract(*scene())


def test_many_threads_get_the_rows_of_one(tmp_path, made_as):
    path = made_as(export(small(), tmp_path / "net.onnx", (2, 3, 224, 224)))
    extractor = backbone_appearance("mobilenet_v2", path)
    expected = extractor.extract(*scene()).values
    with ThreadPoolExecutor(4) as pool:
        for rows in pool.map(lambda _: extractor.extract(*scene()).values, range(8)):
            assert np.array_equal(rows, expected)


def test_the_digest_covers_the_weights_beside_an_xml(tmp_path):
    folder = as_openvino(export(small(), tmp_path / "net.onnx", (2, 3, 224, 224)))
    paths = str(folder), str(folder / "net.xml")
    before = [weights_source(path) for path in paths]
    assert all("weights_sha256" in source for source in before)
    (folder / "net.bin").write_bytes((folder / "net.bin").read_bytes()[::-1])
    assert all(weights_source(path) != old for path, old in zip(paths, before, strict=True))


def test_the_fingerprint_names_no_precision_that_an_exported_network_does_not_follow(tmp_path):
    path = export(small(), tmp_path / "net.onnx", (2, 3, 224, 224))
    assert "precision" not in backbone_appearance("mobilenet_v2", str(path), precision="bfloat16").fingerprint()


def refused(path: Path | str) -> str:
    with pytest.raises(UsageError) as error:
        backbone_appearance("mobilenet_v2", str(path)).extract(*scene())
    return str(error.value)


class Two(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean((2, 3)), x.amax((2, 3))


@pytest.mark.parametrize(
    ("network", "shape", "free", "metadata", "sentence"),
    [
        (small(pooled=False), (2, 3, 224, 224), (0,), {}, "no row for a picture of 224 x 224 pixels: expected an"),
        (small(), (4, 3, 224, 224), (), {}, "n free or 1, got (4, 3, 224, 224)"),
        (small(), (2, 3, 224, 160), (0,), {}, "expected squares, got (free, 3, 224, 160)"),
        (nn.Conv2d(1, 4, 3), (2, 1, 224, 224), (0,), {}, "got (free, 1, 224, 224)"),
        (nn.Linear(3, 4), (2, 3), (0,), {}, "(n, 3, S, S) for pictures or (n, 3, T, S, S) for clips"),
        (Two(), (2, 3, 224, 224), (0,), {}, "expected one input and one output, got 1 and 2"),
        (small(), (2, 3, 224, 224), (0,), {"size_px": "96"}, "expected size_px=224 as its input has, got 96"),
        (small(), (2, 3, 224, 224), (0,), {"size_px": "1e9"}, "size_px in the metadata of"),
        (small(), (2, 3, 224, 224), (0,), {"mean": "0.5"}, "expected three numbers for red, green and blue"),
        (small(), (2, 3, 224, 224), (0,), {"mean": "NaN,0,0"}, "mean in the metadata of"),
        (small(), (2, 3, 224, 224), (0,), {"std": "0.5,0,0.5"}, "std in the metadata of"),
        (small(), (2, 3, 224, 224), (0,), {"interpolation": "../x"}, "expected one of nearest, box, bilinear"),
    ],
)  # fmt: skip
def test_a_network_of_another_kind_is_refused(tmp_path, made_as, network, shape, free, metadata, sentence):
    assert sentence in refused(made_as(export(network, tmp_path / "net.onnx", shape, free=free, **metadata)))


def test_clip_needs_metadata(tmp_path):
    path = export(small(), tmp_path / "net.onnx", (2, 3, 224, 224))
    with pytest.raises(UsageError, match=r"expected size_px, mean and std in its metadata, got no mean"):
        clip_appearance("ViT-B-32", str(path)).extract(*scene())


@pytest.mark.parametrize("place", ["weights.bin", "../weights.bin", "absolute"])
def test_weights_in_another_file_are_refused_wherever_it_lies(tmp_path, monkeypatch, place):
    """They would lie outside the digest; ONNX could name any file of this machine."""
    (tmp_path / "nets").mkdir()
    monkeypatch.chdir(tmp_path / "nets")
    path = export(small(), tmp_path / "nets/net.onnx", (2, 3, 224, 224))
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    for folder in (tmp_path, tmp_path / "nets"):
        (folder / "weights.bin").write_bytes(tensor.raw_data)
    entries = {"location": str(tmp_path / "weights.bin") if place == "absolute" else place, "offset": "0",
               "length": str(len(tensor.raw_data))}  # fmt: skip
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    assert "cannot be loaded: expected an exported network with its weights inside (ONNX)" in refused(path)


def test_files_that_hold_no_network_are_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("not a network")
    (tmp_path / "text.xml").write_text("<net/>")
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"two/{name}.xml").write_text("<net/>")
    assert "text.onnx cannot be loaded" in refused(tmp_path / "text.onnx")
    assert "expected one .xml and the .bin of the same name" in refused(tmp_path / "text.xml")
    (tmp_path / "text.bin").write_bytes(b"")
    assert "text.xml cannot be loaded" in refused(tmp_path / "text.xml")
    assert "expected one .xml and the .bin of the same name, got 2 .xml" in refused(tmp_path / "two")


def test_real_mobilenet_exported_gives_its_rows(weights, tmp_path, made_as):
    path = weights / "mobilenet_v2_features.safetensors"
    network = models.mobilenet_v2().eval()
    network.load_state_dict(load_file(path), strict=False)
    network.classifier = nn.Identity()
    exported = made_as(export(network, tmp_path / "mobilenet.onnx", (2, 3, 224, 224)))
    rows = [backbone_appearance("mobilenet_v2", str(p)).extract(*scene()).values for p in (exported, path)]
    assert rows[0] == pytest.approx(rows[1], abs=1e-3)
    assert np.ptp(rows[1]) > 1
