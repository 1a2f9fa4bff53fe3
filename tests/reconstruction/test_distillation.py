"""Parts of the distillation against plain formulas, and the teacher that it learns from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from mulde.errors import UsageError
from mulde.reconstruction.distillation import Bending, DistillationNet, distance, distance_map
from mulde.reconstruction.distiller import bent_px
from mulde.reconstruction.losses import mean_length, roughness
from mulde.reconstruction.pyramid import Deformation
from mulde.reconstruction.smoothing import smoothed
from mulde.reconstruction.teacher import Teacher, teacher_of, untaught


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    torch.manual_seed(0)
    return teacher_of(untaught("resnet18"), "resnet18")


@pytest.fixture(scope="module")
def net(teacher) -> DistillationNet:
    torch.manual_seed(1)
    return DistillationNet(
        teacher, num_codes=6, reduced=4, blocks=1, pyramid_width=4, max_px=(4.0, 2.0), cells=16
    ).eval()


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("mobilenet_v2", (24, 32, 96)),
        ("resnet18", (64, 128, 256)),
        ("wide_resnet50_2", (256, 512, 1024)),  # as in the paper
        ("efficientnet_b0", (24, 40, 112)),
        ("timm:resnet18.a1_in1k", (64, 128, 256)),
        ("timm:test_convnext", (24, 32, 48)),
    ],
)
def test_a_teacher_has_maps_at_a_quarter_an_eighth_and_a_sixteenth(name, channels):
    torch.manual_seed(0)
    network = untaught(name).eval()
    teacher = teacher_of(network, name)
    assert teacher.channels == channels
    with torch.no_grad():
        maps = teacher(torch.rand(2, 3, 64, 96))
    assert [tuple(x.shape) for x in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(channels, (4, 8, 16), strict=True)
    ]
    assert not any(p.requires_grad for p in teacher.parameters())


def test_its_maps_are_those_of_the_network_and_stay_so_in_training():
    torch.manual_seed(0)
    network, images = untaught("resnet18").eval(), torch.rand(2, 3, 64, 64)
    kept = {}
    for name in ("layer1", "layer2", "layer3"):
        network.get_submodule(name).register_forward_hook(lambda *call, name=name: kept.update({name: call[2]}))
    with torch.no_grad():
        network(images)
        maps = teacher_of(network, "resnet18").train()(images)
    for x, name in zip(maps, kept, strict=True):
        np.testing.assert_array_equal(x.numpy(), kept[name].numpy())


@pytest.mark.parametrize("network", [nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Linear(3, 3), nn.Sequential()])
def test_a_network_without_such_maps_is_refused(network):
    with pytest.raises(UsageError, match="whose stages follow each other"):
        teacher_of(network, "this")


def test_maps_of_timm_are_those_of_the_network_that_it_was_cut_from():
    torch.manual_seed(0)
    network, images = untaught("timm:resnet18").eval(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        wanted = network.forward_intermediates(images, intermediates_only=True)[1:4]
        teacher = teacher_of(network, "timm:resnet18").train()
        for x, y in zip(teacher(images), wanted, strict=True):
            np.testing.assert_array_equal(x.numpy(), y.numpy())
    assert not any(name.startswith(("network.layer4", "network.fc")) for name in teacher.state_dict())


@pytest.mark.parametrize("name", ["timm:nobody", "timm:hf-hub:timm/resnet18", "timm:resnet18.nobody", "timm:../x"])
def test_a_teacher_that_timm_does_not_have_is_refused(name):
    with pytest.raises(UsageError, match="expected a network of timm"):
        untaught(name)


def test_a_network_of_timm_without_such_maps_is_refused():
    with pytest.raises(UsageError, match="none at 4"):
        teacher_of(untaught("timm:test_vit"), "timm:test_vit")


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("resnet18", ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))),  # of ImageNet
        ("timm:test_convnext", ((0.5, 0.5),) * 3),
    ],
)
def test_pictures_are_normalised_as_those_that_the_network_was_trained_with(name, means):
    teacher = teacher_of(untaught(name), name)
    frames = torch.rand(2, 3, 4, 4) * 2 - 1
    plain = (frames + 1) / 2
    for channel, (mean, std) in enumerate(means):
        np.testing.assert_allclose(
            teacher.normalise(frames)[:, channel].numpy(),
            ((plain[:, channel] - mean) / std).numpy(),
            rtol=1e-5,
            atol=1e-6,
        )


def test_the_distance_is_one_minus_the_cosine_of_long_vectors():
    taught, made = [random(2, 3, 4, 4), random(2, 5, 2, 2)], [random(2, 3, 4, 4, seed=1), random(2, 5, 2, 2, seed=2)]
    expected = 0.0
    for t, m in zip(taught, made, strict=True):
        for a, b in zip(t.numpy().reshape(2, -1), m.numpy().reshape(2, -1), strict=True):
            expected += (1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)) / 2
    assert distance(taught, made).item() == pytest.approx(expected, rel=1e-5)
    assert distance(taught, taught).item() == pytest.approx(0, abs=1e-6)


def test_the_map_has_it_at_each_place():
    t, m = random(1, 3, 8, 8), random(1, 3, 8, 8, seed=1)
    expected = [
        1 - (t[0, :, y, x] @ m[0, :, y, x] / t[0, :, y, x].norm() / m[0, :, y, x].norm()).item()
        for y in range(8)
        for x in range(8)
    ]
    np.testing.assert_allclose(distance_map([t], [m], 8)[0].numpy().ravel(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        distance_map([t, t], [m, m], 8).numpy(), 2 * distance_map([t], [m], 8).numpy(), rtol=1e-5
    )


def constant(x_px: float, y_px: float, side: int = 32) -> torch.Tensor:
    return torch.tensor([x_px, y_px])[None, :, None, None].expand(1, 2, side, side) * 2 / side


def test_inverse_fields_undo_a_shift():
    image = random(1, 1, 32, 32)
    step = 32 / 31  # a pixel is 2 / (side - 1), offsets are given in 2 / side
    there, back = (
        (constant(3 * step, -2 * step), constant(1 * step, 1 * step)),
        (constant(-3 * step, 2 * step), constant(-1 * step, -1 * step)),
    )
    bending = Bending(Deformation(*there), Deformation(*back))
    undone = bending.undo(bending.bend(image))
    np.testing.assert_allclose(undone[..., 6:-6, 6:-6].numpy(), image[..., 6:-6, 6:-6].numpy(), atol=1e-4)


def test_the_way_of_a_pixel_is_the_sum_of_both_lengths():
    bending = Bending(Deformation(constant(0, 0), constant(0, 0)), Deformation(constant(3, 4), constant(0, -2)))
    np.testing.assert_allclose(bent_px(bending).numpy(), 5 + 2, rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.6, 2.0])
def test_the_gaussian_is_that_of_scipy(sigma):
    maps = random(2, 3, 20, 24)
    expected = ndimage.gaussian_filter(maps.numpy(), (0, 0, sigma, sigma), mode="nearest")
    np.testing.assert_allclose(smoothed(maps, sigma).numpy(), expected, atol=1e-5)


def test_the_loss_is_the_sum_of_its_parts(net):
    images = random(2, 3, 64, 64)
    made = net(images)
    forward, inverse = made.bending
    fields = (*forward, *inverse)
    expected = (
        distance(made.taught, made.made) + made.recall.loss + ((made.undone - images) ** 2).mean()
        + mean_length(forward.coarse) + mean_length(forward.fine) + sum(roughness(field, 3) for field in fields)
    )  # fmt: skip
    assert net.loss(made, images).item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_student_sees_the_picture_only_through_the_bottleneck(net):
    """Its maps have the shapes of the teacher's, and with the codes and reductions cut off they are always the same."""
    first, second = random(1, 3, 64, 64), random(1, 3, 64, 64, seed=1)
    made = net(first)
    assert [m.shape for m in made.made] == [t.shape for t in made.taught]
    handles = [net.bottleneck.register_forward_pre_hook(lambda module, inputs: (torch.zeros_like(inputs[0]),))]
    try:
        one, other = net(first), net(second)
    finally:
        for handle in handles:
            handle.remove()
    for a, b in zip(one.made, other.made, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_the_pixel_variant_has_no_memory(teacher):
    net = DistillationNet(teacher, num_codes=0, reduced=4, blocks=1, pyramid_width=4, max_px=(4, 2), cells=16).eval()
    made = net(random(1, 3, 64, 64))
    assert made.recall is None
    assert net.memory is None
    assert net.bottleneck[0].first[0].in_channels == 3 * 256
    assert torch.isfinite(net.loss(made, random(1, 3, 64, 64)))
