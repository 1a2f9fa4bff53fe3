"""Video features: the frames of a clip against a loop; networks whose answer is known; Hiera where it is there."""

from __future__ import annotations

import hashlib
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torchvision.models import video

from mulde.errors import UsageError
from mulde.extractors import hiera as our_hiera
from mulde.extractors.clips import VideoBackbone, clip_positions
from mulde.extractors.networks import Preprocessing
from mulde.extractors.video import video_backbone
from mulde.records import Frames, Regions, Window


def grey_video(index: np.ndarray, size_hw: tuple[int, int] = (6, 10)) -> Frames:
    """Frames whose grey level is their frame number."""
    images = np.broadcast_to(index[:, None, None, None], (len(index), *size_hw, 3)).astype(np.uint8)
    return Frames(images, index, index / 25)


def numbering(frames: int, stride: int, batch_size: int = 4) -> VideoBackbone:
    """A network whose row is the grey level, and so the number, of each frame of the clip."""

    def network(clips: torch.Tensor) -> torch.Tensor:  # (n, 3, T, S, S)
        return clips.mean((1, 3, 4)) * 255

    expects = Preprocessing(4, (0, 0, 0), (1, 1, 1), frames)
    return VideoBackbone(
        "grey",
        "none",
        lambda: (network, expects, frames),
        frames=frames,
        stride=stride,
        device="cpu",
        batch_size=batch_size,
    )


def brute_force(index: list[int], t: int, frames: int, stride: int) -> list[int]:
    """The frame numbers of a clip, one by one: the last decoded frame that is not after the wanted one."""
    clip = []
    for k in range(frames):
        before = [i for i in index if i <= t + stride * (k - frames // 2)]
        clip.append(before[-1] if before else index[0])
    return clip


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 9),
    stride=st.integers(1, 6),
    num_frames=st.integers(1, 40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    lost=st.sets(st.integers(0, 39), max_size=5),
)
def test_clips_hold_the_frames_that_a_loop_finds_wherever_windows_are_cut(frames, stride, num_frames, cuts, lost):
    index = np.array([i for i in range(num_frames) if i not in lost] or [0])
    whole, extractor = grey_video(index), numbering(frames, stride)
    edges = [0, *sorted(min(c, len(index)) for c in cuts), len(index)]
    rows = []
    for first, last in pairwise(edges):
        low, high = max(0, first - extractor.before), min(len(index), last + extractor.after)
        held = Frames(whole.images[low:high], whole.frame_index[low:high], whole.time_s[low:high])
        rows.append(extractor.extract(Window(held, first - low, last - low), Regions.empty()).values)
    expected = [brute_force(index.tolist(), int(t), frames, stride) for t in index]
    assert np.concatenate(rows) == pytest.approx(np.array(expected, float), abs=1e-3)


def test_a_clip_of_sixteen_frames_by_four_is_centred_and_clamped_at_both_ends():
    offsets = numbering(16, 4).offsets
    positions = clip_positions(Window(grey_video(np.arange(50)), 0, 50), offsets)
    assert positions[0].tolist() == [0] * 9 + [4, 8, 12, 16, 20, 24, 28]
    assert positions[25].tolist() == [0, 0, 1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 41, 45, 49, 49]
    assert positions[49].tolist() == [17, 21, 25, 29, 33, 37, 41, 45] + [49] * 8
    assert (numbering(16, 4).before, numbering(16, 4).after) == (32, 28)
    assert (numbering(1, 4).before, numbering(1, 4).after) == (0, 0)


def test_a_window_without_core_frames_gives_no_rows():
    table = numbering(4, 2).extract(Window(grey_video(np.arange(5)), 3, 3), Regions.empty())
    assert table.values.shape == (0, 4)
    assert table.box_xyxy is None


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("resnet18", r"video model 'resnet18': expected one of mc3_18, .*s3d.*hiera_large_16x224"),
        ("hiera_tiny_16x224", "video model 'hiera_tiny_16x224': expected one of"),
    ],
)
def test_unknown_models_list_the_known_ones(model, sentence):
    with pytest.raises(UsageError, match=sentence):
        video_backbone(model)


def test_unknown_weights_list_the_known_ones():
    with pytest.raises(UsageError, match=r"'nowhere.pth' for r3d_18: expected an existing file or one of KINETICS400"):
        video_backbone("r3d_18", "nowhere.pth").extract(Window(grey_video(np.arange(2)), 0, 2), Regions.empty())


def test_frames_and_context_follow_the_model():
    made = {model: video_backbone(model, stride=2) for model in ("mvit_v2_s", "swin3d_t", "hiera_large_16x224")}
    assert {m: (e.before, e.after) for m, e in made.items()} == {
        "mvit_v2_s": (16, 14),
        "swin3d_t": (32, 30),
        "hiera_large_16x224": (16, 14),
    }
    assert made["swin3d_t"].fingerprint() == {
        "extractor": "video",
        "version": 1,
        "model": "swin3d_t",
        "weights": "DEFAULT",
        "frames": 32,
        "stride": 2,
    }


def textured(num_frames: int, size_hw: tuple[int, int]) -> Frames:
    rng = np.random.default_rng(0)
    index = np.arange(num_frames)
    return Frames(rng.integers(0, 256, (num_frames, *size_hw, 3)).astype(np.uint8), index, index / 25)


def test_a_local_state_dict_gives_what_torchvision_gives_without_its_last_layer(tmp_path):
    """S3D, whose head is a convolution; random weights."""
    torch.manual_seed(0)
    network = video.s3d(weights=None).eval()
    path = tmp_path / "s3d.safetensors"
    save_file(network.state_dict(), path)
    frames = textured(6, (40, 60))
    extractor = video_backbone("s3d", str(path), stride=1)
    table = extractor.extract(Window(frames, 2, 3), Regions.empty())
    assert (table.values.shape, table.frame_index.tolist()) == ((1, 1024), [2])
    assert extractor.fingerprint()["weights_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    clip = [min(max(2 + k - 8, 0), 5) for k in range(16)]
    expects = extractor.network.expects
    assert (expects.size_px, expects.mean[0], expects.frames) == (224, pytest.approx(0.43216), 16)
    batch = expects(frames.images[clip]).permute(1, 0, 2, 3)[None]
    with torch.inference_mode():
        expected = network.avgpool(network.features(batch)).mean((2, 3, 4))
    assert table.values == pytest.approx(expected.numpy(), rel=1e-3, abs=1e-4 * float(expected.abs().max()))


def test_a_missing_hiera_package_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "hiera", None)
    with pytest.raises(UsageError, match=r'need the package hiera-transformer.*pip install "mulde\[hiera\]"'):
        our_hiera.load_hiera("hiera_base_16x224", "DEFAULT", "cpu")


@pytest.fixture
def small_hiera(monkeypatch):
    """A builder of a Hiera with two narrow blocks a stage in place of the base model; its last network."""
    hiera = our_hiera._hiera() if _has_hiera() else pytest.skip("needs the package hiera-transformer")
    real = hiera.hiera_base_16x224

    def build(**options):
        torch.manual_seed(0)
        return real(embed_dim=16, num_heads=1, stages=(1, 1, 1, 1), num_classes=10, **options)

    build.checkpoints, build.default = real.checkpoints, real.default
    monkeypatch.setattr(hiera, "hiera_base_16x224", build)
    return build


def _has_hiera() -> bool:
    try:
        our_hiera._hiera()
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_hiera_gives_what_goes_into_its_head(small_hiera, tmp_path, ending):
    network = small_hiera().eval()
    path = tmp_path / f"hiera{ending}"
    if ending == ".pth":
        torch.save({"model_state": network.state_dict()}, path)
    else:
        save_file(network.state_dict(), path)
    frames = textured(20, (50, 40))
    extractor = video_backbone("hiera_base_16x224", str(path), stride=1)
    table = extractor.extract(Window(frames, 9, 11), Regions.empty())
    assert table.values.shape == (2, 128)
    seen = []
    network.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    expects = extractor.network.expects
    with torch.inference_mode():
        network(expects(frames.images[2:18]).permute(1, 0, 2, 3)[None])  # frame 10
    assert table.values[1] == pytest.approx(seen[0][0].numpy(), abs=1e-5)


def test_unknown_hiera_weights_list_the_known_ones(small_hiera):
    with pytest.raises(UsageError, match=r"'mae_k400' for hiera_base_16x224: .* one of DEFAULT, mae_k400_ft_k400"):
        our_hiera.load_hiera("hiera_base_16x224", "mae_k400", "cpu")
