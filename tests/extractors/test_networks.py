"""Networks in batches: memory that runs out, precision, threads, layouts; against fake networks and plain torch."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models
from torchvision.models import video

from mulde.errors import MuldeError
from mulde.extractors.backbone import backbone_appearance
from mulde.extractors.networks import BatchedNetwork, Loaded, Preprocessing, ready, resolve_precision
from mulde.extractors.pretrained import drop_head, fold_batch_norm

PLAIN = Preprocessing(8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
ROWS = np.arange(100, dtype=np.float32)[:, None] * [1, 10]


def prepare(rows: range) -> torch.Tensor:
    return torch.from_numpy(ROWS[rows.start : rows.stop].astype(np.float32))


class Small:
    """A network that doubles its input and holds no more than `most` inputs at once."""

    def __init__(self, most: int, error: Exception | None = None) -> None:
        self.most, self.error, self.seen = most, error or torch.cuda.OutOfMemoryError(), []

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(batch))
        if len(batch) > self.most:
            raise self.error
        return batch * 2

    def load(self) -> Loaded:
        return self, PLAIN, 2


def batched(network: Small, batch_size: int = 16) -> BatchedNetwork:
    return BatchedNetwork(network.load, device="cpu", batch_size=batch_size)


@pytest.mark.parametrize("num_inputs", [0, 1, 15, 16, 17, 100])
def test_any_number_of_inputs_gives_a_row_each(num_inputs):
    assert np.array_equal(batched(Small(16))(num_inputs, prepare), ROWS[:num_inputs] * 2)


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
        MemoryError(),
    ],
)
def test_where_memory_runs_out_the_batch_is_halved_for_good_and_said_once(error, caplog):
    network = Small(5, error)
    run = batched(network)
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(run(100, prepare), ROWS * 2)
        assert network.seen[:4] == [16, 8, 4, 4]
        network.seen.clear()
        run(20, prepare)
    assert network.seen == [4] * 5
    assert [r.getMessage() for r in caplog.records] == [
        "cpu: no memory for 16 inputs at once, batches are halved until they fit"
    ]


def test_a_single_input_too_large_is_said():
    with pytest.raises(MuldeError, match="memory of cpu does not hold one input"):
        batched(Small(0))(3, prepare)


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match="shapes"):
        batched(Small(0, RuntimeError("shapes do not fit")))(3, prepare)


def test_a_cpu_sees_few_pictures_at_once_and_a_clip_counts_as_its_frames():
    network = Small(100)
    BatchedNetwork(network.load, device="cpu", batch_size=64)(32, prepare)
    clips = Small(100)
    BatchedNetwork(lambda: (clips, Preprocessing(8, (0, 0, 0), (1, 1, 1), frames=8), 2), device="cpu")(4, prepare)
    assert (network.seen, clips.seen) == ([16, 16], [2, 2])


def test_two_threads_get_the_same_rows_and_the_network_is_loaded_once():
    loads, start = [], Barrier(2)

    def load() -> Loaded:
        loads.append(1)
        torch.manual_seed(0)
        return ready(nn.Sequential(nn.Linear(2, 5), nn.GELU()), "cpu"), PLAIN, 5

    run = BatchedNetwork(load, device="cpu", precision="bfloat16", batch_size=7)

    def work(_: int) -> np.ndarray:
        start.wait()
        return run(100, prepare)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(work, range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(first, run(100, prepare))
    assert len(loads) == 1


def test_bfloat16_is_close_to_float32_and_is_float32_outside():
    torch.manual_seed(0)
    network = ready(nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Flatten(), nn.Linear(288, 5)), "cpu")
    images = np.random.default_rng(0).integers(0, 255, (20, 8, 8, 3)).astype(np.uint8)
    rows = {}
    for precision in ("float32", "bfloat16"):
        run = BatchedNetwork(lambda: (network, PLAIN, 5), device="cpu", precision=precision)
        rows[precision] = run(20, lambda r: PLAIN(images[r.start : r.stop]))
    assert rows["bfloat16"].dtype == np.float32
    assert 0 < np.abs(rows["float32"] - rows["bfloat16"]).max() < 0.02


def test_only_bfloat16_is_named_in_the_fingerprint():
    plain = backbone_appearance().fingerprint()
    assert "precision" not in plain
    assert backbone_appearance(precision="bfloat16").fingerprint() == {**plain, "precision": "bfloat16"}


def test_the_precision_follows_the_device():
    assert resolve_precision("auto", "cpu") == "float32"
    assert resolve_precision("bfloat16", "cpu") == "bfloat16"
    assert resolve_precision("float32", "cuda") == "float32"
    if torch.cuda.is_available():
        assert resolve_precision("auto", "cuda") in ("float32", "bfloat16")


def test_preprocessing_equals_the_same_steps_one_picture_at_a_time():
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (h, w, 3)).astype(np.uint8) for h, w in ((5, 9), (40, 30), (8, 8), (20, 6))]
    expects = Preprocessing(8, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    batch = expects([p[:, ::1] for p in pictures])
    assert batch.is_contiguous(memory_format=torch.channels_last)
    for picture, row in zip(pictures, batch, strict=True):
        how = cv2.INTER_AREA if min(picture.shape[:2]) >= 8 else cv2.INTER_CUBIC
        square = torch.from_numpy(cv2.resize(picture, (8, 8), interpolation=how)).float() / 255
        expected = (square - torch.tensor(expects.mean)) / torch.tensor(expects.std)
        assert torch.equal(row, expected.permute(2, 0, 1))


def test_clips_are_normalised_as_their_frames_are():
    squares = np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8, 3)).astype(np.uint8)
    clips = Preprocessing(8, (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)).normalise(squares)
    assert clips.shape == (2, 3, 3, 8, 8)
    assert clips[1, 2, 0, 4, 5].item() == pytest.approx((squares[1, 0, 4, 5, 2] / 255 - 0.3) / 2, abs=1e-6)
    assert clips[0, 0, 2, 7, 1].item() == pytest.approx((squares[0, 2, 7, 1, 0] / 255 - 0.1) / 0.5, abs=1e-6)


IMAGE_MODELS = {
    "alexnet": 4096, "vgg11_bn": 4096, "squeezenet1_1": 512, "resnet18": 512, "resnext50_32x4d": 2048,
    "densenet121": 1024, "googlenet": 1024, "inception_v3": 2048, "shufflenet_v2_x0_5": 1024, "mnasnet0_5": 1280,
    "mobilenet_v2": 1280, "mobilenet_v3_small": 1024, "efficientnet_b0": 1280, "convnext_tiny": 768, "vit_b_16": 768,
    "swin_t": 768, "swin_v2_t": 768, "maxvit_t": 512,
}  # fmt: skip
"""One of each family, but the RegNets, which cannot be built without numbers: one stands in the test below."""
VIDEO_MODELS = {"mvit_v2_s": 768, "swin3d_t": 768, "r2plus1d_18": 512, "r3d_18": 512, "mc3_18": 512, "s3d": 1024}
TRAINING_ONLY = {"aux_logits": False, "init_weights": False}


@pytest.mark.parametrize(("model", "dim"), [*IMAGE_MODELS.items(), *VIDEO_MODELS.items()])
def test_every_family_gives_what_goes_into_its_last_layer(model, dim):
    """On the meta device, which knows shapes alone: nothing is computed."""
    options = TRAINING_ONLY if model in ("googlenet", "inception_v3") else {}
    tag = models.get_model_weights(model).DEFAULT
    side = tag.transforms().crop_size[0]
    with torch.device("meta"):
        network = models.get_model(model, weights=None, **options).eval()
        layers = dict(network.named_modules())
        found, name = drop_head(network)
        shape = (2, 3, 16, side, side) if model in VIDEO_MODELS else (2, 3, side, side)
        assert network(torch.empty(shape)).shape == (2, dim)
    assert found == dim
    assert layers[name].weight.shape[0] == len(tag.meta["categories"])


def normalised_differently(network: nn.Module) -> nn.Module:
    """Batch normalisations that do something, as trained ones do."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize(
    ("library", "model", "shape"),
    [
        (models, "resnet18", (1, 3, 64, 64)),
        (models, "mobilenet_v3_small", (1, 3, 64, 64)),
        (models, "shufflenet_v2_x0_5", (1, 3, 64, 64)),
        (models, "densenet121", (1, 3, 32, 32)),
        (models, "regnet_y_400mf", (1, 3, 32, 32)),
        (models, "squeezenet1_1", (1, 3, 64, 64)),
        (video, "mc3_18", (1, 3, 4, 32, 32)),
    ],
)
def test_a_folded_network_with_channels_last_equals_the_plain_one_up_to_its_head(library, model, shape):
    network = normalised_differently(getattr(library, model)(weights=None))
    inputs = {}
    head = {"resnet18": "fc", "shufflenet_v2_x0_5": "fc", "mc3_18": "fc", "regnet_y_400mf": "fc"}.get(
        model, "classifier"
    )
    network.get_submodule(head).register_forward_pre_hook(lambda _, args: inputs.setdefault("head", args[0]))
    batch = torch.randn(shape)
    with torch.inference_mode():
        network(batch)
        expected = inputs["head"]
        if model == "squeezenet1_1":
            expected = expected.mean((2, 3))
        if model == "mobilenet_v3_small":
            expected = network.classifier[1](network.classifier[0](expected))
        drop_head(network)
        folded = ready(fold_batch_norm(network), "cpu")
        assert torch.allclose(folded(batch), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("with_helpers", [True, False])
def test_a_weights_file_may_hold_parts_that_only_train(tmp_path, with_helpers):
    torch.manual_seed(0)
    options = {"init_weights": False, "transform_input": True}
    network = models.googlenet(weights=None, aux_logits=with_helpers, **options).eval()
    save_file(network.state_dict(), tmp_path / "googlenet.safetensors")
    run = backbone_appearance("googlenet", str(tmp_path / "googlenet.safetensors")).network
    picture = np.random.default_rng(0).integers(0, 255, (1, 224, 224, 3)).astype(np.uint8)
    inputs = []
    network.fc.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.inference_mode():
        network(run.expects(picture))
    expected = inputs[0].numpy()
    assert run(1, lambda _: run.expects(picture)) == pytest.approx(expected, abs=1e-4 * float(np.abs(expected).max()))
