"""Flows against known shifts and torchvision's own call; motion computed once for all who read it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from mulde.errors import MuldeError, UsageError
from mulde.extractors.flow import DisFlow, FarnebackFlow, RaftFlow, SharedMotion, build_flow
from mulde.extractors.flow_histogram import FlowHistogram
from mulde.extractors.velocity import Velocity
from mulde.records import Frames, Regions, Window

OPENCV_FLOWS = [DisFlow("ultrafast"), DisFlow("fast"), DisFlow("medium"), FarnebackFlow()]


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)


def shifted(num_frames: int, x: int, y: int, size_hw=(96, 128), seed: int = 0) -> np.ndarray:
    """(T, H, W, 3): a camera that looks at a large texture which moves by (x, y) whole pixels per frame."""
    height, width = size_hw
    ground = texture(height + 100, width + 100, seed)
    corners = [(50 - y * t, 50 - x * t) for t in range(num_frames)]
    return np.stack([ground[top : top + height, left : left + width] for top, left in corners])


@pytest.mark.parametrize("flow", OPENCV_FLOWS, ids=lambda f: f"{type(f).__name__}-{getattr(f, 'preset', '')}")
@pytest.mark.parametrize(("x", "y"), [(0, 0), (3, 0), (0, -2), (-4, 3)])
def test_a_known_shift_is_found(flow, x, y):
    start, end = shifted(2, x, y)
    found = flow(start, end)
    assert found.shape == (96, 128, 2)
    assert found.dtype == np.float32
    inside = found[16:-16, 16:-16]
    assert np.median(inside, axis=(0, 1)) == pytest.approx([x, y], abs=0.25)
    assert np.abs(inside - [x, y]).mean() < 0.5


@pytest.mark.parametrize("flow", [DisFlow(), FarnebackFlow()], ids=["dis", "farneback"])
def test_pairs_equal_single_calls_and_make_each_picture_grey_once(flow, monkeypatch):
    images = np.stack([texture(40, 50, seed) for seed in range(7)])
    pairs = [(0, 2), (1, 3), *((t, t - 2) for t in range(2, 7))]
    expected = [flow(images[a], images[b]) for a, b in pairs]
    greyed = []
    convert = cv2.cvtColor
    monkeypatch.setattr(cv2, "cvtColor", lambda image, code: greyed.append(1) or convert(image, code))
    together = list(flow.of_pairs(images, pairs))
    assert [a.tobytes() for a in together] == [b.tobytes() for b in expected]
    assert len(greyed) == 7
    assert list(flow.of_pairs(images, [])) == []


@pytest.mark.parametrize("size_hw", [(9, 11), (1, 1), (31, 200), (200, 31)])
def test_flow_of_a_tiny_picture_is_defined(size_hw):
    for flow in (DisFlow(), FarnebackFlow()):
        found = flow(texture(*size_hw), texture(*size_hw, seed=1))
        assert found.shape == (*size_hw, 2)
        assert np.isfinite(found).all()


@pytest.mark.parametrize("flow", [DisFlow(), DisFlow("ultrafast"), FarnebackFlow()])
def test_one_flow_in_several_threads_gives_what_it_gives_in_one(flow):
    pairs = [(texture(120, 160, seed), texture(120, 160, seed + 1)) for seed in range(12)]
    alone = [flow(*pair).tobytes() for pair in pairs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda pair: flow(*pair).tobytes(), pairs)) == alone


@pytest.fixture(scope="session")
def raft_file(tmp_path_factory):
    """Random weights of raft_small, and the network that has them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = models.get_model("raft_small", weights=None).eval()
    path = tmp_path_factory.mktemp("raft") / "raft.pth"
    torch.save(network.state_dict(), path)
    return path, network


def torchvisions_own(network, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    pictures = [torch.from_numpy(image.copy()).permute(2, 0, 1)[None] for image in (start, end)]
    with torch.no_grad():
        refinements = network(*models.optical_flow.Raft_Small_Weights.DEFAULT.transforms()(*pictures))
    return refinements[-1][0].permute(1, 2, 0).numpy()


def test_raft_is_torchvisions_raft(raft_file):
    path, network = raft_file
    start, end = shifted(2, 3, 0, (128, 136))
    flow = RaftFlow("raft_small", str(path))
    found = flow(start, end)
    assert found.dtype == np.float32
    assert found == pytest.approx(torchvisions_own(network, start, end), abs=1e-5)
    assert np.abs(found).max() > 0.1  # random weights, yet not nothing
    assert flow(start, end).tobytes() == found.tobytes()


@pytest.mark.parametrize(("size_hw", "borders"), [((50, 130), ((39, 39), (3, 3))), ((131, 133), ((2, 3), (1, 2)))])
def test_raft_pads_by_repeating_the_border_and_cuts_it_off_again(raft_file, size_hw, borders):
    path, network = raft_file
    start, end = shifted(2, 2, 1, size_hw)
    wide = [np.pad(image, (*borders, (0, 0)), mode="edge") for image in (start, end)]
    (top, _), (left, _) = borders
    expected = torchvisions_own(network, *wide)[top : top + size_hw[0], left : left + size_hw[1]]
    assert RaftFlow("raft_small", str(path))(start, end) == pytest.approx(expected, abs=1e-5)


def test_raft_in_batches_equals_raft_one_by_one_and_halves_when_memory_runs_out(raft_file, monkeypatch):
    flow = RaftFlow("raft_small", str(raft_file[0]))
    assert flow.batch_size == 1  # on a CPU
    images = shifted(5, 1, 0, (128, 128))
    pairs = [(t, t + 1) for t in range(4)]
    expected = np.stack(list(flow.of_pairs(images, pairs)))
    compute, sizes = flow._of_batch, []

    def with_room_for(most: int):
        def limited(start, end):
            sizes.append(len(start))
            if len(start) > most:
                raise torch.OutOfMemoryError("no room")
            return compute(start, end)

        return limited

    flow.batch_size = 3
    monkeypatch.setattr(flow, "_of_batch", with_room_for(2))
    assert np.stack(list(flow.of_pairs(images, pairs))) == pytest.approx(expected, abs=1e-4)
    flow.batch_size = 4
    list(flow.of_pairs(images, pairs))
    assert sizes == [3, 1, 1, 1, 1, 4, 2, 2]
    monkeypatch.setattr(flow, "_of_batch", with_room_for(0))
    with pytest.raises(MuldeError, match=r"no memory for raft_small on frames of 128 x 128 pixels.*working_size_px"):
        list(flow.of_pairs(images, pairs))
    monkeypatch.setattr(flow, "_of_batch", lambda start, end: torch.empty(2**50))  # torch's own words on a CPU
    with pytest.raises(MuldeError, match="no memory for raft_small"):
        flow(*images[:2])
    monkeypatch.setattr(flow, "_of_batch", lambda start, end: torch.ones(2) @ torch.ones(3))
    with pytest.raises(RuntimeError, match="size"):
        flow(*images[:2])


def test_raft_in_several_threads_gives_what_it_gives_in_one(raft_file):
    flow = RaftFlow("raft_small", str(raft_file[0]))
    pairs = [tuple(shifted(2, x, 1, (128, 128), seed=x)) for x in range(3)]
    with ThreadPoolExecutor(3) as pool:  # the first calls of all, so that they race for the loading as well
        together = list(pool.map(lambda pair: flow(*pair).tobytes(), pairs))
    assert together == [flow(*pair).tobytes() for pair in pairs]


def test_raft_weights_from_either_kind_of_file_with_their_digest_in_the_fingerprint(raft_file, tmp_path):
    path, network = raft_file
    save_file(network.state_dict(), tmp_path / "raft.safetensors")
    same = RaftFlow("raft_small", str(tmp_path / "raft.safetensors"))
    flow = RaftFlow("raft_small", str(path))
    start, end = shifted(2, 3, 0, (128, 128))
    assert same(start, end).tobytes() == flow(start, end).tobytes()
    assert same.fingerprint().keys() == flow.fingerprint().keys() == {"flow", "weights_sha256"}
    assert same.fingerprint() != flow.fingerprint()
    (tmp_path / "moved.pth").write_bytes(path.read_bytes())
    assert RaftFlow("raft_small", str(tmp_path / "moved.pth")).fingerprint() == flow.fingerprint()
    assert RaftFlow("raft_large").fingerprint() == {"flow": "raft_large", "weights": "DEFAULT"}


def test_raft_weights_that_cannot_be_used_say_why(raft_file, tmp_path, monkeypatch):
    pair = shifted(2, 0, 0, (128, 128))
    with pytest.raises(UsageError, match=r"weights 'C_T_V9' of raft_large: expected an existing file or one of C_T_V1"):
        RaftFlow("raft_large", "C_T_V9")(*pair)
    with pytest.raises(
        UsageError, match=r"do not fit raft_large: expected .* 169 entries, got one of 106: Missing key"
    ):
        RaftFlow("raft_large", str(raft_file[0]))(*pair)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UsageError, match=r"text\.pth cannot be read"):
        RaftFlow("raft_small", str(tmp_path / "text.pth"))(*pair)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UsageError, match="expected a state dict, got list"):
        RaftFlow("raft_small", str(tmp_path / "list.pth"))(*pair)

    def no_network(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(MuldeError, match=r"cannot be downloaded \(.*no route to host.*Try: features.flow.weights"):
        RaftFlow("raft_small")(*pair)


def test_a_flow_is_built_by_its_name():
    with pytest.raises(UsageError, match=r"flow 'pwc': expected one of dis, farneback, raft_small, raft_large"):
        build_flow("pwc")
    assert build_flow("dis", preset="fast").fingerprint() == DisFlow("fast").fingerprint()
    assert build_flow("farneback").fingerprint() == FarnebackFlow().fingerprint()
    assert build_flow("raft_large", weights="C_T_V2").fingerprint() == RaftFlow("raft_large", "C_T_V2").fingerprint()
    assert isinstance(build_flow("raft_small", batch_size=5, device="cuda"), RaftFlow)  # no network is made yet


class Brightness:
    """A flow to be worked out by hand: to the right by the difference of the two pictures' grey levels."""

    def __init__(self) -> None:
        self.pairs: list[tuple[int, int]] = []

    def fingerprint(self):
        return {"flow": "brightness"}

    def __call__(self, start, end):
        return next(self.of_pairs([start, end], [(0, 1)]))

    def of_pairs(self, images, pairs):
        for start, end in pairs:
            self.pairs.append((start, end))
            field = np.zeros((*images[0].shape[:2], 2), np.float32)
            field[..., 0] = images[end][..., 0].astype(np.float32) - images[start][..., 0]
            yield field


LEVELS = (10, 13, 15, 25, 24, 30)


def grey_window(levels=LEVELS, index=None, first=0, last=None) -> Window:
    images = np.stack([np.full((8, 10, 3), level, np.uint8) for level in levels])
    n = len(levels)
    frame_index = np.arange(n) if index is None else np.array(index)
    return Window(Frames(images, frame_index, frame_index / 25), first, n if last is None else last)


def boxes_at(*frames: int) -> Regions:
    n = len(frames)
    box_xyxy = np.tile(np.array([1, 1, 6, 7], np.float32), (n, 1))
    return Regions(box_xyxy, np.array(frames, np.int64), np.ones(n, np.float32), np.zeros(n, np.int64))


@pytest.mark.parametrize(
    ("step", "expected"), [(1, [3, 3, 2, 10, -1, 6]), (2, [2.5, 6, 2.5, 6, 4.5, 2.5]), (6, [0] * 6)]
)
def test_motion_is_per_frame_and_looks_forward_where_there_is_no_past(step, expected):
    values = FlowHistogram(motion=SharedMotion(Brightness()), step=step, bins=2).extract(grey_window(), Regions.empty())
    assert (values.values[:, 0] - values.values[:, 1]).tolist() == expected  # right minus left


def test_lost_frames_count_in_the_motion_per_frame():
    window = grey_window((10, 14, 30), index=[0, 1, 9])
    table = FlowHistogram(motion=SharedMotion(Brightness()), bins=1).extract(window, Regions.empty())
    assert table.values.ravel().tolist() == [4, 4, 2]
    assert table.frame_index.tolist() == [0, 1, 9]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_shared_motion_is_computed_once_and_changes_no_bit(order):
    images = shifted(6, 2, 1)
    window = Window(Frames(images, np.arange(6), np.arange(6) / 25), 1, 6)
    regions = boxes_at(1, 1, 3, 4)
    alone = [Velocity().extract(window, regions), FlowHistogram(grid=3).extract(window, regions)]

    class Counted(DisFlow):
        count = 0

        def _between(self, start, end):
            self.count += 1
            return super()._between(start, end)

    flow = Counted()
    motion = SharedMotion(flow)
    extractors = [Velocity(motion=motion), FlowHistogram(motion=motion, grid=3)]
    together = {i: extractors[i].extract(window, regions) for i in order}
    assert flow.count == 5
    for i in order:
        assert together[i].values.tobytes() == alone[i].values.tobytes()


def test_flow_is_computed_only_where_somebody_asks():
    flow = Brightness()
    Velocity(motion=SharedMotion(flow)).extract(grey_window(), boxes_at(0, 3, 3))
    assert flow.pairs == [(0, 1), (3, 2)]


def test_readers_of_other_steps_are_served_apart():
    flow = Brightness()
    motion = SharedMotion(flow)
    slow, fast = Velocity(motion=motion, bins=1), FlowHistogram(motion=motion, step=2, bins=1)
    regions, window = boxes_at(2, 5), grey_window()
    assert slow.extract(window, regions).values.ravel().tolist() == [2, 6]
    assert fast.extract(window, regions).values.ravel().tolist() == [2.5, 6, 2.5, 6, 4.5, 2.5]
    assert len(flow.pairs) == 2 + 6


def test_nothing_of_one_window_or_of_other_boxes_is_served_for_another():
    motion = SharedMotion(Brightness())
    velocity, histogram = Velocity(motion=motion, bins=1), FlowHistogram(motion=motion, bins=1)
    window, brighter = grey_window(), grey_window([2 * level for level in LEVELS])
    histogram.extract(window, boxes_at(1))  # velocity's answer for frame 1 waits
    assert velocity.extract(window, boxes_at(1, 3)).values.ravel().tolist() == [3, 10]
    regions = boxes_at(3)
    histogram.extract(window, regions)
    assert velocity.extract(brighter, regions).values.ravel().tolist() == [20]
    assert velocity.extract(window, regions).values.ravel().tolist() == [10]
    assert velocity.extract(window, regions).values.ravel().tolist() == [10]


def test_threads_do_not_meet_in_shared_motion():
    motion = SharedMotion(DisFlow())
    extractors = [Velocity(motion=motion), FlowHistogram(motion=motion, grid=2)]
    work = []
    for seed in range(6):
        images = shifted(5, seed - 3, 1, seed=seed)
        work.append((Window(Frames(images, np.arange(5), np.arange(5) / 25), 0, 5), boxes_at(0, 2, 2, 4)))

    def all_of(item):
        return b"".join(e.extract(*item).values.tobytes() for e in extractors)

    alone = [all_of(item) for item in work]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(all_of, work)) == alone


def test_each_thread_shares_its_own_window():
    flow = Brightness()
    motion = SharedMotion(flow)
    velocity, histogram = Velocity(motion=motion, bins=1), FlowHistogram(motion=motion, bins=1)
    both_half_way = Barrier(2, timeout=300)

    def describe(window):
        regions = boxes_at(1, 3)
        histogram.extract(window, regions)
        both_half_way.wait()
        return velocity.extract(window, regions).values.ravel().tolist()

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(describe, [grey_window(), grey_window([2 * level for level in LEVELS])]))
    assert found == [[3, 10], [6, 20]]
    assert len(flow.pairs) == 2 * len(LEVELS)
