import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mulde.checkpoint import Checkpoint
from mulde.density.energy import EnergyNet
from mulde.density.noise import fixed_noise
from mulde.density.objective import dsm_rows
from mulde.density.trainer import Training, train
from mulde.errors import FitError


def how(**changes):
    settings = {
        "steps": 60,
        "batch_size": 64,
        "lr": 3e-3,
        "schedule": "constant",
        "beta": 0.1,
        "sigma_low": 1e-3,
        "sigma_high": 1.0,
        "eval_every": 20,
        "patience": 5,
        "seed": 0,
    }
    return Training(**settings | changes)


def new_net(num_features=2, seed=0):
    net = EnergyNet(num_features, (32, 32))
    net.initialise(torch.Generator().manual_seed(seed))
    return net


def rows(n=400, d=2, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def weights(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_the_same_seed_gives_the_same_weights_and_global_random_state_is_left_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    nets = [new_net(), new_net(), new_net()]
    for net, seed in zip(nets, (0, 0, 1), strict=True):
        train(net, rows(), rows(50, seed=1), how(seed=seed))
    assert torch.equal(weights(nets[0]), weights(nets[1]))
    assert not torch.equal(weights(nets[0]), weights(nets[2]))
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()


def test_held_out_rows_do_not_change_the_path_only_where_it_ends():
    alone, watched = new_net(), new_net()
    train(alone, rows(), None, how(steps=40))
    result = train(watched, rows(), rows(50, seed=1), how(steps=40))
    assert result.best_step == 40
    assert torch.equal(weights(alone), weights(watched))


def test_training_lowers_the_held_out_loss():
    net, held = new_net(), rows(2048, seed=1)
    s, z = fixed_noise(2048, 2, 0.1, 1.0, seed=9)
    before = float(dsm_rows(net, held, s, z).mean())
    train(net, rows(), None, how(steps=300, sigma_low=0.1))
    least = np.mean([0.5 * 2 * (1 - float(v) ** 2 / (1 + float(v) ** 2)) for v in s])  # of N(0, I), in closed form
    assert before > least + 0.1
    assert float(dsm_rows(net, held, s, z).mean()) < least + 0.03


def test_the_best_weights_are_kept_and_patience_ends_the_training():
    """Ten rows are soon learnt by heart: the held-out loss turns up, and what is kept is the minimum."""
    net, seen = new_net(8), []
    few, held = rows(10, 8), rows(500, 8, seed=1)
    settings = how(steps=4000, lr=1e-2, patience=3, sigma_low=0.3)
    result = train(net, few, held, settings, lambda look: seen.append((look.step, look.heldout_loss)))
    at_evaluations = {step: heldout for step, heldout in seen if step % 20 == 0}
    assert result.num_steps < 4000
    assert result.num_steps == result.best_step + 3 * 20
    assert result.heldout_loss == min(at_evaluations.values()) == at_evaluations[result.best_step]
    again = new_net(8)
    train(again, few, None, how(steps=result.best_step, lr=1e-2, sigma_low=0.3))
    assert torch.equal(weights(net), weights(again))


def test_progress_is_told_every_ten_steps_and_at_the_end():
    calls = []
    train(new_net(), rows(), rows(30, seed=1), how(steps=47, schedule="linear"), calls.append)
    assert [look.step for look in calls] == [10, 20, 30, 40, 47]
    assert {look.num_steps for look in calls} == {47}
    assert [look.heldout_loss is None for look in calls] == [True, False, False, False, False]
    assert [len(look.heldout_bands) for look in calls] == [0, 4, 4, 4, 4]
    assert all(look.loss_dsm > 0 and look.loss_reg > 0 and look.largest_gradient > 0 for look in calls)
    assert [look.lr for look in calls] == pytest.approx([3e-3 * (1 - (step - 1) / 47) for step in (10, 20, 30, 40, 47)])


def test_linear_schedule_ends_with_tiny_steps():
    moved = {}
    for schedule in ("constant", "linear"):
        early, late = new_net(), new_net()
        train(late, rows(), None, how(steps=60, schedule=schedule))
        settings = how(steps=60, schedule=schedule)
        snapshots = {}

        def keep(look, net=early, into=snapshots):
            into[look.step] = weights(net).clone()

        train(early, rows(), None, settings, keep)
        moved[schedule] = float((snapshots[60] - snapshots[50]).norm())
    assert moved["linear"] < 0.3 * moved["constant"]


@pytest.mark.parametrize("bad_step", [1, 7, 34, 60])
def test_a_loss_that_is_not_finite_names_its_step(bad_step, monkeypatch):
    import mulde.density.trainer as trainer

    plain, calls = trainer.loss_per_row, []

    def poisoned(net, x, s, z, *rest):
        calls.append(1)
        if len(calls) != bad_step:
            return plain(net, x, s, z, *rest)
        row = 5
        s[row], x[row, 1] = 0.25, -9
        dsm, reg = plain(net, x, s, z, *rest)
        return torch.where(torch.arange(len(dsm)) == row, math.nan, dsm), reg

    monkeypatch.setattr(trainer, "loss_per_row", poisoned)
    where = r"at noise level 0\.25, most extreme in column 1 \(-9 standard deviations\)"
    with pytest.raises(FitError, match=rf"got nan at step {bad_step} of 60, {where}.*rate below 0\.003"):
        train(new_net(), rows(), None, how())


def test_a_training_that_blows_up_is_refused():
    with pytest.raises(FitError, match=r"expected a finite number, got (nan|inf) at step \d+ of 300"):
        train(new_net(), rows() * 1e19, None, how(steps=300))


def test_a_single_row_and_a_single_step():
    result = train(new_net(), rows(1), None, how(steps=1))
    assert (result.num_steps, result.best_step, result.heldout_loss) == (1, 1, None)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [1, 1, 1]),
        ("linear", [1, 0.5, 0.01]),
    ],
)
def test_schedules(schedule, expected):
    settings = how(steps=100, lr=2.0, schedule=schedule)
    assert [settings.rate(step) for step in (1, 51, 100)] == pytest.approx([2 * factor for factor in expected])


def test_held_out_bands_are_the_loss_of_their_levels():
    net, held = new_net(), rows(500, seed=1)
    result = train(net, rows(), held, how(sigma_low=1e-4))
    s, z = fixed_noise(2048, 2, 1e-4, 1.0, seed=20240617)
    losses = dsm_rows(net, held[torch.arange(2048) % 500], s, z)
    for band, (low, high) in enumerate([(1e-4, 1e-3), (1e-3, 1e-2), (1e-2, 1e-1), (1e-1, 1.0)]):
        inside = (s[:, 0] >= low) & (s[:, 0] < high)
        assert float(losses[inside].mean()) == pytest.approx(result.heldout_bands[band], rel=1e-6)
    assert float(losses.mean()) == pytest.approx(result.heldout_loss, rel=1e-6)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("changes", [{}, {"schedule": "linear"}])
@pytest.mark.parametrize("killed_at", [[20], [30, 90, 100], [120]])
@pytest.mark.parametrize("heldout", [None, rows(50, seed=1)])
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, monkeypatch, changes, killed_at, heldout):
    monkeypatch.setattr("mulde.density.trainer.SAVE_EVERY_S", 0.0)
    settings, checkpoint = how(steps=120, **changes), Checkpoint(tmp_path / "c.safetensors", "same")
    undisturbed = new_net()
    expected = train(undisturbed, rows(), heldout, settings)

    def kill(look, at):
        if look.step >= at:
            raise KilledError

    for at in killed_at:
        with pytest.raises(KilledError):
            train(new_net(), rows(), heldout, settings, lambda look, at=at: kill(look, at), checkpoint)
    first, net = [], new_net()
    result = train(net, rows(), heldout, settings, first.append, checkpoint)
    assert first[0].step > (max(killed_at) // 20 - 1) * 20
    assert result == expected
    assert torch.equal(weights(net), weights(undisturbed))
    again, calls = new_net(seed=5), []
    assert train(again, rows(), heldout, settings, calls.append, checkpoint) == expected
    assert not calls  # a finished training is not done again
    assert torch.equal(weights(again), weights(undisturbed))


def test_a_checkpoint_of_something_else_or_a_damaged_one_is_not_used(tmp_path, caplog):
    path, expected = tmp_path / "c.safetensors", new_net()
    train(expected, rows(), None, how())
    train(new_net(), rows(seed=7), None, how(steps=20), checkpoint=Checkpoint(path, "other"))
    net = new_net()
    train(net, rows(), None, how(), checkpoint=Checkpoint(path, "mine"))
    assert "is of other data or settings: training starts over" in caplog.text
    assert torch.equal(weights(net), weights(expected))
    path.write_bytes(path.read_bytes()[:1000])
    net = new_net()
    train(net, rows(), None, how(), checkpoint=Checkpoint(path, "mine"))
    assert "cannot be read" in caplog.text
    assert torch.equal(weights(net), weights(expected))


def test_without_patience_the_last_weights_are_kept():
    net, to_the_end = new_net(8), new_net(8)
    few, held = rows(10, 8), rows(500, 8, seed=1)
    result = train(net, few, held, how(steps=300, lr=1e-2, patience=0, sigma_low=0.3))
    train(to_the_end, few, None, how(steps=300, lr=1e-2, sigma_low=0.3))
    assert result.num_steps == result.best_step == 300
    assert torch.equal(weights(net), weights(to_the_end))
    s, z = fixed_noise(2048, 8, 0.3, 1.0, seed=20240617)
    losses = dsm_rows(net, held[torch.arange(2048) % 500], s, z)
    assert float(losses.mean()) == pytest.approx(result.heldout_loss, rel=1e-6)


class CountReadings(TorchDispatchMode):
    """Counts how often a number is read back from a tensor: on a GPU, each time waits for the device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_a_step_reads_nothing_back_from_the_device():
    with CountReadings() as readings:
        torch.ones(3).max().item()  # the counter can count
    assert readings.count == 1
    counts = []
    for steps in (9, 5):  # one look each, at the last step
        with CountReadings() as readings:
            train(new_net(), rows(), None, how(steps=steps))
        counts.append(readings.count)
    assert counts[0] == counts[1]
