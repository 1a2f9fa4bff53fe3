"""Exports of the detector: another format, the same boxes."""

from __future__ import annotations

import numpy as np
import pytest

from mulde.extractors.boxes import overlap
from mulde.extractors.yolo import YoloNetwork
from mulde.media import open_video


@pytest.mark.parametrize(("format_", "made"), [("onnx", "net.onnx"), ("openvino", "net_openvino_model")])
def test_an_export_finds_the_same_boxes_and_lies_beside_the_weights(
    mulde, tmp_path, weights, ped2_clips, format_, made
):
    (tmp_path / "net.pt").write_bytes((weights / "yolov8n.pt").read_bytes())
    code, out, err = mulde("export-detector", "net.pt", "--format", format_, "--image-size", 320, "--device", "cpu")
    assert (code, out.strip()) == (0, made), err
    assert {path.name for path in tmp_path.iterdir()} == {"net.pt", made}
    with open_video(ped2_clips / "Test" / "Test001.mp4", batch_size=2) as reader:
        square = np.ascontiguousarray(next(iter(reader)).images[:, :, :240])
    before, after = (
        YoloNetwork(name, task="detect", image_size=320).detect(square, confidence=0.5) for name in ("net.pt", made)
    )
    for a, b in zip(before, after, strict=True):
        assert len(a) == len(b) >= 3
        assert overlap(a[:, :4], b[:, :4]).max(axis=1).min() > 0.9
        assert np.sort(a[:, 4]) == pytest.approx(np.sort(b[:, 4]), abs=0.02)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["nowhere.pt"], "detector weights nowhere.pt: expected an existing file or folder"),
        (["net.pt", "--format", "magic"], "format 'magic': expected one of openvino, onnx, engine"),
        (["net.onnx", "--format", "openvino"], "weights net.onnx: expected a .pt file to export from"),
        (["net.pt", "--int8", "--half"], "--int8 and --half: expected one of them, got both"),
        (["net.pt", "--out", "net.onnx"], "net.onnx: expected a place where nothing lies yet"),
    ],
)
def test_what_cannot_be_exported_is_said(mulde, tmp_path, args, sentence):
    for name in ("net.pt", "net.onnx"):
        (tmp_path / name).write_bytes(b"x")
    code, _, err = mulde("export-detector", *args)
    assert (code, sentence in err) == (2, True), err
